"""The device of this process, what is made smaller in a dry run, and the time of work on the device."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from sgdnoise.training import graph
from sgdnoise.training.cell import use_device


@dataclass
class Here:
    """What holds for this process, as `start` has set it."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    windows: int = 5
    seconds: float = 0.5  # of a window
    compile: dict[str, Any] = field(default_factory=lambda: {"mode": "max-autotune"})
    num_images: int = 16384
    num_tokens: int = 400_000
    processes: int = 4  # of P3
    pool: ProcessPoolExecutor | None = None


HERE = Here()
Contender = Callable[[int], int]  # trains for at least so many updates of a seed, and returns for how many it did


def start(dry_run: bool) -> None:
    """Set up this process, or one of the pool."""
    HERE.device = use_device("cpu" if dry_run else "cuda", 1)
    if dry_run:
        HERE.windows, HERE.seconds, HERE.compile = 2, 0.0, {"backend": "eager"}
        HERE.num_images, HERE.num_tokens, HERE.processes = 128, 8192, 2
        graph.WINDOW = 2


def synchronize() -> None:
    """Wait for the device."""
    if HERE.device.type == "cuda":
        torch.cuda.synchronize()


def timed(contender: Contender, updates: int) -> float:
    """Return updates per second."""
    synchronize()
    started = time.perf_counter()
    done = contender(updates)
    synchronize()
    return done / (time.perf_counter() - started)


def peak(precision: str, size: int) -> float:
    """Return the FLOP/s of a large matrix product in a precision."""
    one, other = torch.randn(
        2, size, size, device=HERE.device, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32
    )
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    rates = [timed(lambda updates: [one @ other for _ in range(updates)] and updates, 10) for _ in range(HERE.windows + 1)]
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2 * size**3 * statistics.median(rates[1:])


def bandwidth(size: int) -> float:
    """Return the bytes per second that a large copy moves."""
    one, other = torch.zeros(2, size, device=HERE.device)
    rates = [timed(lambda updates: [other.copy_(one) for _ in range(updates)] and updates, 10) for _ in range(HERE.windows + 1)]
    return 2 * one.nbytes * statistics.median(rates[1:])
