"""The paper's fully connected autoencoder on MNIST (ICLR v5 App. D; Sutskever et al. 2013).

Not stated, but measured: with this recipe 50 epochs at batch size 32 and lr 0.08 give the paper's errors, test 3.215 and
train 2.62.
"""

import hashlib
from pathlib import Path

import numpy as np
from torch import nn

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.networks.autoencoder import Autoencoder
from sgdnoise.tasks import reconstruction

PROTOCOL = {
    "title": "Autoencoder 784-1000-500-250-30, MNIST (50,000 train, 10,000 test)",
    "dataset": "mnist",
    "num_train": 50_000,  # the first: 156,250 updates are 200 epochs at batch size 64 (ICLR v5)
    "lr_grid": {"anchor": 0.08, "ratio": 2},  # ICLR v5 fig. 6c, table 4
    "metrics": {"test_squared_error": "min", "train_squared_error": "min", "train_objective": "min"},
    "settings": {
        "l2_scope": ["all", "weights"],  # not stated; measured with "all"
        "micro_batch": 0,  # images per forward pass; 0: the whole batch
    },
}

WIDTHS = [784, 1000, 500, 250, 30]  # ICLR v5 App. D
NUM_INCOMING = 15  # Sutskever et al. 2013, sec. 3.1
L2 = 1e-5  # ICLR v5 App. D
SHA256 = "5b92582eb909c82a9bfefcd44acbe9233be3eb5b419a44cf211022ad2bf4bf96"  # of all 70,000 images, train before test


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Read MNIST from `folder` in torchvision's layout, downloading what is missing: (N, 784) uint8.

    A ValueError if the images are not exactly MNIST's.
    """
    from torchvision.datasets import MNIST  # 2 s of start-up, here only

    raw = folder / "MNIST" / "raw"

    def pixels(train: bool) -> np.ndarray:
        try:
            return MNIST(str(folder), train=train, download=True).data.numpy().reshape(-1, 784)
        except Exception as error:  # torchvision raises many kinds for a file that it cannot read, fetch or write
            reason = " ".join(str(error).split())
            remedy = f"put MNIST's four files into {raw}, or delete what is there and prepare again"
            raise ValueError(f"cannot read or download MNIST in {raw}: {reason}; {remedy}") from error

    train, test = pixels(True), pixels(False)
    if hashlib.sha256(train.tobytes() + test.tobytes()).hexdigest() != SHA256:
        raise ValueError(f"the files in {raw} are not MNIST's, or corrupt; delete them and prepare again")
    return {"train_pixels": train[: PROTOCOL["num_train"]], "test_pixels": test}


def build(settings: Settings) -> nn.Module:
    """Make the network."""
    return Autoencoder(WIDTHS, NUM_INCOMING)


BENCHMARK = Benchmark(
    arrays=arrays,
    build=build,
    batches=reconstruction.batches,
    loss=reconstruction.loss,
    evaluate=reconstruction.evaluate,
    l2=L2,
)
