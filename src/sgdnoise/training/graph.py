"""Train the seeds of a cell together on one GPU: an update of all of them is one CUDA graph with a branch for each seed.

The branches are the plain loop's own `backward` and update, so they compute the same; what is gained is that Python launches
one graph instead of hundreds of kernels, and that seeds fill the GPU together. What a graph cannot hold is put into buffers
that it reads: batches and the noise of dropout, drawn several updates ahead by each seed's own random numbers in the plain
loop's order, and learning rates. It leaves the losses in a table that is read once per window of updates; runs are seen there
to diverge, at the right update. On a CPU the same code runs without a graph: that is how it is tested.

Two things are not the plain loop's: the autoencoder's seeds are the batched products of pack.py, in a single branch, and on a
GPU ghost batches are normalised at once (`ghost_norm.fuse`). Both compute the same to rounding.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import parallel, precision
from sgdnoise.networks import ghost_norm
from sgdnoise.study.optimizers import sgd_update
from sgdnoise.tasks.batches import Batch
from sgdnoise.training import pack
from sgdnoise.training.loop import (
    Curves,
    Plan,
    State,
    backward,
    batches_of,
    book,
    evaluation_steps,
    micro_batch_of,
    random_state,
    set_random_state,
    start,
    updater,
)

WINDOW = 64  # our choice, not measured: updates whose losses are read together
STAGED = 2**28  # our choice, not measured: bytes of batches and noise that are drawn ahead
TOGETHER = 2048  # our choice, not measured: examples per update of all seeds that are trained together; more fill a GPU anyway
Resume = Sequence[dict[str, Any]] | None  # of every seed, what State.packed returned


def obstacle(benchmark: Benchmark, plan: Plan, device: torch.device) -> str | None:
    """Say why a cell cannot be trained here; None if it can."""
    if plan.optimizer.update is not sgd_update:
        return "only SGD and momentum are known to be fit for a CUDA graph"
    if parallel.size() > 1:
        return "processes that share a batch have no graph"
    return None


def groups(benchmark: Benchmark, seeds: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut seeds into groups that are trained together: as many as it takes to fill a GPU."""
    size = max(1, TOGETHER // batch_size)
    return [list(seeds[first : first + size]) for first in range(0, len(seeds), size)]


def train(
    benchmark: Benchmark,
    data: Any,
    plan: Plan,
    seeds: Sequence[int],
    device: torch.device,
    on_step: Callable[[list[State]], object] = lambda states: None,
    resume: Resume = None,
) -> list[Curves]:
    """Train seeds together and return the curves of each, as `train.train` does for one; `on_step` is called after windows."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        together = Pack(benchmark, data, plan, seeds, device, resume)
        states = [state for branch in together.branches for state in branch.states]
        evaluate_at = set(evaluation_steps(plan.num_steps, plan.evaluations))
        started, cpu_started = time.perf_counter(), time.process_time()
        for losses in together.windows():
            running = [state.curves for state in states if not state.curves.diverged]
            for curves in running:
                curves.train_seconds += (time.perf_counter() - started) / len(running)
                curves.train_cpu_seconds += (time.process_time() - cpu_started) / len(running)
            for loss_sums in losses:
                for state, loss_sum in zip(states, loss_sums, strict=True):
                    if not state.curves.diverged:
                        book(benchmark, data, plan, state, loss_sum, evaluate_at)
            if all(state.curves.diverged for state in states):
                break
            on_step(states)
            started, cpu_started = time.perf_counter(), time.process_time()
    return [state.curves for state in states]


class Noise(TorchFunctionMode):
    """Dropout whose noise is drawn outside: while this is entered, it multiplies by the tensors of `given`, one after another.

    In the first update it draws them itself, as dropout does, and keeps what `draw` needs to do the same again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []
        self.draws: list[tuple[Tensor, float]] = []
        self.calls = 0

    def draw(self) -> list[Tensor]:
        """Draw the noise of an update; for ones of equal shape, strides and type dropout takes equal random numbers."""
        return [F.dropout(ones, probability) for ones, probability in self.draws]

    def dropout(self, inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not p:
            return inputs
        if self.calls == len(self.given):
            self.draws.append((torch.ones_like(inputs), p))
            self.given.append(F.dropout(*self.draws[-1]))
        self.calls += 1
        return inputs * self.given[self.calls - 1]

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return (self.dropout if function is F.dropout else function)(*arguments, **(named or {}))


class Branch:
    """One seed: its state, where its random numbers are, and the buffers that its updates read: `batch`, and `noise.given`."""

    def __init__(self, benchmark: Benchmark, data: Any, plan: Plan, seed: int, steps_done: int, state: State):
        if state.device.type == "cuda":
            ghost_norm.fuse(state.model)
        self.states, self.state, self.noise = [state], state, Noise()
        self.batches = batches_of(benchmark, data, plan, seed, steps_done)
        self.random = state.random
        self.batch: Batch = ()
        sizes = (micro_batch_of(plan, state.model), plan.batch_size)
        self.backward = lambda batch: backward(benchmark, state, batch, *sizes)
        self.update = updater(benchmark, plan, state)
        self.stream = torch.cuda.Stream() if state.device.type == "cuda" else None

    def step(self, lr: Tensor) -> Tensor:
        """Make one update from what the buffers hold; return the summed loss, (1,)."""
        held, self.noise.calls = dict(self.state.carries), 0
        with self.noise:
            loss_sum = self.backward(self.batch)
        self.update(lr)
        for index, carry in held.items():  # where the next update reads it
            if carry is not None:
                torch._foreach_copy_(carry, self.state.carries[index])
            self.state.carries[index] = carry
        return loss_sum[None]

    def first(self, lr: Tensor) -> Tensor:
        """Make the first update, which draws for itself, as the plain loop does, and gives all that later ones use its place."""
        device = self.state.device
        set_random_state(self.random, device)
        self.batch = tuple(tensor.clone() for tensor in next(self.batches))
        before = random_state(device)
        loss_sum = self.step(lr)
        self.random = self.state.random = random_state(device)
        set_random_state(before, device)
        self.noise.draw()
        if not all(map(torch.equal, random_state(device), self.random)):
            raise ValueError("engine graph: this network draws random numbers for more than torch's dropout; use --engine plain")
        return loss_sum

    def buffers(self) -> list[Tensor]:
        """List what `draw` draws for."""
        return [*self.batch, *self.noise.given]

    def draw(self, number: int) -> list[list[Tensor]]:
        """Draw the inputs of so many updates ahead."""
        set_random_state(self.random, self.state.device)
        drawn = [[*next(self.batches), *self.noise.draw()] for _ in range(number)]
        self.random = random_state(self.state.device)
        return drawn

    def drawn_is_used(self) -> None:
        """Let the state be where the random numbers now are."""
        self.state.random = self.random


class Products:
    """All seeds of an autoencoder as batched products; the buffer that their updates read has the indices of the batches."""

    def __init__(self, benchmark: Benchmark, data: Any, plan: Plan, seeds: Sequence[int], steps_done: int, states: list[State]):
        self.states, device = states, states[0].device
        self.networks, self.images = pack.Networks(states, benchmark, plan), data["train_pixels"]
        self.batches = pack.indices(benchmark, plan, seeds, steps_done)
        self.index = torch.empty(len(seeds), plan.batch_size, dtype=torch.long, device=device)
        self.stream = torch.cuda.Stream() if device.type == "cuda" else None

    def step(self, lr: Tensor) -> Tensor:
        """Make one update from what the buffer holds; return the summed losses, (K,)."""
        with precision.products(self.states[0].precision):
            losses = self.networks.losses(self.images, self.index)
            self.networks.update(lr.float())
        return losses

    def first(self, lr: Tensor) -> Tensor:
        """Make the first update."""
        self.index.copy_(next(self.batches))
        return self.step(lr)

    def buffers(self) -> list[Tensor]:
        """List what `draw` draws for."""
        return [self.index]

    def draw(self, number: int) -> list[list[Tensor]]:
        """Draw the batches of so many updates ahead."""
        return [[next(self.batches).to(self.index.device)] for _ in range(number)]

    def drawn_is_used(self) -> None:
        """There are no random numbers besides the order of the examples."""


class Pack:
    """Seeds that are trained together, and the tables that their graph reads and writes: a column per update of a window.

    `products` says whether as batched products instead of branches; by default wherever these can be.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        data: Any,
        plan: Plan,
        seeds: Sequence[int],
        device: torch.device,
        resume: Resume = None,
        products: bool | None = None,
    ):
        saved: list[dict[str, Any] | None] = [*resume] if resume else [None] * len(seeds)
        self.plan, self.steps_done = plan, max((one["curves"]["steps_done"] for one in resume or []), default=0)
        states = []
        for seed, one in zip(seeds, saved, strict=True):
            states.append(start(benchmark, plan, seed, device, one))
            states[-1].random = random_state(device)  # what `start` has left
        if products is None:
            products = pack.products_obstacle(benchmark, plan) is None
        self.branches: Sequence[Branch | Products]
        if products:
            self.branches = [Products(benchmark, data, plan, seeds, self.steps_done, states)]
        else:
            self.branches = [
                Branch(benchmark, data, plan, seed, self.steps_done, state) for seed, state in zip(seeds, states, strict=True)
            ]
        self.position = torch.zeros(1, dtype=torch.long, device=device)  # of the next update in its window
        self.lrs = torch.zeros(WINDOW, dtype=torch.double, device=device)
        self.losses = torch.zeros(len(seeds), WINDOW, dtype=torch.double, device=device)
        self.ahead = torch.cuda.Stream() if device.type == "cuda" else None

    def windows(self) -> Iterator[list[list[float]]]:
        """Train on; yield the summed losses of every seed for the updates of each window that is finished.

        A window ends with an evaluation. While one is being computed, the inputs of the next are drawn.
        """
        step = self.steps_done
        if step == self.plan.num_steps:
            return
        self.begin(step, 1)
        self.advance(first=True)
        yield self.losses[:, :1].T.tolist()
        update, buffers = self.capture(), [tensor for branch in self.branches for tensor in branch.buffers()]
        most = max(1, min(WINDOW, STAGED // sum(tensor.nbytes for tensor in buffers)))
        ends = evaluation_steps(self.plan.num_steps, self.plan.evaluations)

        def draw(step: int) -> list[list[Tensor]]:
            number = min(most, ends[bisect_right(ends, step)] - step) if step < self.plan.num_steps else 0
            with torch.cuda.stream(self.ahead):
                drawn = [branch.draw(number) for branch in self.branches]
            return [list(chain(*inputs)) for inputs in zip(*drawn, strict=True)]

        step += 1
        drawn = draw(step)
        while drawn:
            self.begin(step, len(drawn))
            for inputs in drawn:
                torch._foreach_copy_(buffers, inputs)
                update()
            step += len(drawn)
            for branch in self.branches:
                branch.drawn_is_used()
            drawn_next = draw(step)
            yield self.losses[:, : len(drawn)].T.tolist()
            drawn = drawn_next  # only now may the memory of the last ones be used again

    def begin(self, step: int, number: int) -> None:
        """Begin a window of so many updates; what was drawn for it has to be there."""
        self.lrs[:number] = torch.tensor([self.plan.lr_at(step + index) for index in range(number)], dtype=torch.double)
        self.position.zero_()
        if self.ahead:
            torch.cuda.current_stream().wait_stream(self.ahead)

    def advance(self, first: bool = False) -> None:
        """Make an update of every seed, on a GPU each branch on a stream of its own, and write down the losses."""
        lr = self.lrs.index_select(0, self.position)[0]
        columns = self.losses.split([len(branch.states) for branch in self.branches])
        for branch, losses in zip(self.branches, columns, strict=True):
            if branch.stream:
                branch.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(branch.stream):
                found = branch.first(lr) if first else branch.step(lr)
                losses.index_copy_(1, self.position, found.double()[:, None])
        for branch in self.branches:
            if branch.stream:
                torch.cuda.current_stream().wait_stream(branch.stream)
        self.position += 1

    def capture(self) -> Callable[[], None]:
        """Return a function that does what `advance` does: on a GPU, the launch of its graph."""
        if not self.ahead:
            return self.advance
        graph = torch.cuda.CUDAGraph()
        # Threads that pin memory for batches go on meanwhile.
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
            self.advance()
        return graph.replay
