"""A small sibling of the paper's autoencoder, on scikit-learn's handwritten digits."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark, Settings, load, module
from sgdnoise.networks.autoencoder import Autoencoder

PROTOCOL = {
    "version": 1,
    "title": "Autoencoder 64-100-50-25-8, handwritten digits ({num_train:,} of 1,797 train, the rest test)",
    "sibling_of": "autoencoder_mnist",
    "dataset": "digits",
    "num_train": 1024,  # as wrn_digits
    "num_test": 773,
    "train_flops": 141_400,
    "lr_grid": {"anchor": 0.08, "ratio": 2},  # ICLR v5 fig. 6c, table 4
    "metrics": {"test_squared_error": "min", "train_squared_error": "min", "train_objective": "min"},
    "labels": {"test_squared_error": "test squared error per image", "train_squared_error": "train squared error per image"},
    "settings": {"num_train": {"default": 1024, "from": 1, "to": 1024}},  # as wrn_digits
    "later": ["num_train"],
}

WIDTHS = [64, 100, 50, 25, 8]  # our choice: the paper's 784-1000-500-250-30 scaled to 64 pixels
NUM_INCOMING = 15  # Sutskever et al. 2013, sec. 3.1


def load_pixels(path: Path, device: torch.device, num_train: int) -> dict[str, Tensor]:
    """Turn the images (N, 1, 8, 8) in 0..16 into pixels (N, 64) uint8 in 0..255."""
    data = module("wrn_digits").load(path, device, num_train)
    return {
        f"{split}_pixels": (data[f"{split}_images"].flatten(1).float() * 255 / 16).round().byte() for split in ("train", "test")
    }


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    num_train = settings["num_train"]
    return replace(
        load("autoencoder_mnist", settings={"num_train": num_train}),
        arrays=module("wrn_digits").arrays,
        load=partial(load_pixels, num_train=num_train),
        build=partial(Autoencoder, WIDTHS, num_incoming=NUM_INCOMING),
    )
