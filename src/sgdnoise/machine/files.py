"""Publish files whole or not at all; write paths out."""

from __future__ import annotations

import os
import socket
from pathlib import Path


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
