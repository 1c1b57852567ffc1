"""Spread the cells of one machine over its GPUs, without a scheduler that does."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import tempfile
from pathlib import Path
from typing import IO

log = logging.getLogger("sgdnoise")

HELD: list[IO] = []  # locks, for as long as this process lives; a killed one loses them too


def least_used(names: list[str]) -> int:
    """Return the index of the GPU that the fewest other processes of this user have taken so, and take it.

    `names` are unique to the GPUs of a machine. A turn is over when every GPU is taken once; the locks of a turn are files
    in the temporary folder.
    """
    folder = Path(tempfile.gettempdir()) / f"sgdnoise-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for turn in itertools.count():
        for index, name in enumerate(names):
            lock = open(folder / f"{name}.{turn}", "w", encoding="utf-8")  # noqa: SIM115  # closed by the end of the process
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            except OSError as error:  # a file system without locks
                lock.close()
                log.warning(
                    "which GPUs are taken cannot be seen: no lock in %s (%s); set TMPDIR to a local folder", folder, error
                )
                return os.getpid() % len(names)
            HELD.append(lock)
            return index
    raise AssertionError("counting has no end")
