"""The plain training loop of the paper. It is the specification: anything faster must compute the same."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdnoise import schedule
from sgdnoise.benchmarks import Benchmark
from sgdnoise.ghost_norm import GhostBatchNorm
from sgdnoise.optimizers import Optimizer


@dataclass(frozen=True)
class Plan:
    """What one run is asked to do; `lr` is the effective learning rate, `warmup_steps` count updates."""

    optimizer: Optimizer
    batch_size: int
    lr: float
    num_steps: int
    warmup_steps: int
    evaluations: int
    settings: dict[str, Any]

    def lr_at(self, step: int) -> float:
        """Return the effective learning rate of update `step` (from 0)."""
        return self.lr * schedule.multiplier(step, self.num_steps, self.warmup_steps)


@dataclass
class Curves:
    """What one run measured: a row of metrics per evaluation, NaN where it was found diverged; seconds spent in updates."""

    rows: list[dict[str, float]] = field(default_factory=list)
    diverged: bool = False
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    steps_done: int = 0


def evaluation_steps(num_steps: int, evaluations: int) -> list[int]:
    """Spread the evaluations evenly over a run, the last after its last update.

    >>> evaluation_steps(10, 4)
    [2, 5, 8, 10]
    """
    return sorted({max(1, round(num_steps * k / evaluations)) for k in range(1, evaluations + 1)})


def seed_streams(seed: int) -> tuple[int, int, int]:
    """Derive independent random streams of a run: initialisation, order of the examples, augmentation and dropout."""
    init, order, noise = (int(child.generate_state(1, np.uint64)[0]) for child in np.random.SeedSequence(seed).spawn(3))
    return init, order, noise


def train(
    benchmark: Benchmark,
    data: dict[str, Tensor],
    plan: Plan,
    seed: int,
    device: torch.device,
    on_step: Callable[[int], object] = lambda step: None,
) -> Curves:
    """Train one seed and return its curves; one whose loss or metrics are not finite ends there as diverged.

    On a given device with a given number of threads the result depends on the arguments alone, bitwise: not on the runs
    before it, its neighbours or the grid.
    """
    init, order, noise = seed_streams(seed)
    torch.manual_seed(init)
    model = benchmark.build(plan.settings).to(device).to(memory_format=torch.channels_last)
    parameters: list[Tensor] = list(model.parameters())
    decayed = l2_parameters(model, plan.settings["l2_scope"])
    norms = [module for module in model.modules() if isinstance(module, GhostBatchNorm)]
    batches = benchmark.batches(data, plan.batch_size, torch.Generator().manual_seed(order))
    micro_batch = int(plan.settings["micro_batch"]) or plan.batch_size
    check_micro_batch(micro_batch, plan.batch_size, norms)
    torch.manual_seed(noise)

    curves = Curves()
    state: dict[str, Any] = {}
    carries: dict[int, Any] = {}
    evaluate_at = set(evaluation_steps(plan.num_steps, plan.evaluations))
    stream_loss, stream_terms = 0.0, 0
    for step in range(plan.num_steps):
        started, cpu_started = time.perf_counter(), time.process_time()
        loss_sum = backward(benchmark, model, next(batches), micro_batch, carries)
        gradients = gradients_of(parameters)
        with torch.no_grad():
            if benchmark.l2:  # the gradient of l2 / 2 ||w||^2: coupled, so it enters the momentum
                torch._foreach_add_(gradients_of(decayed), decayed, alpha=benchmark.l2)
            if benchmark.clip_norm:
                nn.utils.clip_grad_norm_(parameters, benchmark.clip_norm)
            plan.optimizer.update(plan.optimizer, parameters, gradients, state, plan.lr_at(step))
        for norm in norms:
            norm.finish_update()
        for parameter in parameters:
            parameter.grad = None
        curves.train_seconds += time.perf_counter() - started
        curves.train_cpu_seconds += time.process_time() - cpu_started
        curves.steps_done = step + 1
        on_step(step + 1)

        stream_loss, stream_terms = stream_loss + loss_sum, stream_terms + plan.batch_size * benchmark.loss_terms
        curves.diverged = not math.isfinite(loss_sum)
        if step + 1 in evaluate_at or curves.diverged:
            row = evaluate(benchmark, model, data, decayed) | {"stream_loss": stream_loss / stream_terms}
            curves.diverged |= not all(map(math.isfinite, row.values()))
            curves.rows.append(dict.fromkeys(row, math.nan) if curves.diverged else row)
            stream_loss, stream_terms = 0.0, 0
        if curves.diverged:
            break
    return curves


def backward(benchmark: Benchmark, model: nn.Module, batch: tuple[Tensor, ...], micro_batch: int, carries: dict) -> float:
    """Accumulate the gradient of the batch's mean loss over micro-batches; return the summed loss.

    The gradients of micro-batches add up to that of the whole batch, since each is of a sum over examples.
    """
    batch_size, loss_sum = len(batch[0]), 0.0
    for index, micro in enumerate(zip(*(tensor.split(micro_batch) for tensor in batch), strict=True)):
        loss, carries[index] = benchmark.loss(model, micro, carries.get(index))
        (loss / batch_size).backward()
        loss_sum += loss.item()
    return loss_sum


@torch.no_grad()
def evaluate(benchmark: Benchmark, model: nn.Module, data: dict[str, Tensor], decayed: list[Tensor]) -> dict[str, float]:
    """Measure both splits without dropout, augmentation or any other randomness.

    `train_objective` is the train loss plus l2 / 2 ||w||^2 over the parameters that L2 covers.
    """
    model.eval()
    row = {
        f"{split}_{name}": value for split in ("train", "test") for name, value in benchmark.evaluate(model, data, split).items()
    }
    model.train()
    squares = sum(float(parameter.double().square().sum()) for parameter in decayed)
    return row | {"train_objective": row["train_loss"] + benchmark.l2 / 2 * squares}


def l2_parameters(model: nn.Module, scope: str) -> list[Tensor]:
    """List the parameters that L2 covers: "all", or the "weights" of layers (two axes or more), no biases or scales."""
    return [parameter for parameter in model.parameters() if scope == "all" or parameter.ndim > 1]


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """List the gradients that `backward` left; every parameter has one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def check_micro_batch(micro_batch: int, batch_size: int, norms: list[GhostBatchNorm]) -> None:
    """Refuse splits of a batch that would change what ghost batch norm computes."""
    for norm in norms:
        ghost_batch = min(norm.ghost_batch, batch_size)
        for name, size in (("batch size", batch_size), ("micro_batch", micro_batch)):
            if size % ghost_batch:
                raise ValueError(f"{name} {size} is not a multiple of the ghost batch {ghost_batch}; choose one that is")
