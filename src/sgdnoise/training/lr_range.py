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
EXAMPLES = 256  # at each rate, at least: of fewer the mean loss of a rate that does nothing may be the lowest
NEAR = 0.1  # of the fall of the loss: so near to the lowest loss lower rates are taken, since Adam falls on far above them


class Tried(NamedTuple):
    """A learning rate and the mean loss of the updates at it, infinite if it has diverged."""

    lr: float
    loss: float


def try_rates(benchmark: Benchmark, data: Any, plan: Plan, anchor: float, device: torch.device) -> list[Tried]:
    """Train one network with a rising learning rate; return the rates tried, a ValueError if the loss is not finite at the first.

    It has diverged where the loss has risen by as much as it was at first, or as its batches then differed, whatever its sign.
    """
    state = loop.start(benchmark, plan, 0, device, None)
    update, gradient = loop.updater(benchmark, plan, state), loop.source(benchmark, data, plan, state, 0)
    batches = loop.batches_of(benchmark, data, plan, 0, 0)
    updates = max(UPDATES, math.ceil(EXAMPLES / plan.batch_size))
    tried: list[Tried] = []
    highest = math.inf
    for power in range(LOWEST, HIGHEST + 1):
        lr = anchor * 2.0**power
        losses = []
        for _ in range(updates):
            losses.append(float(loop.unless_diverged(state, partial(gradient, next(batches)), math.inf)) / plan.batch_size)
            update(lr)
            state.curves.steps_done += 1  # by which gradients of more than a batch know where they are
        mean = sum(losses) / updates
        tried.append(Tried(lr, mean if math.isfinite(mean) else math.inf))
        if math.isinf(tried[0].loss):
            raise ValueError(
                f"the loss is {mean} at batch size {plan.batch_size} and learning rate {lr:.3g}; see `sgdnoise check`"
            )
        if power == LOWEST:
            highest = mean + max(abs(mean), max(losses) - min(losses))
        if tried[-1].loss > highest:
            break
    return tried


def window(tried: list[Tried]) -> tuple[float, float]:
    """Return the lowest and the highest learning rate to begin a study with: an octave on either side of a good one.

    >>> window([Tried(0.25, 2.0), Tried(0.5, 1.25), Tried(1.0, 1.2), Tried(2.0, 9.0)])
    (0.25, 1.0)
    """
    best = min(range(len(tried)), key=lambda index: tried[index].loss)
    near = tried[best].loss + NEAR * (tried[0].loss - tried[best].loss)
    while best and tried[best - 1].loss <= near:  # and no further: far below, noise may come as near
        best -= 1
    return tried[best].lr / 2, tried[best].lr * 2
