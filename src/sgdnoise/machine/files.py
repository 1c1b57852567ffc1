"""Publish files whole or not at all, and notice when one is not what was written; write paths out."""

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
    temporary = temporary_of(path)
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


def temporary_of(path: Path) -> Path:
    """Return where a file is written before it gets its name: hidden, beside it."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")


def check_writable(path: Path, folder: bool = False) -> None:
    """Show that a file, or a folder, can be written at `path`; its parents are made. A ValueError if not."""
    kind = "folder" if folder else "file"
    try:
        if not folder and path.exists() and not path.is_file():
            raise OSError("it is a folder" if path.is_dir() else "it is no regular file")
        if folder and path.exists() and not path.is_dir():
            raise OSError("it is a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_of(path)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        reason = (
            "a part of it is a file" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror or str(error)
        )
        raise ValueError(f"cannot write the {kind} {path}: {reason}; choose another place or name, or mend the folder") from error


def expanded(path: str) -> str:
    """Write the ~ of a path out, as a shell does (but no $VARIABLES); a ValueError if it then is no path of this system.

    >>> expanded("results/a~b"), expanded("~/out") == f"{Path.home()}/out"
    ('results/a~b', True)
    """
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise ValueError(f"{path!r}: there is no such home folder; write ./{path} for a folder of that name")
    try:
        os.fsencode(found)
    except UnicodeEncodeError as error:
        raise ValueError(f"{path!r} cannot be written in this locale; set PYTHONUTF8=1") from error
    return found


def logs_of(folder: str) -> str:
    """Return the folder of the logs of what is written in a folder: below logs, wherever that folder is.

    >>> logs_of("results/a"), logs_of("/data/out"), logs_of("../../out"), logs_of("..")
    ('logs/results/a', 'logs/data/out', 'logs/out', 'logs')
    """
    parts = [part for part in os.path.normpath(folder).split("/") if part != ".."]  # these are the first
    return os.path.normpath("/".join(["logs", *parts]))


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
