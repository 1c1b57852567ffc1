"""Stochastic variance reduced gradients: of each batch's gradient the part that a snapshot of the weights has too is replaced by its mean.

    g(w) - f (g(snapshot) - mean gradient at the snapshot)

with f = 1 (Johnson & Zhang 2013), or f falling linearly from 0.75 to 0 over the run, as alpha-SVRG has it by default (Yin et al. 2024). The snapshot is
taken at the start of every epoch. Both gradients of a batch are of the same augmentation, dropout and statistics of norms. The mean is over one
pass through the training examples, augmented afresh; of text, each snapshot carries a hidden state of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark
from sgdnoise.tasks.batches import Batch
from sgdnoise.training.gradients import Gradient, again, at, moment, taken
from sgdnoise.training.state import Plan, State, trained_parameters

FIRST_FACTOR = 0.75  # Yin et al. 2024, of alpha-SVRG


def source(
    benchmark: Benchmark, data: Any, plan: Plan, state: State, seed: int, gradient: Gradient, factor: Callable[[Plan, int], float]
) -> Gradient:
    """Return what makes the gradients of a run by SVRG from those of its batches."""
    parameters = trained_parameters(state.model)

    def corrected(batch: Batch) -> Tensor:
        step = state.curves.steps_done
        if starts_epoch(step, plan.epoch_steps):
            mean = full_gradient(benchmark, data, plan, state, seed, gradient)
            state.optimizer |= {"snapshot": [one.detach().clone() for one in parameters], "mean": mean, "carries": {}}
        kept, before = state.optimizer, moment(state)
        loss_sum = gradient(batch)
        own = taken(parameters)
        with again(state, before), at(parameters, kept["snapshot"]):
            state.carries = kept["carries"]
            gradient(batch)
            kept["carries"] = state.carries
        there = taken(parameters)
        for parameter, here, then, mean in zip(parameters, own, there, kept["mean"], strict=True):
            parameter.grad = None if here is None else here - factor(plan, step) * ((0.0 if then is None else then) - mean)
        return loss_sum

    return corrected


def full(plan: Plan, step: int) -> float:
    """Return the factor of the correction in SVRG."""
    return 1.0


def falling(plan: Plan, step: int) -> float:
    """Return the factor of the correction in alpha-SVRG; 0 beyond the run, where the range test goes."""
    return FIRST_FACTOR * max(0.0, 1 - step / plan.num_steps)


def starts_epoch(step: int, epoch_steps: Fraction | float) -> bool:
    """Tell whether an update is the first that begins in its epoch; a fraction is exact where a float may be late by one.

    >>> [step for step in range(6) if starts_epoch(step, Fraction(5, 2))]
    [0, 3, 5]
    """
    return step == 0 or math.floor(step / epoch_steps) > math.floor((step - 1) / epoch_steps)


def full_gradient(benchmark: Benchmark, data: Any, plan: Plan, state: State, seed: int, gradient: Gradient) -> list[Tensor]:
    """Return the gradient of the mean loss over one pass through the training examples; of the run nothing changes."""
    parameters = trained_parameters(state.model)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    order, noise = (int(one) for one in np.random.SeedSequence((seed, state.curves.steps_done, 1)).generate_state(2, np.uint64))
    stream = benchmark.batches(data, plan.batch_size, torch.Generator().manual_seed(order), 0, slice(0, plan.batch_size))
    left = round(plan.epoch_steps * plan.batch_size)
    with again(state, moment(state)):
        torch.manual_seed(noise)
        state.carries = {}
        while left > 0:
            gradient(tuple(tensor[:left] for tensor in next(stream)))  # over the batch size, also of a last one that is smaller
            left -= plan.batch_size
            for one, made in zip(total, taken(parameters), strict=True):
                if made is not None:
                    one.add_(made, alpha=float(1 / plan.epoch_steps))
    return total


SOURCES = {"svrg": partial(source, factor=full), "alpha_svrg": partial(source, factor=falling)}
