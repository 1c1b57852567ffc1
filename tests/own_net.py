"""A benchmark of a user's own, of three files, to be written into a folder and changed there."""

OWN = {
    "my_net.py": '''"""My network."""
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import shape  # beside this file
from sgdnoise.benchmarks import load
from sgdnoise.networks.autoencoder import Autoencoder

PROTOCOL = {
    "title": "Mine",
    "dataset": "table",
    "num_train": 1024,
    "num_test": 773,
    "lr_grid": {"anchor": 0.08, "ratio": 2},
    "metrics": {"test_squared_error": "min", "train_squared_error": "min", "train_objective": "min"},
    "settings": {},
    "reads": ["scale.csv"],
}


def arrays(folder):
    scale = float((Path(__file__).parent / "scale.csv").read_text())
    return {f"{split}_images": np.full((number, 1, 8, 8), scale) for split, number in (("train", 1024), ("test", 773))}


def benchmark(settings):
    return replace(load("autoencoder_digits"), arrays=arrays, build=partial(Autoencoder, shape.WIDTHS, num_incoming=5))
''',
    "shape.py": "WIDTHS = [64, 20, 8]\n",
    "scale.csv": "3",
}


def write_own(folder):
    """Write the files."""
    for name, text in OWN.items():
        (folder / name).write_text(text)
