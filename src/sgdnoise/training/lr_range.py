"""Find in seconds where the learning rates of a network lie: a run whose rate doubles every few updates, until it diverges.

It is the range test of Smith 2015 (arXiv 1506.01186 sec. 3.3), which here only guesses a window: `extend_grid` moves it to where
the optimum of whole runs is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from sgdnoise.benchmarks import Benchmark
from sgdnoise.training import loop
from sgdnoise.training.loop import Plan

# Our choices.
LOWEST, HIGHEST = -20, 10  # powers of two, times the anchor of the grid
EXAMPLES, FEWEST, MOST = 256, 4, 32  # at each rate so many examples, in at least and at most so many updates
WORSE = 2.0  # times the loss at the start: it has diverged
BELOW = 2  # the window: so many octaves below the best


class Tried(NamedTuple):
    """A learning rate and the mean loss of the updates at it."""

    lr: float
    loss: float


def try_rates(benchmark: Benchmark, data: Any, plan: Plan, anchor: float, device: torch.device) -> list[Tried]:
    """Train one network with a rising learning rate; return the rates tried, the last one perhaps with an infinite loss."""
    state = loop.start(benchmark, plan, 0, device, None)
    update, micro_batch = loop.updater(benchmark, plan, state), loop.micro_batch_of(plan, state.model)
    batches = loop.batches_of(benchmark, data, plan, 0, 0)
    num_updates = min(MOST, max(FEWEST, -(-EXAMPLES // plan.batch_size)))
    tried: list[Tried] = []
    for power in range(LOWEST, HIGHEST + 1):
        lr, losses = anchor * 2.0**power, []
        for _ in range(num_updates):
            losses.append(float(loop.backward(benchmark, state, next(batches), micro_batch, plan.batch_size)) / plan.batch_size)
            if not math.isfinite(losses[-1]):
                break
            update(lr)
        mean = sum(losses) / len(losses)
        tried.append(Tried(lr, mean if math.isfinite(mean) else math.inf))
        if tried[-1].loss > WORSE * abs(tried[0].loss) + 1e-9:
            break
    return tried


def window(tried: list[Tried]) -> tuple[float, float]:
    """Return the lowest and the highest learning rate to begin a study with: up to the one with the lowest loss.

    >>> window([Tried(0.25, 2.0), Tried(0.5, 1.5), Tried(1.0, 1.2), Tried(2.0, 9.0)])
    (0.25, 1.0)
    """
    best = min(tried, key=lambda one: one.loss).lr
    return best / 2**BELOW, best
