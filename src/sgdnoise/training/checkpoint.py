"""Checkpoints of a cell: what was interrupted goes on where it was, and ends bitwise where it would have ended."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sgdnoise.machine.files import SEAL, publish, read, seal, sealed

LAYOUT = 2
MAX_SHARE = 0.01  # of the training time may be spent on writing checkpoints

log = logging.getLogger("sgdnoise")


def save(path: Path, identity: dict[str, Any], content: dict[str, Any]) -> bool:
    """Write a checkpoint atomically. If that fails (a full disk) the one before is kept; say so and return False."""
    buffer = io.BytesIO()
    torch.save({"layout": LAYOUT, "identity": identity, "content": content}, buffer)
    try:
        publish(path, seal(buffer.getbuffer()) + buffer.getbuffer())
    except OSError as error:
        log.warning("cannot write a checkpoint (%s); training goes on, free the space or mend the folder", error)
        return False
    return True


def load(path: Path, identity: dict[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Read the checkpoint at `path`, or None if there is none of this `identity`. Loading executes nothing.

    An OSError if it is there and cannot be read: it is not lost.
    """
    try:
        whole = memoryview(read(path))
    except FileNotFoundError:
        return None
    try:
        if whole[:2] != b"PK" and not sealed(whole):  # torch does not look; PK: written before there were seals
            raise ValueError("its bytes are not those that were written")
        inside = io.BytesIO(whole if whole[:2] == b"PK" else whole[SEAL:])
        found = torch.load(inside, map_location=device, weights_only=True)
        layout, found_identity, content = found["layout"], found["identity"], found["content"]
    except Exception as error:  # torch raises many kinds for what is not a checkpoint
        log.warning("%s is corrupt (%s); starting anew", path, " ".join(str(error).split())[:200])
        return None
    if (layout, found_identity) != (LAYOUT, identity):
        log.warning("%s was made with other settings or on another kind of device; starting anew", path)
        return None
    return content


def saver(path: Path, identity: dict[str, Any], seconds: float) -> Callable[[Callable[[], dict[str, Any]], bool], bool]:
    """Return a function `offer(pack, now)` that saves `pack()` if `now`, or if the last was `seconds` ago.

    It waits longer where writing is slow, so that at most MAX_SHARE of the time is spent on it. It returns whether it
    has saved.
    """
    due = time.monotonic() + seconds

    def offer(pack: Callable[[], dict[str, Any]], now: bool) -> bool:
        nonlocal due
        started = time.monotonic()
        if not now and started < due:
            return False
        saved = save(path, identity, pack())
        ended = time.monotonic()
        due = ended + max(seconds, (ended - started) / MAX_SHARE)
        return saved

    return offer
