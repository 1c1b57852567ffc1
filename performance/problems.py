"""What cpu.py trains: seeds of a network at a batch size, on random data."""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from sgdnoise import benchmarks
from sgdnoise.benchmarks import Benchmark
from sgdnoise.networks.autoencoder import Autoencoder
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.training.state import Plan

NUM_IMAGES, NUM_TOKENS = 2048, 8192


class Problem:
    """What all have: a batch size, and with it a plan."""

    batch_size: int
    lr = 0.01

    def plan(self, num_steps: int) -> Plan:
        settings = {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0}
        return Plan(OPTIMIZERS["momentum"], self.batch_size, self.lr, num_steps, 0, 1, settings)


@dataclass(frozen=True)
class Images(Problem):
    """Seeds of an autoencoder (`widths` down to the code) at a batch size, on random pixels."""

    widths: tuple[int, ...]
    seeds: int
    batch_size: int

    def record(self) -> Benchmark:
        shipped = benchmarks.load("autoencoder_mnist", settings={"num_train": NUM_IMAGES})
        return replace(shipped, build=partial(Autoencoder, list(self.widths), "logistic", 15))

    def data(self) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(0)
        sizes = {"train_pixels": NUM_IMAGES, "test_pixels": 16}
        return {
            name: torch.randint(256, (size, self.widths[0]), generator=random, dtype=torch.uint8) for name, size in sizes.items()
        }

    def flops(self) -> int:
        """Count the operations of one update of one seed: of its matrix products only."""
        pairs = list(pairwise([*self.widths, *self.widths[-2::-1]]))
        products = 3 * sum(one * other for one, other in pairs) - pairs[0][0] * pairs[0][1]  # no gradient of the pixels
        return 2 * self.batch_size * products


@dataclass(frozen=True)
class Pictures(Problem):
    """Seeds of a shipped small Wide-ResNet at a batch size, on random images."""

    name: str
    seeds: int
    batch_size: int

    def record(self) -> Benchmark:
        return benchmarks.load(self.name)

    def data(self) -> dict[str, Tensor]:
        benchmark, random, data = self.record(), torch.Generator().manual_seed(0), {}
        side, channels = math.isqrt(benchmark.image_pixels or 0), benchmark.build.keywords["num_channels"]  # type: ignore[attr-defined]
        for split, number in (("train", NUM_IMAGES), ("test", 16)):
            data[f"{split}_images"] = torch.randint(17, (number, channels, side, side), generator=random, dtype=torch.uint8)
            data[f"{split}_labels"] = torch.randint(10, (number,), generator=random)
        return data

    def flops(self) -> int:
        """Count the operations of one update of one seed: of its convolutions and its classifier."""
        return benchmarks.protocol(self.name)["train_flops"] * self.batch_size


@dataclass(frozen=True)
class Text(Problem):
    """Seeds of a shipped LSTM at a batch size, on random words."""

    name: str
    seeds: int
    batch_size: int
    lr = 0.5

    def record(self) -> Benchmark:
        return benchmarks.load(self.name, settings={"num_train": NUM_TOKENS})

    def data(self) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(0)
        num_tokens = self.record().build.args[0]  # type: ignore[attr-defined]
        sizes = {"train_tokens": NUM_TOKENS, "test_tokens": 512}
        return {name: torch.randint(num_tokens, (size,), generator=random) for name, size in sizes.items()}

    def flops(self) -> int:
        """Count the operations of one update of one seed: of its matrix products only."""
        protocol = benchmarks.protocol(self.name)
        return protocol["train_flops"] * protocol["unroll"] * self.batch_size
