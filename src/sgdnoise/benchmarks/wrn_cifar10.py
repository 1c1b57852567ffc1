"""The paper's Wide-ResNet 16-4 with ghost batch norm on CIFAR-10 (ICLR v5 sec. 3)."""

from functools import partial
from pathlib import Path

import numpy as np

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import WideResNet
from sgdnoise.tasks import classification

PROTOCOL = {
    "version": 1,
    "title": "Wide-ResNet 16-4 with ghost batch norm, CIFAR-10 ({num_train:,} train, 10,000 test)",
    "dataset": "cifar10",
    "num_train": 50_000,  # all: 9,765 updates are 200 epochs at batch size 1,024 (ICLR v5 sec. 4)
    "num_test": 10_000,
    "train_flops": 2_354_789_376,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "norm_decay": {"default": 0.9, "from": 0, "below": 1},  # not stated
        "norm_eps": {"default": 1e-5, "above": 0, "to": 1},  # not stated
        "conv_init": ["he", "lecun"],  # not stated: variance 2/fan-in, the natural choice for ReLU, or 1/fan-in (later WRN code)
        "padding": ["reflect", "constant"],  # "reflections" (workshop), 4 pixels (later WRN code); or zeros
    },
}

DEPTH, WIDTH = 16, 4  # ICLR v5
L2 = 5e-4  # ICLR v5
GHOST_BATCH = 64  # ICLR v5, SkipInit v0
REACH = 4  # pixels of padding (later WRN code)
MEAN, SD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the channels, for pixels in [0, 1] (later WRN code)

normalize = partial(classification.normalize, mean=tuple(255 * value for value in MEAN), sd=tuple(255 * value for value in SD))


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Read CIFAR-10 from `folder` in torchvision's layout, downloading what is missing: images (N, 3, 32, 32) uint8.

    torchvision checks the md5 of every file before it opens it. A ValueError says what to place where.
    """
    from torchvision.datasets import CIFAR10  # 2 s of start-up, here only

    made: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        try:
            read = CIFAR10(str(folder), train=split == "train", download=True)
        except Exception as error:  # torchvision raises many kinds for a file that it cannot read, fetch or write
            raise ValueError(
                f"cannot read or download CIFAR-10 in {folder}: {' '.join(str(error).split())}; put cifar-10-python.tar.gz there,"
                " or delete cifar-10-batches-py if it is damaged, and prepare again"
            ) from error
        made |= {f"{split}_images": read.data.transpose(0, 3, 1, 2), f"{split}_labels": np.array(read.targets)}
    return made


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    norm = partial(GhostBatchNorm, ghost_batch=GHOST_BATCH, decay=settings["norm_decay"], eps=settings["norm_eps"], relu=True)
    return Benchmark(
        arrays=arrays,
        build=partial(WideResNet, DEPTH, WIDTH, num_channels=3, num_classes=10, norm=norm, conv_init=settings["conv_init"]),
        batches=partial(
            classification.batches,
            augment=partial(classification.augment, reach=REACH, padding=settings["padding"], flip=True),
            normalize=normalize,
        ),
        loss=classification.loss,
        sampled_loss=classification.sampled_loss,
        evaluate=partial(classification.evaluate, normalize=normalize),
        l2=L2,
    )
