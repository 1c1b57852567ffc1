"""Train the seeds of a cell together on one GPU: an update of all of them is one CUDA graph with a branch for each seed.

The branches are the plain loop's own `backward` and update, so they compute the same; what is gained is that Python launches
one graph instead of hundreds of kernels, and that seeds fill the GPU together. What a graph cannot hold is put into buffers
that it reads: batches and the noise of dropout, drawn several updates ahead by each seed's own random numbers in the plain
loop's order, and learning rates. It leaves the losses in a table that is read once per window of updates; runs are seen there
to diverge, at the right update. On a CPU the same code runs without a graph: that is how it is tested.

Two things are not the plain loop's: the autoencoder's seeds are the batched products of packed/autoencoder.py, in a single branch, and on a
GPU ghost batches are normalised at once (`ghost_norm.fuse`). Both compute the same to rounding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import parallel
from sgdnoise.training.branches import Branch, Products
from sgdnoise.training.loop import evaluation_steps
from sgdnoise.training.packed import autoencoder
from sgdnoise.training.state import Curves, Plan, State
from sgdnoise.training.together import Resume, equal_groups, start_all, steps_done, train_all

WINDOW = 64  # our choice, not measured: updates whose losses are read together
STAGED = 2**28  # our choice, not measured: bytes of batches and noise that are drawn ahead
TOGETHER = 2048  # our choice, not measured: examples per update of all seeds that are trained together; more fill a GPU anyway


def obstacle(benchmark: Benchmark, plan: Plan, device: torch.device) -> str | None:
    """Say why a cell cannot be trained here; None if it can."""
    if not plan.optimizer.is_plain:
        return "only SGD and momentum are known to be fit for a CUDA graph"
    if parallel.size() > 1:
        return "processes that share a batch have no graph"
    return None


def groups(benchmark: Benchmark, seeds: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut seeds into groups that are trained together: as many as it takes to fill a GPU."""
    return equal_groups(seeds, TOGETHER // batch_size)


def train(
    benchmark: Benchmark,
    data: Any,
    plan: Plan,
    seeds: Sequence[int],
    device: torch.device,
    on_step: Callable[[list[State]], object] = lambda states: None,
    resume: Resume = None,
) -> list[Curves]:
    """Train seeds together and return the curves of each, as `loop.train` does for one; `on_step` is called after windows."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        states = start_all(benchmark, plan, seeds, device, resume)
        together = Pack(benchmark, data, plan, seeds, states)
        return train_all(benchmark, data, plan, states, together.windows(), on_step)


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
        states: list[State],
        products: bool | None = None,
    ):
        self.plan, self.steps_done, device = plan, steps_done(states), states[0].device
        if products is None:
            products = autoencoder.fits(benchmark) and autoencoder.obstacle(benchmark, plan) is None
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
