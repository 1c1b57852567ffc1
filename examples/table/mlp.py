"""A regression on a CSV: the progress of diabetes from ten measurements."""

from pathlib import Path

import pandas as pd
from torch import nn

from sgdnoise.tasks import ready

PROTOCOL = {"task": "regression", "num_train": 342, "num_test": 100, "reads": ["diabetes.csv"]}


def network():
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))


def data():
    table = pd.read_csv(Path(__file__).parent / "diabetes.csv")
    return table.drop(columns="target"), table["target"]


def benchmark(settings):
    return ready.regression(network, data, PROTOCOL)
