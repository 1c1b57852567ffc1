"""The plain training loop of the paper. It is the specification: anything faster must compute the same."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import parallel, precision
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.study import schedule
from sgdnoise.study.optimizers import Optimizer
from sgdnoise.tasks.batches import Batch
from sgdnoise.training import updates
from sgdnoise.training.updates import RULES

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True)
class Plan:
    """What one run is asked to do; `lr` is the learning rate, of SGD the effective one; `warmup_steps` count updates.

    `gamma` is of the paper's schedule, in place of which a run may have another `shape(step, num_steps, warmup_steps)`. The `factory`
    makes an optimizer of torch, if it is one.
    """

    optimizer: Optimizer
    batch_size: int
    lr: float
    num_steps: int
    warmup_steps: int
    evaluations: int
    settings: dict[str, Any]
    gamma: float = 2.0
    shape: Callable[[int, int, int], float] | None = None
    factory: updates.Factory | None = None

    def lr_at(self, step: int) -> float:
        """Return the learning rate of update `step` (from 0)."""
        if self.shape:
            return self.lr * self.shape(step, self.num_steps, self.warmup_steps)
        return self.lr * schedule.multiplier(step, self.num_steps, self.warmup_steps, self.gamma)


@dataclass
class Curves:
    """What one run measured: a row of metrics per evaluation, NaN where it was found diverged; seconds spent in updates."""

    rows: list[dict[str, float]] = field(default_factory=list)
    diverged: bool = False
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    steps_done: int = 0


@dataclass
class State:
    """All that the rest of a run depends on, besides its plan. `packed` is what a checkpoint holds of it."""

    model: nn.Module
    device: torch.device
    optimizer: dict[str, Any] = field(default_factory=dict)
    carries: dict[int, Any] = field(default_factory=dict)
    stream_loss: float = 0.0  # summed over the `stream_terms` seen since the last evaluation
    stream_terms: int = 0
    curves: Curves = field(default_factory=Curves)
    precision: str = "float32"
    random: list[Tensor] = field(default_factory=list)  # what `random_state` was; empty: torch's own is this run's
    torch_optimizer: TorchOptimizer | None = None  # which keeps its state by itself

    PLAIN = ("optimizer", "carries", "stream_loss", "stream_terms")

    def packed(self) -> dict[str, Any]:
        """Return the state as tensors and plain values, between two updates."""
        random = self.random or random_state(self.device)
        plain = {name: getattr(self, name) for name in self.PLAIN}
        if self.torch_optimizer:
            plain["optimizer"] = self.torch_optimizer.state_dict()
        return plain | {"model": self.model.state_dict(), "curves": asdict(self.curves), "random": random}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Go on from where `packed` was taken, bitwise."""
        self.model.load_state_dict(packed["model"])
        for name in self.PLAIN:
            setattr(self, name, packed[name])
        if self.torch_optimizer:
            self.torch_optimizer.load_state_dict(packed["optimizer"])
        self.curves = Curves(**packed["curves"])
        set_random_state(packed["random"], self.device)


