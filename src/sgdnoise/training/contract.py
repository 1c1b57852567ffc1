"""The contract that a benchmark has with training: each of CHECKS yields a line for everything that breaks it, and what to change.

They train a few examples in float32; where an evaluation of all data would take long, it is one of the first examples.
"""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from sgdnoise.benchmarks import Benchmark, usual_direction
from sgdnoise.tasks.batches import Batch
from sgdnoise.training import loop, updates
from sgdnoise.training.gradients import (
    backward,
    ghost_norms,
    gradients_of,
    micro_batch_of,
    turn_off_dropout,
    twice_differentiable,
)
from sgdnoise.training.noise_run import objective
from sgdnoise.training.noise_scale import hessian_product
from sgdnoise.training.state import Plan, State, random_state, trained_parameters

SEED, STEPS = 0, 3
TOLERANCE = 1e-3  # our choice: of sums in float32
DRAWS, RANDOM_TOLERANCE = 8, 0.25  # our choice: of a random loss means are compared; a mean instead of a sum is off by half
PATIENCE, FEWEST = 5.0, 32  # our choice: seconds of an evaluation; if all data take longer it is of the first, at least so many

Lines = Iterator[str]

log = logging.getLogger("sgdnoise")


@dataclass
class Subject:
    """What is checked: a benchmark, its data, how it is trained."""

    benchmark: Benchmark
    protocol: dict[str, Any]
    plan: Plan
    data: Any
    first: Callable[[int], Any]  # the first examples of the data
    lengths: dict[str, int]  # of the arrays
    device: torch.device
    second_derivative: bool
    optimizers: dict[str, Plan]  # of the study's own
    batch: Batch = ()  # the first; `check_batch` draws it
    few: int = 0  # examples of an evaluation, where one of all data takes long
    evaluates: bool = False  # whether an evaluation comes to its end

    def start(self) -> State:
        """Start a run."""
        return loop.start(self.benchmark, self.plan, SEED, self.device, None)

    def backward(self, state: State) -> float:
        """Train on the batch as the loop does, and return its summed loss."""
        size = self.plan.batch_size
        return float(backward(self.benchmark, state, self.batch, micro_batch_of(self.plan, state.model), size))

    def evaluate(self, state: State) -> dict[str, float]:
        """Evaluate as the loop does, but for L2."""
        return loop.evaluate(self.benchmark, state.model, self.first(self.few) if self.few else self.data, [], 0.0)


def check_sizes(subject: Subject) -> Lines:
    """Compare the numbers of examples that planning counts with by the arrays that training reads."""
    for split in ("train", "test"):
        wanted = subject.protocol[f"num_{split}"]
        named = {name: number for name, number in subject.lengths.items() if split in name.lower().split("_")}
        some = named or subject.lengths
        longest = max(some.values(), default=wanted)
        fewer = not named or (split == "train" and "num_train" in subject.protocol["settings"])  # it may use a part of them
        if wanted > longest or (wanted not in named.values() and not fewer):
            found = ", ".join(f"{name} {number:,}" for name, number in sorted(some.items()))
            yield f"num_{split} is {wanted:,}, but the arrays are as long as: {found}; write num_{split}: {longest}"


def check_batch(subject: Subject) -> Lines:
    """Draw a batch."""
    size, unroll = subject.plan.batch_size, subject.protocol.get("unroll")
    subject.batch = next(loop.batches_of(subject.benchmark, subject.data, subject.plan, SEED, 0))
    if not isinstance(subject.batch, tuple | list) or not all(isinstance(one, Tensor) for one in subject.batch):
        yield f"`batches` yields a {type(subject.batch).__name__}; yield a tuple of tensors"
        return
    for one in subject.batch:
        if one.ndim == 0 or len(one) != size:
            yield f"`batches` yields a tensor of shape {tuple(one.shape)} for a batch of {size}; make its first axis the batch"
    if unroll and unroll not in {one.shape[1] for one in subject.batch if one.ndim > 1}:
        shapes = ", ".join(str(tuple(one.shape)) for one in subject.batch)
        yield f"unroll is {unroll}, but `batches` yields tensors of shape {shapes}; make the second axis {unroll} tokens long"


