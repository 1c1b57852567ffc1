"""Regularisers that may stand in for gradient noise: each the gradient of an update as its coefficient has it.

Those that act on micro-batches of m of the B examples, B / m = K of them, with mean losses L_k and gradients G_k:

gradient_norm          mean over k of L_k + c ||G_k||^2 (Novack et al. 2023), the gradient of the penalty, 2 c H_k G_k, by a second backward
                       pass or by a forward difference along G_k over the distance STEP (Geiping et al. 2022)
sam                    mean over k of the gradient of L_k at w + c G_k / ||G_k|| (Foret et al. 2021; on micro-batches m-SAM)
multiplicative_noise   mean over k of (1 + sqrt(c K) (e_k - mean e)) G_k with normal e: its covariance is c times that of the gradient of
                       one of the micro-batches chosen at random
isotropic_noise        mean over k of G_k, and normal noise, the same in every direction, of c times that covariance's trace

The others change the loss (label_smoothing) or the L2 penalty (weight_decay, added to the benchmark's own).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import precision
from sgdnoise.tasks.batches import Batch
from sgdnoise.training.gradients import Gradient, Moment, again, at, backward, micro_batch_of, moment, twice_differentiable
from sgdnoise.training.state import Plan, State, trained_parameters

STEP = 0.01  # Geiping et al. 2022: 1e-4 to 1e-2 "most stable"


def added_l2(plan: Plan) -> float:
    """Return what is added to the factor l2 of the penalty l2 / 2 ||w||^2 by which a run is updated; it is evaluated without."""
    return (plan.optimizer.coefficient or 0.0) if plan.optimizer.active == "weight_decay" else 0.0


def source(benchmark: Benchmark, plan: Plan, state: State) -> Gradient:
    """Return what makes the gradients of a run as its regulariser, if any, has them."""
    one, benchmark = plan.optimizer, smoothed(benchmark, plan)
    if one.active not in MICRO:
        micro_batch = micro_batch_of(plan, state.model)
        return lambda batch: backward(benchmark, state, batch, micro_batch, plan.batch_size)
    assert one.coefficient is not None
    if plan.settings["micro_batch"]:
        raise ValueError(f"{one.label} has micro-batches of its own; leave the setting micro_batch at 0")
    micro_batch = one.micro_batch or plan.batch_size
    micro_batch_of(
        replace(plan, settings=plan.settings | {"micro_batch": micro_batch}), state.model
    )  # which refuses what norms cannot do
    run = Run(benchmark, state, trained_parameters(state.model), plan.batch_size, micro_batch, one.coefficient)
    return partial(MICRO[one.active] if one.by != "forward_differences" else by_forward_differences, run)


def smoothed(benchmark: Benchmark, plan: Plan) -> Benchmark:
    """Return a benchmark with the loss of a run: by label_smoothing it spreads a share of the target over all classes."""
    if plan.optimizer.active != "label_smoothing":
        return benchmark
    if "label_smoothing" not in inspect.signature(benchmark.loss).parameters:
        raise ValueError("label_smoothing: the loss of this benchmark has no classes, or no parameter label_smoothing")
    loss: Any = partial(benchmark.loss, **{"label_smoothing": plan.optimizer.coefficient})
    return replace(benchmark, loss=loss)


@dataclass(frozen=True)
class Run:
    """What the gradients of a run on micro-batches are made of."""

    benchmark: Benchmark
    state: State
    parameters: list[Tensor]
    batch_size: int
    micro_batch: int
    coefficient: float

    def micros(self, batch: Batch) -> Iterator[tuple[int, Batch, float]]:
        """Yield the micro-batches of a batch with their numbers and their shares of it."""
        for index, micro in enumerate(zip(*(tensor.split(self.micro_batch) for tensor in batch), strict=True)):
            yield index, micro, len(micro[0]) / self.batch_size

    def loss(self, index: int, micro: Batch) -> Tensor:
        """Return the mean loss of a micro-batch."""
        with precision.forward(self.state.precision, self.state.device):
            loss, self.state.carries[index] = self.benchmark.loss(self.state.model, micro, self.state.carries.get(index))
        return loss / len(micro[0])

    def gradient(self, loss: Tensor, differentiable: bool = False) -> list[Tensor | None]:
        """Return the gradient of a loss: None of parameters on which it does not depend."""
        return list(torch.autograd.grad(loss, self.parameters, create_graph=differentiable, allow_unused=True))

    def filled(self, gradient: Sequence[Tensor | None]) -> list[Tensor]:
        """Return a gradient with zeros where there is none."""
        return [
            torch.zeros_like(parameter) if one is None else one for parameter, one in zip(self.parameters, gradient, strict=True)
        ]

    def gradient_ahead(self, micro: tuple[int, Batch], along: Sequence[Tensor], by: Tensor) -> list[Tensor]:
        """Return the gradient of a micro-batch at the weights moved by `by` times a direction; the same random numbers as before."""
        with at(self.parameters, [one.detach() + by * step for one, step in zip(self.parameters, along, strict=True)]):
            return self.filled(self.gradient(self.loss(*micro)))

    def add(self, gradient: Sequence[Tensor | None], share: float) -> None:
        """Add a gradient to that of the update; a parameter that has none stays as it is, without L2 and noise."""
        for parameter, one in zip(self.parameters, gradient, strict=True):
            if one is None:
                continue
            parameter.grad = one * share if parameter.grad is None else parameter.grad.add_(one, alpha=share)


def norm(gradient: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of a gradient, ()."""
    return torch.stack(torch._foreach_norm(list(gradient))).norm()


