"""What the engines share that train several seeds at once: which seeds, their start, and the books of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark
from sgdnoise.training.loop import book, evaluation_steps, start
from sgdnoise.training.state import Curves, Plan, State, random_state

Resume = Sequence[dict[str, Any]] | None  # of every seed, what State.packed returned


def equal_groups(seeds: Sequence[int], most: int) -> list[list[int]]:
    """Cut seeds into as few groups as hold at most so many each, with at most one seed more in some than in others.

    >>> equal_groups(range(5), 2)
    [[0], [1, 2], [3, 4]]
    """
    number = -(-len(seeds) // max(1, most))
    return [list(seeds[len(seeds) * index // number : len(seeds) * (index + 1) // number]) for index in range(number)]


def made_of(benchmark: Benchmark) -> tuple[Any, ...]:
    """Return the network, the batches and the loss of a benchmark that are partial functions: what they are partial functions of."""
    parts = (benchmark.build, benchmark.batches, benchmark.loss)
    return tuple(made.func if isinstance(made, partial) else made for made in parts)


def no_plain_sgd(plan: Plan) -> str | None:
    """Say why a plan is none for updates that are written by hand; None if it is one."""
    if not plan.optimizer.is_plain:
        return "only SGD and momentum can be packed"
    if plan.settings["micro_batch"]:
        return "micro-batches are not packed"
    return None


def sgd(lr: float | Tensor, momentum: float) -> Callable[..., None]:
    """Return torch's fused update of the rule `sgd` at an effective learning rate, a number or () float32.

    It takes lists of parameters, gradients and velocities (none without momentum), and the factor `weight_decay` of L2.
    """
    constants = {"lr": lr * (1 - momentum), "momentum": momentum, "dampening": 0}
    return partial(torch._fused_sgd_, nesterov=False, maximize=False, is_first_step=False, **constants)


def start_all(benchmark: Benchmark, plan: Plan, seeds: Sequence[int], device: torch.device, resume: Resume) -> list[State]:
    """Start every seed, or go on from where it was; each state keeps where its own random numbers are."""
    states = []
    for index, seed in enumerate(seeds):
        states.append(start(benchmark, plan, seed, device, resume[index] if resume else None))
        states[-1].random = random_state(device)
    return states


def steps_done(states: list[State]) -> int:
    """Return the updates of seeds that are trained together; one that has diverged has fewer."""
    return max(state.curves.steps_done for state in states)


def train_all(
    benchmark: Benchmark,
    data: Any,
    plan: Plan,
    states: list[State],
    windows: Iterable[list[list[float]]],
    on_step: Callable[[list[State]], object],
) -> list[Curves]:
    """Go through the windows of updates that an engine makes of all seeds, and return the curves of each.

    A window has, for each of its updates, the summed loss of each seed. Seeds share the time that it takes. What a seed does
    after it has diverged is not looked at; when all have, no further window is asked for.
    """
    evaluate_at = set(evaluation_steps(plan.num_steps, plan.evaluations))
    started, cpu_started = time.perf_counter(), time.process_time()
    for losses in windows:
        running = [state.curves for state in states if not state.curves.diverged]
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        for curves in running:
            curves.train_seconds += seconds / len(running)
            curves.train_cpu_seconds += cpu_seconds / len(running)
        for loss_sums in losses:
            for state, loss_sum in zip(states, loss_sums, strict=True):
                if not state.curves.diverged:
                    book(benchmark, data, plan, state, loss_sum, evaluate_at)
        if all(state.curves.diverged for state in states):
            break
        on_step(states)
        started, cpu_started = time.perf_counter(), time.process_time()
    return [state.curves for state in states]
