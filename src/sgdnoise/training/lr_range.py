"""Find in seconds where the learning rates of a network lie: a run whose rate doubles every few updates, until it diverges.

It is the range test of Smith 2015 (arXiv 1506.01186 sec. 3.3). It only guesses a window: `extend_grid` moves it to where the optimum
of whole runs is.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch

from sgdnoise.benchmarks import Benchmark
from sgdnoise.training import loop
from sgdnoise.training.state import Plan

# Our choices.
LOWEST, HIGHEST = -16, 12  # powers of two, times the anchor of the grid
UPDATES = 8  # at each rate
WORSE = 2.0  # times the loss at first, if that is positive: it has diverged
NEAR = (
    0.1  # of the fall of the loss: the lowest rate that is so near to the lowest loss is taken, since Adam falls on far above it
)


class Tried(NamedTuple):
    """A learning rate and the mean loss of the updates at it, infinite if it has diverged."""

    lr: float
    loss: float


def try_rates(benchmark: Benchmark, data: Any, plan: Plan, anchor: float, device: torch.device) -> list[Tried]:
    """Train one network with a rising learning rate; return the rates tried."""
    state = loop.start(benchmark, plan, 0, device, None)
    update, gradient = loop.updater(benchmark, plan, state), loop.source(benchmark, data, plan, state, 0)
    batches = loop.batches_of(benchmark, data, plan, 0, 0)
    tried: list[Tried] = []
    for power in range(LOWEST, HIGHEST + 1):
        lr, total = anchor * 2.0**power, 0.0
        for _ in range(UPDATES):
            total += float(loop.unless_diverged(state, partial(gradient, next(batches)), math.inf))
            update(lr)
            state.curves.steps_done += 1  # by which gradients of more than a batch know where they are
        mean = total / plan.batch_size / UPDATES
        tried.append(Tried(lr, mean if math.isfinite(mean) else math.inf))
        if not tried[-1].loss <= tried[0].loss + (WORSE - 1) * abs(tried[0].loss):  # a loss may be negative
            break
    return tried


def window(tried: list[Tried]) -> tuple[float, float]:
    """Return the lowest and the highest learning rate to begin a study with: an octave on either side of a good one.

    >>> window([Tried(0.25, 2.0), Tried(0.5, 1.25), Tried(1.0, 1.2), Tried(2.0, 9.0)])
    (0.25, 1.0)
    """
    if not math.isfinite(tried[0].loss):
        raise ValueError(f"the loss is not finite even at the learning rate {tried[0].lr:g}; `sgdnoise check` says what to mend")
    lowest = min(one.loss for one in tried)
    good = next(one.lr for one in tried if one.loss <= lowest + NEAR * (tried[0].loss - lowest))
    return good / 2, good * 2
