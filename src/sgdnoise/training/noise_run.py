"""Measure noise scales and curvature at points of a run, without disturbing it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdnoise import benchmarks
from sgdnoise.benchmarks import Benchmark
from sgdnoise.study import budgets
from sgdnoise.study.cell import Cell, seed_range
from sgdnoise.study.optimizers import check_measurable, optimizer
from sgdnoise.tasks.batches import Batch
from sgdnoise.training.cell import load_data, plan_of
from sgdnoise.training.gradients import turn_off_dropout, twice_differentiable
from sgdnoise.training.loop import l2_factor, l2_parameters, train
from sgdnoise.training.noise_scale import (
    Estimate,
    Terms,
    eigenvalue_estimate,
    flat,
    gradient,
    hessian_product,
    noise_scale,
    stable_lr,
    top_eigenvalue,
)
from sgdnoise.training.regularisers import added_l2, smoothed
from sgdnoise.training.state import Curves, Plan, State, trained_parameters

QUANTITIES = ("noise_scale", "hessian_noise_scale", "top_eigenvalue", "stable_lr")
COLUMNS = [name + end for name in QUANTITIES for end in ("", "_low", "_high")] + ["residual"]
UNKNOWN = Estimate(torch.nan, torch.nan, torch.nan)  # of the stable learning rate, whose theory is of SGD
CURVATURE_SHARE = 4  # our choice: power iteration, which reads its batches dozens of times, has a quarter as many


def measure_run(
    cell: Cell, data_folder: Path, device: torch.device, at: Sequence[float], num_batches: int
) -> list[dict[str, Any]]:
    """Train the seeds of a cell, and return a row per seed and share `at` of the run: what `measure` finds after that update.

    Rows that a run did not reach because it diverged are NaN.
    """
    if not all(0 < share <= 1 for share in at):
        raise ValueError(f"at {' '.join(map(str, at))}: write shares of the run, above 0 and up to 1")
    if num_batches < 8:
        raise ValueError(f"num-batches {num_batches}: an interval needs at least 8")
    check_measurable(cell.optimizer, optimizer(cell.optimizer, cell.definition))
    benchmark, data = load_data(cell, data_folder, device)
    plan = plan_of(cell, benchmark)
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), cell.spec["settings"])
    if budgets.epochs_to_steps(1, cell.batch_size, protocol) < 2:
        raise ValueError(
            f"batch size {cell.batch_size}: an epoch has one whole batch, so there is no noise to measure; use a smaller one"
        )
    steps = sorted({max(1, round(share * plan.num_steps)) for share in at})
    identity = {name: cell.spec[name] for name in ("benchmark", "optimizer", "budget", "batch_size")}
    identity |= {"initial_lr": plan.lr, "num_train": protocol["num_train"]}
    rows = []
    for seed in seed_range(cell.seeds):
        _, found = train_measured(benchmark, data, plan, seed, device, steps, protocol, num_batches)
        for step in steps:
            place = {"step": step, "epoch": budgets.num_epochs(step, cell.batch_size, protocol), "lr": plan.lr_at(step - 1)}
            measured = found.get(step, dict.fromkeys(COLUMNS, float("nan")))
            rows.append(identity | {"seed": seed} | place | measured)
    return rows


def train_measured(
    benchmark: Benchmark,
    data: Any,
    plan: Plan,
    seed: int,
    device: torch.device,
    steps: Sequence[int],
    protocol: dict[str, Any],
    num_batches: int,
) -> tuple[Curves, dict[int, dict[str, float]]]:
    """Train one seed; return its curves, bitwise those of `train`, and what `measure` finds after the updates `steps`."""
    found = {}

    def on_step(state: State) -> None:
        if (step := state.curves.steps_done) in steps:
            random = np.random.default_rng((seed, step))
            found[step] = measure(benchmark, state.model, data, plan, protocol, num_batches, random)

    return train(benchmark, data, plan, seed, device, on_step), found


def measure(
    benchmark: Benchmark,
    model: nn.Module,
    data: Any,
    plan: Plan,
    protocol: dict[str, Any],
    num_batches: int,
    random: np.random.Generator,
) -> dict[str, float]:
    """Measure the QUANTITIES with their intervals on `num_batches` batches of the run's own size; the model stays as it is.

    The objective is the training loss with its L2 term, each as label_smoothing or weight_decay has it, per example, before clipping
    and whatever else an optimizer makes of gradients: with augmentation, in train mode (ghost batches have their own statistics), but
    with dropout off. For text an example is `unroll` words, read from a zero state.

    Each batch comes from an order of the data of its own, at a random place, so batches are independent. Within a batch no
    example is drawn twice: if it is the share s of an epoch, the variance of its gradient is 1 - s of that of independent
    draws, and the noise is divided by that. (The noise of augmentation is not reduced, and comes out too large by 1 / (1 - s).)
    """
    model = copied(model)
    turn_off_dropout(model)
    epoch_steps = budgets.epochs_to_steps(1, plan.batch_size, protocol)
    parameters = trained_parameters(model)
    device = parameters[0].device
    terms = partial(objective, benchmark, model, plan)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), twice_differentiable(model):
        torch.manual_seed(int(random.integers(2**63)))

        def draw() -> Terms:
            order, start = torch.Generator().manual_seed(int(random.integers(2**63))), int(random.integers(epoch_steps))
            return terms(next(benchmark.batches(data, plan.batch_size, order, start, slice(0, plan.batch_size))))

        gradients = torch.stack([gradient(draw(), parameters) for _ in range(num_batches)])
        curvature = [draw() for _ in range(max(2, num_batches // CURVATURE_SHARE))]
        start = torch.randn_like(gradients[0])
        top = top_eigenvalue(lambda v: torch.stack([hessian_product(one, parameters, v) for one in curvature]).mean(dim=0), start)
        own = torch.stack([top.vector @ hessian_product(one, parameters, top.vector) for one in curvature])
        fresh, weighted = torch.empty(num_batches), torch.empty(num_batches, num_batches)
        for index, one in enumerate(gradients):
            batch = draw()
            weighted[index] = gradients @ hessian_product(batch, parameters, one)
            fresh[index] = top.vector @ hessian_product(batch, parameters, top.vector)
    scale = plan.batch_size / (1 - budgets.num_epochs(1, plan.batch_size, protocol))
    eigenvalue = eigenvalue_estimate(top, own, fresh)
    limit = stable_lr_estimate(eigenvalue, plan.optimizer.momentum) if plan.optimizer.is_sgd else UNKNOWN
    estimates = (noise_scale(gradients @ gradients.T, scale), noise_scale(weighted, scale), eigenvalue, limit)
    values = [value for estimate in estimates for value in estimate]
    return dict(zip(COLUMNS, [*values, top.residual], strict=True))


def copied(model: nn.Module) -> nn.Module:
    """Copy a network, also one whose forward passes leave weights that are made of others, as torch.nn.utils.weight_norm has them."""
    made = [one for module in model.modules() for one in vars(module).values() if isinstance(one, Tensor) and not one.is_leaf]
    return copy.deepcopy(model, {id(one): one.detach().clone() for one in made})


def objective(benchmark: Benchmark, model: nn.Module, plan: Plan, batch: Batch) -> Terms:
    """Return the terms of the objective on a batch: per example, a term for each micro-batch and one for L2."""
    decayed, l2 = l2_parameters(model, plan.settings["l2_scope"]), l2_factor(benchmark, plan.settings) + added_l2(plan)
    summed = smoothed(benchmark, plan).loss
    micro_batch = int(plan.settings["micro_batch"]) or plan.batch_size

    def loss(micro: Batch) -> Tensor:
        return summed(model, micro, None)[0] / plan.batch_size

    def penalty() -> Tensor:
        return l2 / 2 * flat(decayed).square().sum()

    micros = zip(*(tensor.split(micro_batch) for tensor in batch), strict=True)
    return [partial(loss, micro) for micro in micros] + ([penalty] if l2 else [])


def stable_lr_estimate(eigenvalue: Estimate, momentum: float) -> Estimate:
    """Turn the interval of an eigenvalue into that of the stable learning rate."""
    value, low, high = eigenvalue
    return Estimate(*(stable_lr(one, momentum) for one in (value, high, low)))