def by_double_backward(run: Run, batch: Batch) -> Tensor:
    """Leave the gradient of the loss with its penalty on gradient norms, by a second backward pass."""
    total = torch.zeros((), dtype=torch.double, device=run.state.device)
    with twice_differentiable(run.state.model), precision.products(run.state.precision):
        for index, micro, share in run.micros(batch):
            loss = run.loss(index, micro)
            squares = sum(one.square().sum() for one in run.gradient(loss, differentiable=True) if one is not None)
            run.add(run.gradient(loss + run.coefficient * squares), share)
            total += loss.detach() * len(micro[0])
    return total


def averaged(run: Run, batch: Batch, changed: Callable[[tuple[int, Batch], Moment, list[Tensor]], list[Tensor]]) -> Tensor:
    """Leave the mean over micro-batches of their gradients, each `changed`, which is told the moment before it was evaluated."""
    total = torch.zeros((), dtype=torch.double, device=run.state.device)
    with precision.products(run.state.precision):
        for index, micro, share in run.micros(batch):
            before = moment(run.state)
            loss = run.loss(index, micro)
            own = run.gradient(loss)
            made = changed((index, micro), before, run.filled(own))
            run.add([None if here is None else one for here, one in zip(own, made, strict=True)], share)
            total += loss.detach() * len(micro[0])
    return total


def by_forward_differences(run: Run, batch: Batch) -> Tensor:
    """Leave the gradient of the loss with its penalty on gradient norms, by a forward difference."""

    def changed(micro: tuple[int, Batch], before: Moment, gradient: list[Tensor]) -> list[Tensor]:
        if not (length := norm(gradient)):
            return gradient
        with again(run.state, before):
            ahead = run.gradient_ahead(micro, gradient, STEP / length)
        factor = float(2 * run.coefficient * length / STEP)
        return list(torch._foreach_add(gradient, torch._foreach_sub(ahead, gradient), alpha=factor))

    return averaged(run, batch, changed)


def sharpness_aware(run: Run, batch: Batch) -> Tensor:
    """Leave the mean of the gradients of micro-batches, each where its own gradient leads uphill."""

    def changed(micro: tuple[int, Batch], before: Moment, gradient: list[Tensor]) -> list[Tensor]:
        if not (length := norm(gradient)):
            return gradient
        with again(run.state, before):
            return run.gradient_ahead(micro, gradient, run.coefficient / length)

    return averaged(run, batch, changed)


def multiplicative_noise(run: Run, batch: Batch) -> Tensor:
    """Leave the gradients of micro-batches in a mean with random weights."""
    number = -(-len(batch[0]) // run.micro_batch)
    draws = torch.randn(number, dtype=torch.double)
    weights = (1 + (run.coefficient * number) ** 0.5 * (draws - draws.mean())).tolist()
    total = torch.zeros((), dtype=torch.double, device=run.state.device)
    with precision.products(run.state.precision):
        for index, micro, share in run.micros(batch):
            loss = run.loss(index, micro)
            (loss * (share * weights[index])).backward()
            total += loss.detach() * len(micro[0])
    return total


def isotropic_noise(run: Run, batch: Batch) -> Tensor:
    """Leave the gradient of a batch and noise that is the same in every direction."""
    squares: list[Tensor] = []

    def changed(micro: tuple[int, Batch], before: Moment, gradient: list[Tensor]) -> list[Tensor]:
        squares.append(len(micro[1][0]) / run.batch_size * norm(gradient) ** 2)
        return gradient

    total = averaged(run, batch, changed)
    mean = [parameter.grad for parameter in run.parameters if parameter.grad is not None]
    trace = (torch.stack(squares).sum() - norm(mean) ** 2).clamp(min=0)
    sd = (run.coefficient * trace / sum(one.numel() for one in mean)).sqrt()
    for one in mean:
        one += float(sd) * torch.randn_like(one)
    return total


MICRO: dict[str, Callable[[Run, Batch], Tensor]] = {
    "gradient_norm": by_double_backward,
    "sam": sharpness_aware,
    "multiplicative_noise": multiplicative_noise,
    "isotropic_noise": isotropic_noise,
}
