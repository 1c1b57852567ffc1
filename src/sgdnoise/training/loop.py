"""The plain training loop of the paper. It is the specification: anything faster must compute the same."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sgdnoise.benchmarks import METRIC, Benchmark
from sgdnoise.machine import parallel, precision
from sgdnoise.tasks.batches import Batch
from sgdnoise.training import kfac, regularisers, svrg, updates
from sgdnoise.training.gradients import Gradient, ghost_norms, gradients_of
from sgdnoise.training.rules import RULES
from sgdnoise.training.state import Curves, Plan, State, trained_parameters

SOURCES: dict[str, Callable[..., Gradient]] = {**svrg.SOURCES, "kfac": kfac.source}


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
    data: Any,
    plan: Plan,
    seed: int,
    device: torch.device,
    on_step: Callable[[State], object] = lambda state: None,
    resume: dict[str, Any] | None = None,
) -> Curves:
    """Train one seed and return its curves; one whose loss or metrics are not finite ends there as diverged.

    On a given device with a given number of threads the result depends on the arguments alone, bitwise: not on the runs
    before it, its neighbours or the grid, nor on whether it is continued from a packed state of its own, `resume`.
    """
    state = start(benchmark, plan, seed, device, resume)
    curves, update = state.curves, updater(benchmark, plan, state)
    gradient = source(benchmark, data, plan, state, seed)
    batches = batches_of(benchmark, data, plan, seed, curves.steps_done)
    evaluate_at = set(evaluation_steps(plan.num_steps, plan.evaluations))
    for step in range(curves.steps_done, plan.num_steps):
        started, cpu_started = time.perf_counter(), time.process_time()
        loss_sum = float(unless_diverged(state, partial(gradient, next(batches)), math.nan))
        (loss_sum,) = parallel.total(loss_sum, device=device)
        update(plan.lr_at(step))
        curves.train_seconds += time.perf_counter() - started
        curves.train_cpu_seconds += time.process_time() - cpu_started

        book(benchmark, data, plan, state, loss_sum, evaluate_at)
        if curves.diverged:
            break
        on_step(state)
    return curves


def start(benchmark: Benchmark, plan: Plan, seed: int, device: torch.device, resume: dict[str, Any] | None) -> State:
    """Build the network of a run, or go on from its packed state `resume`."""
    init, _, noise = seed_streams(seed)
    torch.manual_seed(init)
    model = placed(benchmark.build(), device)
    torch.manual_seed(noise)
    to_training(model)
    state = State(model, device, precision=precision.of(plan.settings))
    precision.prepare(model, state.precision, device)
    if plan.factory:
        state.torch_optimizer = updates.make(plan.factory, model, plan.lr)
    if resume:
        state.unpack(resume)
    return state


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """Put a network on a device, what has four axes channels last; torch refuses that of the five axes of 3D convolutions."""
    model = model.to(device)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model


def to_training(model: nn.Module) -> None:
    """Let a network train as `train()` has it; modules that its file has put into evaluation mode, to freeze them, stay there."""
    if not model.training:  # as a whole, as libraries return what was trained before
        model.train()
    for module in model.modules():
        if type(module).train is not nn.Module.train:  # which may keep parts in evaluation mode
            module.train(module.training)


def source(benchmark: Benchmark, data: Any, plan: Plan, state: State, seed: int) -> Gradient:
    """Return what makes the gradients of a run: of the mean loss over each batch, unless its optimizer takes more than that."""
    if parallel.size() > 1 and (plan.optimizer.source or plan.optimizer.active):
        raise ValueError(f"{plan.optimizer.label}: processes cannot share its batches; use 1 process")
    gradient = regularisers.source(benchmark, plan, state)
    if plan.optimizer.source:
        return SOURCES[plan.optimizer.source](benchmark, data, plan, state, seed, gradient)
    return gradient


def batches_of(benchmark: Benchmark, data: Any, plan: Plan, seed: int, steps_done: int) -> Iterator[Batch]:
    """Yield this process's part of the batches of a run, from update `steps_done` on."""
    _, order, _ = seed_streams(seed)
    shard = parallel.shard(plan.batch_size)
    return benchmark.batches(data, plan.batch_size, torch.Generator().manual_seed(order), steps_done, shard)


def book(benchmark: Benchmark, data: Any, plan: Plan, state: State, loss_sum: float, evaluate_at: set[int]) -> None:
    """Count an update and its summed loss; evaluate where that is due, and see whether the run has diverged."""
    curves = state.curves
    curves.steps_done += 1
    state.stream_loss += loss_sum
    state.stream_terms += plan.batch_size * benchmark.loss_terms
    curves.diverged = not math.isfinite(loss_sum)
    if curves.steps_done in evaluate_at or curves.diverged:
        decayed, l2 = l2_parameters(state.model, plan.settings["l2_scope"]), l2_factor(benchmark, plan.settings)
        row: dict[str, float] = {}
        if not curves.diverged:  # at weights that are not finite, what is of the user's may raise
            row = unless_diverged(state, lambda: evaluate(benchmark, state.model, data, decayed, l2), row)
        row |= {"stream_loss": state.stream_loss / state.stream_terms} if row else {}
        curves.diverged |= not row or not all(map(math.isfinite, row.values()))
        if curves.diverged:
            row = dict.fromkeys(row or names_of(benchmark, data, plan, state), math.nan)
        curves.rows.append(row)
        state.stream_loss, state.stream_terms = 0.0, 0