def random_state(device: torch.device) -> list[Tensor]:
    """Return where torch's random numbers are, on the CPU and on the device."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(random: list[Tensor], device: torch.device) -> None:
    """Go on with the random numbers from where they were."""
    torch.set_rng_state(random[0].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(random[1].cpu(), device)


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
    micro_batch = micro_batch_of(plan, state.model)
    batches = batches_of(benchmark, data, plan, seed, curves.steps_done)
    evaluate_at = set(evaluation_steps(plan.num_steps, plan.evaluations))
    for step in range(curves.steps_done, plan.num_steps):
        started, cpu_started = time.perf_counter(), time.process_time()
        loss_sum = float(backward(benchmark, state, next(batches), micro_batch, plan.batch_size))
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
    model = benchmark.build().to(device).to(memory_format=torch.channels_last)
    torch.manual_seed(noise)
    state = State(model, device, precision=precision.of(plan.settings))
    precision.prepare(model, state.precision, device)
    if plan.factory:
        state.torch_optimizer = updates.make(plan.factory, model, plan.lr)
    if resume:
        state.unpack(resume)
    return state


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
        row = evaluate(benchmark, state.model, data, decayed, l2) | {"stream_loss": state.stream_loss / state.stream_terms}
        curves.diverged |= not all(map(math.isfinite, row.values()))
        curves.rows.append(dict.fromkeys(row, math.nan) if curves.diverged else row)
        state.stream_loss, state.stream_terms = 0.0, 0


def backward(benchmark: Benchmark, state: State, batch: Batch, micro_batch: int, batch_size: int) -> Tensor:
    """Accumulate the gradient of the mean loss over `batch_size` examples; return their summed loss, () float64.

    `batch` is this process's part of them. The gradients of micro-batches add up to that of the whole batch, since each
    is of a sum over examples.
    """
    loss_sum = torch.zeros((), dtype=torch.double, device=state.device)
    with precision.products(state.precision):
        for index, micro in enumerate(zip(*(tensor.split(micro_batch) for tensor in batch), strict=True)):
            with precision.forward(state.precision, state.device):
                loss, state.carries[index] = benchmark.loss(state.model, micro, state.carries.get(index))
            (loss / batch_size).backward()
            loss_sum += loss.detach()
    return loss_sum


def updater(benchmark: Benchmark, plan: Plan, state: State) -> Callable[[float | Tensor], None]:
    """Return a function that updates the network at a learning rate, from the gradients that `backward` left.

    A parameter without a gradient, on which the loss does not depend, stays as it is.
    """
    parameters = trained_parameters(state.model)
    decayed, l2 = l2_parameters(state.model, plan.settings["l2_scope"]), l2_factor(benchmark, plan.settings)
    norms = [module for module in state.model.modules() if isinstance(module, GhostBatchNorm)]

    def update(lr: float | Tensor) -> None:
        parallel.add_up(gradients_of(parameters))
        with torch.no_grad():
            used = [parameter for parameter in decayed if parameter.grad is not None]
            if l2 and used:  # the gradient of l2 / 2 ||w||^2: coupled, so it enters the momentum
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
    model.eval()
    row = {
        f"{split}_{name}": float(value)  # a checkpoint holds no numbers of other libraries
        for split in ("train", "test")
        for name, value in benchmark.evaluate(model, data, split).items()
    }
    model.train()
    squares = sum(float(parameter.double().square().sum()) for parameter in decayed)
    return row | {"train_objective": row["train_loss"] + l2 / 2 * squares}


def trained_parameters(model: nn.Module) -> list[Tensor]:
    """List the parameters that are trained: all that are not frozen (`requires_grad_(False)`)."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def l2_parameters(model: nn.Module, scope: str) -> list[Tensor]:
    """List the trained parameters that L2 covers: "all", or the "weights" of layers (two axes or more), no biases or scales."""
    return [parameter for parameter in trained_parameters(model) if scope == "all" or parameter.ndim > 1]


def l2_factor(benchmark: Benchmark, settings: dict[str, Any]) -> float:
    """Return the factor l2 of the penalty l2 / 2 ||w||^2; without the half, by convention "full", it is twice as large."""
    return benchmark.l2 * {"half": 1, "full": 2}[settings["l2_convention"]]


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """List the gradients that `backward` left; a parameter that the loss does not depend on has none."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def without_gradient(model: nn.Module) -> str:
    """Name the trained parameters that the loss does not depend on; nothing if there are none."""
    names = [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None]
    return f"the loss does not depend on {', '.join(names[:5])}{', ...' * (len(names) > 5)}" * bool(names)


def micro_batch_of(plan: Plan, model: nn.Module) -> int:
    """Return the examples per forward pass, by default this process's whole part of a batch.

    A ValueError for splits of a batch that would change what is computed.
    """
    part = parallel.shard(plan.batch_size)
    batch_size = part.stop - part.start
    micro_batch = int(plan.settings["micro_batch"]) or batch_size
    shared = f" of each of {parallel.size()} processes" if parallel.size() > 1 else ""
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p and shared:
            raise ValueError("a network with dropout cannot share its batches: every process would draw the same; use 1 process")
        if isinstance(module, GhostBatchNorm):
            # A batch below the ghost batch is one ghost batch, which cannot be shared either.
            ghost_batch = module.ghost_batch if shared else min(module.ghost_batch, batch_size)
            for name, number in ((f"batch size{shared}", batch_size), ("micro_batch", micro_batch)):
                if number % ghost_batch:
                    raise ValueError(f"{name} {number} is not a multiple of the ghost batch {ghost_batch}; choose one that is")
    return micro_batch
