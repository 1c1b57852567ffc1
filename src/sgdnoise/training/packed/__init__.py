"""Train seeds of a network together on a CPU, forward and backward by hand: the plain loop's updates to rounding, but faster.

Every kind of network has a file with
- `fits(benchmark)`, whether the network, its batches and its loss are of this kind,
- `obstacle(benchmark, plan)`, what else keeps its seeds from being packed, None if nothing does,
- `groups(benchmark, seeds, batch_size)`, which seeds are trained together,
- `parts(benchmark, data, plan, seeds, states)`, the networks of all seeds and an iterator over what their `losses` takes: batches.

Networks have `losses(*batch)`, which returns the summed loss of each seed, (K,), and then `update(lr)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import parallel, precision
from sgdnoise.training.packed import autoencoder, lstm, wide_resnet
from sgdnoise.training.state import Curves, Plan, State
from sgdnoise.training.together import Resume, start_all, steps_done, train_all

KINDS = {
    "the fully connected autoencoder": autoencoder,
    "the LSTM language model": lstm,
    "a Wide-ResNet on small images": wide_resnet,
}


def obstacle(benchmark: Benchmark, plan: Plan, device: torch.device) -> str | None:
    """Say why a cell cannot be trained here; None if it can."""
    if device.type != "cpu" or parallel.size() > 1:
        return "seeds are packed in one process on a CPU only"
    if precision.of(plan.settings) != "float32":
        return "only float32 is packed"
    if not any(kind.fits(benchmark) for kind in KINDS.values()):
        return f"only {' or '.join(KINDS)} can be packed"
    return kind_of(benchmark).obstacle(benchmark, plan)


def groups(benchmark: Benchmark, seeds: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut seeds into equal groups that are trained together: as many as keep what they need in a cache."""
    return kind_of(benchmark).groups(benchmark, seeds, batch_size)


def train(
    benchmark: Benchmark,
    data: Any,
    plan: Plan,
    seeds: Sequence[int],
    device: torch.device,
    on_step: Callable[[list[State]], object] = lambda states: None,
    resume: Resume = None,
) -> list[Curves]:
    """Train seeds together and return the curves of each, as `loop.train` does for one."""
    states = start_all(benchmark, plan, seeds, device, resume)
    networks, batches = kind_of(benchmark).parts(benchmark, data, plan, seeds, states)

    def updates() -> Iterator[list[list[float]]]:
        for step in range(steps_done(states), plan.num_steps):
            loss_sums = networks.losses(*next(batches)).tolist()
            networks.update(plan.lr_at(step))
            yield [loss_sums]

    return train_all(benchmark, data, plan, states, updates(), on_step)


def kind_of(benchmark: Benchmark) -> Any:
    """Return the module that packs a benchmark, one of KINDS."""
    return next(kind for kind in KINDS.values() if kind.fits(benchmark))
