"""A small sibling of the paper's autoencoder, on scikit-learn's handwritten digits."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from sgdnoise.benchmarks import Settings, load
from sgdnoise.networks.autoencoder import Autoencoder
from sgdnoise.tasks import reconstruction

PROTOCOL = {
    "title": "Autoencoder 64-100-50-25-8, handwritten digits (1,024 train, 773 test)",
    "sibling_of": "autoencoder_mnist",
    "dataset": "digits",
    "num_train": 1024,  # as wrn_digits
    "lr_grid": {"anchor": 0.08, "ratio": 2},  # ICLR v5 fig. 6c, table 4
    "metrics": {"test_squared_error": "min", "train_squared_error": "min", "train_objective": "min"},
    "settings": {
        "l2_scope": ["all", "weights"],  # not stated; measured with "all" on MNIST
        "micro_batch": 0,  # images per forward pass; 0: the whole batch
    },
}

WIDTHS = [64, 100, 50, 25, 8]  # our choice: the paper's 784-1000-500-250-30 scaled to 64 pixels
NUM_INCOMING = 15  # Sutskever et al. 2013, sec. 3.1


def pixels(data: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn images (N, 1, 8, 8) in 0..16 into the pixels (N, 64) in 0..255 that the task reads."""
    return {
        f"{split}_pixels": (data[f"{split}_images"].flatten(1).float() * 255 / 16).round().byte() for split in ("train", "test")
    }


def batches(data: dict[str, Tensor], batch_size: int, order: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Yield pixels in [0, 1]."""
    return reconstruction.batches(pixels(data), batch_size, order)


def evaluate(model: nn.Module, data: dict[str, Tensor], split: str) -> dict[str, float]:
    """Return the loss and the squared error per image."""
    return reconstruction.evaluate(model, pixels(data), split)


def build(settings: Settings) -> nn.Module:
    """Make the network."""
    return Autoencoder(WIDTHS, NUM_INCOMING)


BENCHMARK = replace(load("autoencoder_mnist"), arrays=load("wrn_digits").arrays, build=build, batches=batches, evaluate=evaluate)
