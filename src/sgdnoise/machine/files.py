"""Publish files whole or not at all, and notice when one is not what was written."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path

LOCKS = (errno.EAGAIN, errno.EDEADLK, errno.ENOLCK)  # what a file system says of one that it refuses, or that another has
SEAL = 512  # bytes before the content of a sealed file; HDF5 skips so many


def publish(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: a temporary file beside it, fsync, rename. On failure nothing is left behind or lost.

    An OSError (a full disk, a read-only folder) is passed on; what was at `path` before is then still there.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


def seal(content: bytes | memoryview) -> bytes:
    """Return the SEAL bytes to be written before a file's content: what they are, in words, and its digest."""
    words = f"sgdnoise: sha256 of all that follows these {SEAL} bytes: {hashlib.sha256(content).hexdigest()}\n"
    return words.encode().ljust(SEAL)


def sealed(whole: memoryview) -> bool:
    """Tell whether every byte of a file that begins with a seal is as it was written."""
    return whole[:SEAL] == seal(whole[SEAL:])


def read(path: Path) -> bytes:
    """Read a file without a lock: what was published is whole.

    FileNotFoundError if it is not there. An OSError of any other kind is not a fault of the file, and says so.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        why = f"{error.strerror}{', a lock' * (error.errno in LOCKS)}"
        raise OSError(f"cannot read {path} ({why}): mend its folder or file system; the file itself may be good") from error
