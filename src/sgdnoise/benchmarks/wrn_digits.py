"""Wide-ResNet with ghost batch norm on scikit-learn's handwritten digits: the paper's first benchmark, laptop-sized."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.machine import datasets
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import WideResNet
from sgdnoise.tasks import classification

PROTOCOL = {
    "version": 2,
    "title": "Wide-ResNet 10-1 with ghost batch norm, handwritten digits ({num_train:,} of 1,797 train, the rest test)",
    "sibling_of": "wrn_cifar10",
    "dataset": "digits",
    "num_train": 1024,  # our choice: a power of two, so that every batch size divides an epoch
    "num_test": 773,
    "train_flops": 4_660_992,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "norm_decay": {"default": 0.9, "from": 0, "below": 1},  # not stated
        "norm_eps": {"default": 1e-5, "above": 0, "to": 1},  # not stated
        "num_train": {"default": 1024, "from": 10, "to": 1024},  # the first; what is left is test images
        "augment": True,  # false: the images as they are; the paper augments
        "ghost_batch": {"default": 8, "from": 1, "to": 1024},  # our choice: as the paper's 64 the smallest batch size swept
    },
    "later": ["num_train", "augment", "ghost_batch"],
}

L2 = 5e-4  # ICLR v5
SHIFT = 1  # our choice: pixels; a crop from 2-pixel-wider images, as the paper's 4 of 32, without the flip


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return 1,024 train and 773 test images, (N, 1, 8, 8) uint8 in 0..16, in a fixed stratified split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, train_size=PROTOCOL["num_train"], stratify=labels, random_state=0)
    return dict(zip(("train_images", "test_images", "train_labels", "test_labels"), split, strict=True))


def load(path: Path, device: torch.device, num_train: int) -> dict[str, Tensor]:
    """Read the images onto the device: of the training images the first `num_train`, the others before the test images."""
    data = datasets.load(path, device)
    kinds = [name.removeprefix("train_") for name in data if name.startswith("train_")]
    split = {f"train_{kind}": data[f"train_{kind}"][:num_train] for kind in kinds}
    return split | {f"test_{kind}": torch.cat([data[f"train_{kind}"][num_train:], data[f"test_{kind}"]]) for kind in kinds}


normalize = partial(classification.normalize, mean=(4.9,), sd=(6.0,))  # of the train pixels


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    norm = partial(
        GhostBatchNorm, ghost_batch=settings["ghost_batch"], decay=settings["norm_decay"], eps=settings["norm_eps"], relu=True
    )
    return Benchmark(
        arrays=arrays,
        load=partial(load, num_train=settings["num_train"]),
        build=partial(WideResNet, depth=10, width=1, num_channels=1, num_classes=10, norm=norm),
        batches=partial(
            classification.batches,
            augment=partial(classification.augment, reach=SHIFT if settings["augment"] else 0),
            normalize=normalize,
        ),
        loss=classification.loss,
        sampled_loss=classification.sampled_loss,
        evaluate=partial(classification.evaluate, normalize=normalize),
        l2=L2,
        image_pixels=8 * 8,
    )