def unless_diverged(state: State, compute: Callable[[], Any], instead: Any) -> Any:
    """Compute, or return `instead` if that raises, as validations do, where weights or outputs of the network are not finite."""
    try:
        return compute()
    except Exception:
        seen: list[Any] = list(state.model.parameters())
        with state.model.register_forward_hook(lambda model, inputs, outputs: seen.append(outputs)), suppress(Exception):
            compute()
        if all(bool(one.isfinite().all()) for one in tree_leaves(seen) if isinstance(one, Tensor)):
            raise
        return instead


def names_of(benchmark: Benchmark, data: Any, plan: Plan, state: State) -> Iterable[str]:
    """Name the metrics of a run that has diverged: those evaluated before, or before there were any, those of a network at its start."""
    if state.curves.rows:
        return state.curves.rows[-1]
    with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
        fresh = start(benchmark, replace(plan, factory=None), 0, state.device, None)
    return [*evaluate(benchmark, fresh.model, data, [], 0.0), "stream_loss"]


def updater(benchmark: Benchmark, plan: Plan, state: State) -> Callable[[float | Tensor], None]:
    """Return a function that updates the network at a learning rate, from the gradients that `backward` left.

    A parameter without a gradient, on which the loss does not depend, stays as it is.
    """
    parameters = trained_parameters(state.model)
    decayed = l2_parameters(state.model, plan.settings["l2_scope"])
    l2 = l2_factor(benchmark, plan.settings) + regularisers.added_l2(plan)
    norms = ghost_norms(state.model)

    def update(lr: float | Tensor) -> None:
        parallel.add_up(gradients_of(parameters))
        with torch.no_grad():
            used = [parameter for parameter in decayed if parameter.grad is not None]
            if l2 and used and plan.optimizer.decoupled:
                torch._foreach_mul_(used, 1 - lr * l2)
            elif l2 and used:  # the gradient of l2 / 2 ||w||^2: coupled, so it enters the momentum
                torch._foreach_add_(gradients_of(used), used, alpha=l2)
            if benchmark.clip_norm:
                nn.utils.clip_grad_norm_(parameters, benchmark.clip_norm)
            if state.torch_optimizer:
                updates.step(state.torch_optimizer, plan.lr, float(lr))
            else:
                RULES[plan.optimizer.rule](
                    plan.optimizer, parameters, [parameter.grad for parameter in parameters], state.optimizer, lr
                )
        for norm in norms:
            norm.finish_update()
        for parameter in parameters:
            parameter.grad = None

    return update


@torch.no_grad()
def evaluate(benchmark: Benchmark, model: nn.Module, data: Any, decayed: list[Tensor], l2: float) -> dict[str, float]:
    """Measure both splits without dropout, augmentation or any other randomness.

    `train_objective` is the train loss plus l2 / 2 ||w||^2 over the parameters that L2 covers.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    row = {
        f"{split}_{name}": float(value)  # a checkpoint holds no numbers of other libraries
        for split in ("train", "test")
        for name, value in benchmark.evaluate(model, data, split).items()
    }
    for module, mode in modes:
        module.training = mode
    refuse_names(row)
    squares = sum(float(parameter.double().square().sum()) for parameter in decayed)
    return row | {"train_objective": row["train_loss"] + l2 / 2 * squares}


def refuse_names(row: Iterable[str]) -> None:
    """Refuse metrics that no file of results could hold, or that have the name of another."""
    for name in row:
        if not re.fullmatch(METRIC, name) or name == "train_objective":
            raise ValueError(
                f"`evaluate` returns {name.partition('_')[2]!r}; give it a name that is not empty or 'objective', without / and"
                " control characters"
            )


def l2_parameters(model: nn.Module, scope: str) -> list[Tensor]:
    """List the trained parameters that L2 covers: "all", or the "weights" of layers (two axes or more), no biases or scales."""
    return [parameter for parameter in trained_parameters(model) if scope == "all" or parameter.ndim > 1]


def l2_factor(benchmark: Benchmark, settings: dict[str, Any]) -> float:
    """Return the factor l2 of the penalty l2 / 2 ||w||^2; without the half, by convention "full", it is twice as large."""
    return benchmark.l2 * {"half": 1, "full": 2}[settings["l2_convention"]]


def without_gradient(model: nn.Module) -> str:
    """Name the trained parameters that the loss does not depend on; nothing if there are none."""
    names = [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None]
    return f"the loss does not depend on {', '.join(names[:5])}{', ...' * (len(names) > 5)}" * bool(names)