def check_loss(subject: Subject) -> Lines:
    """Train on the batch once, forward and backward."""
    state = subject.start()
    if not trained_parameters(state.model):
        yield "no parameter of the network is trained; leave some with requires_grad"
        return
    found = subject.benchmark.loss(state.model, subject.batch, None)
    if not isinstance(found, tuple) or len(found) != 2:
        yield f"`loss` returns a {type(found).__name__}; return a pair: the summed loss, and the carry or None"
        return
    loss, carry = found
    if not isinstance(loss, Tensor) or loss.ndim:
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        yield f"the loss is {what}; return the sum over the examples, a tensor of shape ()"
        return
    if any(isinstance(one, Tensor) and one.requires_grad for one in tree_leaves(carry)):
        yield "the carry that `loss` returns depends on the weights; detach() its tensors"
        return
    state, started = subject.start(), time.perf_counter()
    total = subject.backward(state)
    forward = (time.perf_counter() - started) / subject.plan.batch_size / 3
    examples = (subject.protocol["num_train"] + subject.protocol["num_test"]) / subject.protocol.get("unroll", 1)
    if forward * examples > PATIENCE:
        subject.few = max(FEWEST, int(PATIENCE / forward))
    if not math.isfinite(total):
        yield f"the loss of the first batch is {total}; mend the loss, the initialisation or the data"
        return
    if named := loop.without_gradient(state.model):
        log.warning("%s, so it stays as it is", named)
    for name, one in state.model.named_parameters():
        if one.grad is not None and not one.grad.isfinite().all():
            yield f"the gradient of {name} is not finite at the start; mend the loss, the initialisation or the data"


