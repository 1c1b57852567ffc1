"""The Wide-ResNet of `wrn_digits` on few digits under noise: so hard that what generalises depends on how it is trained."""

from dataclasses import replace
from functools import partial
from math import hypot
from pathlib import Path

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark, Settings, load, module
from sgdnoise.tasks import classification

NOISE = 8  # our choice: s.d., where pixels are 0 to 16 and have an s.d. of 6

PROTOCOL = {
    "version": 1,
    "title": f"Wide-ResNet 10-1 with ghost batch norm, handwritten digits under pixel noise of s.d. {NOISE}"
    " ({num_train:,} of 1,797 train, the rest test)",
    "sibling_of": "wrn_cifar10",
    "dataset": "digits",
    "num_train": 64,  # our choice: so few that they are fitted
    "num_test": 1_733,
    "train_flops": 4_660_992,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "num_train": {"default": 64, "from": 10, "to": 1024},  # as wrn_digits
        "ghost_batch": {"default": 8, "from": 1, "to": 1024},  # as wrn_digits
        "norm_decay": {"default": 0.9, "from": 0, "below": 1},  # not stated
        "norm_eps": {"default": 1e-5, "above": 0, "to": 1},  # not stated
    },
}

NOISE_SEED = 2020


def load_noisy(path: Path, device: torch.device, num_train: int) -> dict[str, Tensor]:
    """Read the images (N, 1, 8, 8) in 0..16 and add Gaussian noise, float32: the same for an image whatever `num_train`."""
    data = module("wrn_digits").load(path, device, num_train)
    random = torch.Generator().manual_seed(NOISE_SEED)
    images = torch.cat([data["train_images"], data["test_images"]])
    images = images + NOISE * torch.randn(images.shape, generator=random).to(device)
    return data | dict(zip(("train_images", "test_images"), (images[:num_train], images[num_train:]), strict=True))


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`; images are not augmented."""
    original = load("wrn_digits", settings={name: settings[name] for name in ("ghost_batch", "norm_decay", "norm_eps")})
    clean = module("wrn_digits").normalize
    normalize = partial(clean, sd=tuple(hypot(sd, NOISE) for sd in clean.keywords["sd"]))
    return replace(
        original,
        load=partial(load_noisy, num_train=settings["num_train"]),
        batches=partial(classification.batches, augment=Tensor.float, normalize=normalize),
        evaluate=partial(classification.evaluate, normalize=normalize),
    )
