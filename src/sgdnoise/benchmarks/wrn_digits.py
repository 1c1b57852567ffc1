"""Wide-ResNet with ghost batch norm on scikit-learn's handwritten digits: the paper's first benchmark, laptop-sized."""

from functools import partial
from pathlib import Path

import numpy as np

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import WideResNet
from sgdnoise.tasks import classification

PROTOCOL = {
    "version": 2,
    "title": "Wide-ResNet 10-1 with ghost batch norm, handwritten digits (1,024 train, 773 test)",
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
    },
}

L2 = 5e-4  # ICLR v5
GHOST_BATCH = 8  # as the paper's 64 the smallest batch size swept, so that every batch is normalised over as many images
SHIFT = 1  # our choice: pixels; a crop from 2-pixel-wider images, as the paper's 4 of 32, without the flip


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return 1,024 train and 773 test images, (N, 1, 8, 8) uint8 in 0..16, in a fixed stratified split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, train_size=PROTOCOL["num_train"], stratify=labels, random_state=0)
    return dict(zip(("train_images", "test_images", "train_labels", "test_labels"), split, strict=True))


augment = partial(classification.augment, reach=SHIFT)
normalize = partial(classification.normalize, mean=(4.9,), sd=(6.0,))  # of the train pixels


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    norm = partial(GhostBatchNorm, ghost_batch=GHOST_BATCH, decay=settings["norm_decay"], eps=settings["norm_eps"], relu=True)
    return Benchmark(
        arrays=arrays,
        build=partial(WideResNet, depth=10, width=1, num_channels=1, num_classes=10, norm=norm),
        batches=partial(classification.batches, augment=augment, normalize=normalize),
        loss=classification.loss,
        evaluate=partial(classification.evaluate, normalize=normalize),
        l2=L2,
    )