def check_sum(subject: Subject) -> Lines:
    """Compare half of the batch, taken twice, with that half and with two micro-batches.

    What norms compute of a batch is the same for the half and for both, so the loss has to double. Dropout is off; of what is
    random nevertheless, means are compared.
    """
    state = subject.start()
    turn_off_dropout(state.model)
    ghosts = [norm.ghost_batch for norm in ghost_norms(state.model)]
    size = min([max(1, subject.plan.batch_size // 2), *(ghost for ghost in ghosts if ghost < subject.plan.batch_size)])
    half = tuple(tensor[:size] for tensor in subject.batch)
    both = tuple(torch.cat([tensor, tensor]) for tensor in half)

    def summed(batch: Batch, micro_batch: int, draw: int) -> tuple[float, Tensor]:
        torch.manual_seed(draw)
        state.carries.clear()
        state.model.zero_grad()
        loss = float(backward(subject.benchmark, state, batch, micro_batch, 1))
        gradients = gradients_of(trained_parameters(state.model))
        return loss, torch.cat([gradient.flatten() for gradient in gradients])

    def means(batch: Batch, micro_batch: int) -> tuple[float, Tensor]:
        drawn = [summed(batch, micro_batch, draw) for draw in range(draws)]
        return sum(one[0] for one in drawn) / draws, torch.stack([one[1] for one in drawn]).mean(dim=0)

    random = summed(half, size, 0)[0] != summed(half, size, 1)[0]
    draws, tolerance = (DRAWS, RANDOM_TOLERANCE) if random else (1, TOLERANCE)
    once, whole, parts = means(half, size), means(both, 2 * size), means(both, size)
    margin = tolerance * max(abs(whole[0]), abs(2 * once[0]))
    if abs(whole[0] - once[0]) <= margin < abs(whole[0] - 2 * once[0]):
        yield "`loss` returns a mean over the examples; return their sum (reduction='sum')"
    elif abs(whole[0] - 2 * once[0]) > margin:
        numbers = f"{once[0]:.6g} of {size} examples, {whole[0]:.6g} of the same twice"
        yield f"`loss` returns {numbers}; return the sum over the examples of what each loses, with no term of the batch itself"
    elif float((whole[1] - parts[1]).norm()) > (2 if random else 10) * tolerance * float(whole[1].norm()):
        yield "the gradients of two micro-batches do not add up to that of both; let each be the gradient of the summed loss"


def check_directions(subject: Subject) -> Lines:
    """Compare whether more or less of a metric is better with what its name says."""
    for name, direction in subject.protocol["metrics"].items():
        if not name.endswith("accuracy") and (usual := usual_direction(name)) not in ("", direction):
            yield f"PROTOCOL says {direction!r} of {name}, which by its name is {usual!r}; write that, or give it another name"


def check_metrics(subject: Subject) -> Lines:
    """Evaluate a network, and compare with the metrics of the protocol."""
    metrics = subject.protocol["metrics"]
    try:
        row = subject.evaluate(subject.start())
    except KeyError as error:
        if error.args != ("train_loss",):
            raise
        yield "`evaluate` returns no 'loss'; return the mean loss per example beside the metrics"
        return
    subject.evaluates = True
    for name in metrics:
        if name.endswith("accuracy") and metrics[name] == "min":
            yield f"PROTOCOL says of {name} that smaller is better; write 'max', or give it another name"
        if name not in row | {"stream_loss": 0.0}:
            yield f"PROTOCOL has the metric {name}, but `evaluate` returns {', '.join(row)}; name one of these, or return it"
    for name, value in row.items():
        if not math.isfinite(value):
            yield f"{name} is {value} before training, so every run counts as diverged; return a finite number"
        elif name.endswith("accuracy") and not 0 <= value <= 1 + TOLERANCE:
            yield f"{name} is {float(value):g} before training, but accuracies are fractions; return it from 0 to 1, not in percent"


def trained(
    subject: Subject, plan: Plan, evaluated: bool = False, kept: Any = None, packed: dict[str, Any] | None = None
) -> list[bytes]:
    """Train a few updates, perhaps from a packed state; return the bits of what is left, and keep the state before the last."""
    benchmark = subject.benchmark
    state = loop.start(benchmark, plan, SEED, subject.device, packed)
    update, gradient = loop.updater(benchmark, plan, state), loop.source(benchmark, subject.data, plan, state, SEED)
    steps_done = state.curves.steps_done
    batches = loop.batches_of(benchmark, subject.data, plan, SEED, steps_done)
    for step in range(steps_done, STEPS):
        gradient(next(batches))
        update(plan.lr_at(step))
        state.curves.steps_done += 1
        if evaluated and step == 0:
            subject.evaluate(state)
        if kept and step == STEPS - 2:
            torch.save(state.packed(), kept)
    tensors = [*state.model.parameters(), *state.model.buffers(), *random_state(subject.device)]
    return [one.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes() for one in tensors]


def interrupted(subject: Subject, plan: Plan) -> tuple[list[bytes], list[bytes]]:
    """Train without and with an interruption."""
    saved = io.BytesIO()
    plain = trained(subject, plan, kept=saved)
    saved.seek(0)
    return plain, trained(subject, plan, packed=torch.load(saved, map_location=subject.device, weights_only=True))


def check_runs(subject: Subject) -> Lines:
    """Train a few updates: again, interrupted, and with an evaluation between."""
    plain, continued = interrupted(subject, subject.plan)
    if trained(subject, subject.plan) != plain:
        yield "two runs of one seed differ: draw with torch's own random numbers and the `order` given to `batches`, change no data"
        return
    if continued != plain:
        yield (
            "an interrupted run ends elsewhere: let `batches` begin with update `start`, and keep all that the network remembers"
            " in its state_dict or the carry"
        )
    if subject.evaluates and trained(subject, subject.plan, evaluated=True) != plain:
        yield "an evaluation changes the run: `evaluate` may draw no random numbers and change no weights, statistics or data"


def check_optimizers(subject: Subject) -> Lines:
    """Train a few updates with each optimizer of the study's own, whose learning rates have to be multiples of the run's."""
    for name, plan in subject.optimizers.items():
        if factory := plan.factory:
            made = [updates.make(factory, subject.start().model, lr) for lr in (plan.lr, 2 * plan.lr)]
            once, twice = ([float(group["lr"]) for group in one.param_groups] for one in made)
            if len(once) != len(twice) or not all(map(math.isclose, twice, [2 * lr for lr in once])):
                yield (
                    f"the learning rates of {name} are {once} at {plan.lr:g}, but {twice} at twice that:"
                    " let its factory give every group a multiple of its argument lr"
                )
                continue
        plain, continued = interrupted(subject, plan)
        if continued != plain:
            yield f"an interrupted run with {name} ends elsewhere: keep all that the optimizer remembers in its state_dict"


def check_second_derivative(subject: Subject) -> Lines:
    """Differentiate the gradient, if that is asked for."""
    if not subject.second_derivative:
        return
    state = subject.start()
    parameters = trained_parameters(state.model)
    ones = torch.ones(sum(one.numel() for one in parameters), device=subject.device)
    try:
        with twice_differentiable(state.model):
            product = hessian_product(objective(subject.benchmark, state.model, subject.plan, subject.batch), parameters, ones)
    except RuntimeError as error:
        why, remedy = " ".join(str(error).split())[:120], "build it from operations that can be differentiated twice"
        yield f"torch has no second derivative of the loss ({why}); leave the benchmark out of noise_scale, or {remedy}"
        return
    if not product.isfinite().all():
        yield "the second derivative of the loss is not finite; leave the benchmark out of noise_scale, or mend the loss"


CHECKS: dict[str, Callable[[Subject], Lines]] = {
    "sizes": check_sizes,
    "batch": check_batch,
    "loss": check_loss,
    "sum": check_sum,
    "directions": check_directions,
    "metrics": check_metrics,
    "runs": check_runs,
    "optimizers": check_optimizers,
    "second derivative": check_second_derivative,
}
NEEDED = ("batch", "loss")  # by all that follow
