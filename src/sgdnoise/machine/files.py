"""Publish files whole or not at all."""

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
