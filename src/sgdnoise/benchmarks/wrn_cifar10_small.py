"""A small sibling of the paper's Wide-ResNet: few real CIFAR-10 images at half their size, for hours on a CPU."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sgdnoise.benchmarks import Benchmark, Settings, module
from sgdnoise.machine import datasets
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import WideResNet
from sgdnoise.tasks import classification

PROTOCOL = {
    "version": 1,
    "title": "Wide-ResNet 10-1 with ghost batch norm, CIFAR-10 at 16x16 ({num_train:,} train, 10,000 test)",
    "sibling_of": "wrn_cifar10",
    "dataset": "cifar10",
    "num_train": 512,  # our choice: so few that they are fitted, and what generalises shows
    "num_test": 10_000,
    "train_flops": 18_927_360,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "num_train": {"default": 512, "from": 10, "to": 50_000},  # the first
        "ghost_batch": {"default": 32, "from": 1, "to": 50_000},  # our choice: as the paper's 64 the smallest batch size swept
        "augment": False,  # the paper does; of so few images, crops and flips would hide what the noise of SGD does
        "norm_decay": {"default": 0.9, "from": 0, "below": 1},  # not stated
        "norm_eps": {"default": 1e-5, "above": 0, "to": 1},  # not stated
    },
}

L2 = 5e-4  # ICLR v5
SHRINK = 2  # our choice: pixels are means of 2 x 2
REACH = 2  # pixels of padding: wrn_cifar10's 4, shrunk


def load(path: Path, device: torch.device, num_train: int) -> dict[str, Tensor]:
    """Read the images (N, 3, 32, 32) uint8 and shrink them to (N, 3, 16, 16) uint8; of the training images the first `num_train`."""
    data = datasets.load(path, device)
    first = {"train": num_train, "test": None}
    images = {split: data[f"{split}_images"][:end].float() for split, end in first.items()}
    return {f"{split}_images": F.avg_pool2d(some, SHRINK).round().byte() for split, some in images.items()} | {
        f"{split}_labels": data[f"{split}_labels"][:end] for split, end in first.items()
    }


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    original = module("wrn_cifar10")
    norm = partial(
        GhostBatchNorm, ghost_batch=settings["ghost_batch"], decay=settings["norm_decay"], eps=settings["norm_eps"], relu=True
    )
    augment = partial(classification.augment, reach=REACH, flip=True) if settings["augment"] else Tensor.float
    return Benchmark(
        arrays=original.arrays,
        load=partial(load, num_train=settings["num_train"]),
        build=partial(WideResNet, depth=10, width=1, num_channels=3, num_classes=10, norm=norm),
        batches=partial(classification.batches, augment=augment, normalize=original.normalize),
        loss=classification.loss,
        sampled_loss=classification.sampled_loss,
        evaluate=partial(classification.evaluate, normalize=original.normalize),
        l2=L2,
        image_pixels=16 * 16,
    )
