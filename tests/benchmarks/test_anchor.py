"""The paper's autoencoder on real MNIST (make test-anchor): slow, and it needs the data set."""

import os
from pathlib import Path

import numpy as np
import pytest

from sgdnoise import benchmarks
from sgdnoise.machine import datasets
from sgdnoise.study.cell import make_cell
from sgdnoise.training.cell import train_cell, use_device

pytestmark = pytest.mark.anchor


@pytest.fixture
def data():
    folder = os.environ.get("SGDNOISE_DATA")
    if not folder or not (Path(folder) / "MNIST/raw").is_dir():
        pytest.skip("set SGDNOISE_DATA to a folder with MNIST in torchvision's layout, <folder>/MNIST/raw")
    return Path(folder)


def test_mnist_is_read_from_torchvisions_layout(data, tmp_path):
    (tmp_path / "MNIST").symlink_to((data / "MNIST").resolve())
    datasets.prepare(tmp_path / "mnist.npz", benchmarks.load("autoencoder_mnist").arrays)
    with np.load(tmp_path / "mnist.npz") as arrays:
        assert arrays["train_pixels"].shape == (50_000, 784)
        assert arrays["test_pixels"].shape == (10_000, 784)
        assert arrays["train_pixels"].mean() == pytest.approx(33.3, abs=0.1)


def test_fifty_epochs_reach_the_papers_errors(data):
    """Test 3.22 +- 0.04 and train 2.61 +- 0.06 for one seed (ICLR v5 fig. 9: 3.215 and 2.62 for the best 5 of 7)."""
    cell = make_cell("autoencoder_mnist", "momentum", "epochs50", 32, 0.08, "0-0", "{}", 1, None)
    run = train_cell(cell, data, use_device("auto", threads=1))
    assert run.curves["test_squared_error"][0, -1] == pytest.approx(3.22, abs=0.04)
    assert run.curves["train_squared_error"][0, -1] == pytest.approx(2.61, abs=0.06)
