"""What a graph has of the seeds that it trains: a branch for each, or one for all seeds of an autoencoder.

A branch makes its first update by itself, and every later one from buffers that it never leaves: `draw` says what goes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import precision
from sgdnoise.networks import ghost_norm
from sgdnoise.tasks.batches import Batch
from sgdnoise.training.gradients import backward, micro_batch_of
from sgdnoise.training.loop import batches_of, updater
from sgdnoise.training.packed import autoencoder
from sgdnoise.training.state import Plan, State, random_state, set_random_state


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
            kept, new = ([leaf for leaf in tree_leaves(one) if leaf is not None] for one in (carry, self.state.carries[index]))
            if kept:
                torch._foreach_copy_(kept, new)
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
        if any(not isinstance(one, Tensor | None) for one in tree_leaves(self.state.carries)):
            raise ValueError("engine graph: the carry has other things than tensors, which stay as they are; use --engine plain")
        if not all(map(torch.equal, random_state(device), self.random)):
            raise ValueError("engine graph: this network draws random numbers for more than torch's dropout; use --engine plain")
        return loss_sum

    def buffers(self) -> list[Tensor]:
        """List what `draw` draws for."""
        return [*self.batch, *self.noise.given]

    def draw(self, number: int) -> list[list[Tensor]]:
        """Draw the inputs of so many updates ahead; those drawn before are used by now, so the state is where they ended."""
        self.state.random = self.random
        set_random_state(self.random, self.state.device)
        drawn = [[*next(self.batches), *self.noise.draw()] for _ in range(number)]
        self.random = random_state(self.state.device)
        return drawn


class Products:
    """All seeds of an autoencoder as batched products; the buffer that their updates read has the indices of the batches."""

    def __init__(self, benchmark: Benchmark, data: Any, plan: Plan, seeds: Sequence[int], steps_done: int, states: list[State]):
        self.states, device = states, states[0].device
        self.images = data["train_pixels"]
        self.networks = autoencoder.Networks(states, benchmark, plan, self.images.dtype)
        self.batches = autoencoder.indices(benchmark, plan, seeds, steps_done)
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
