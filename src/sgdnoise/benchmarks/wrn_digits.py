"""Wide-ResNet with ghost batch norm on scikit-learn's handwritten digits: the paper's first benchmark, laptop-sized."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import WideResNet
from sgdnoise.tasks import classification

PROTOCOL = {
    "title": "Wide-ResNet 10-1 with ghost batch norm, handwritten digits (1,024 train, 773 test)",
    "sibling_of": "wrn_cifar10",
    "dataset": "digits",
    "num_train": 1024,  # our choice: a power of two, so that every batch size divides an epoch
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "l2_scope": ["all", "weights"],  # not stated; all parameters is the convention of the authors' library
        "micro_batch": 0,  # images per forward pass; 0: the whole batch
        "norm_decay": 0.9,  # not stated
        "norm_eps": 1e-5,  # not stated
    },
}

L2 = 5e-4  # ICLR v5
GHOST_BATCH = 32  # our choice: the paper's 64 scaled to the smallest batch size swept here
SHIFT = 1  # our choice: pixels; a crop from 2-pixel-wider images, as the paper's 4 of 32, without the flip


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return 1,024 train and 773 test images, (N, 1, 8, 8) uint8 in 0..16, in a fixed stratified split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, train_size=PROTOCOL["num_train"], stratify=labels, random_state=0)
    return dict(zip(("train_images", "test_images", "train_labels", "test_labels"), split, strict=True))


def shift(images: Tensor) -> Tensor:
    """Move every image by up to SHIFT pixels each way, mirroring the border: (B, 1, 8, 8) uint8."""
    batch_size, _, height, width = images.shape
    padded = F.pad(images.float(), (SHIFT,) * 4, mode="reflect")
    top, left = torch.randint(2 * SHIFT + 1, (2, batch_size, 1), device=images.device)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]
    return padded[torch.arange(batch_size, device=images.device)[:, None, None, None], 0, rows, columns]


def normalize(images: Tensor) -> Tensor:
    """Centre and scale: (B, 1, 8, 8) to float32, channels last; mean and s.d. of the train pixels."""
    return ((images.float() - 4.9) / 6.0).contiguous(memory_format=torch.channels_last)


def build(settings: Settings) -> nn.Module:
    """Make the network."""
    norm = partial(GhostBatchNorm, ghost_batch=GHOST_BATCH, decay=settings["norm_decay"], eps=settings["norm_eps"])
    return WideResNet(depth=10, width=1, num_channels=1, num_classes=10, norm=norm)


def batches(data: dict[str, Tensor], batch_size: int, order: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Yield shifted, normalized images and labels."""
    return classification.batches(data, batch_size, order, shift, normalize)


BENCHMARK = Benchmark(
    arrays=arrays,
    build=build,
    batches=batches,
    loss=classification.loss,
    evaluate=partial(classification.evaluate, normalize=normalize),
    l2=L2,
)
