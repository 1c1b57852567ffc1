"""A benchmark of a user's own, in whose text tests change a line: a table of numbers."""

import numpy as np
import torch  # noqa: F401
from torch import nn
from torch.nn import functional as F

from sgdnoise.benchmarks import Benchmark
from sgdnoise.tasks.batches import index_stream

PROTOCOL = {
    "title": "Two layers, a table",
    "dataset": "table",
    "num_train": 342,
    "num_test": 100,
    "lr_grid": {"anchor": 1, "ratio": 2},
    "metrics": {"test_mse": "min"},
    "settings": {},
}


def arrays(folder):
    random = np.random.default_rng(0)
    x = random.normal(size=(442, 10)).astype(np.float32)
    y = x[:, :3].sum(axis=1)
    return {"train_x": x[:342], "train_y": y[:342], "test_x": x[342:], "test_y": y[342:]}


def batches(data, batch_size, order, start, shard):
    for index in index_stream(len(data["train_x"]), batch_size, order, start):
        yield data["train_x"][index][shard], data["train_y"][index][shard]


def build():
    network = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
    return network


def loss(model, batch, carry):
    x, y = batch
    return F.mse_loss(model(x)[:, 0], y, reduction="sum"), None


def evaluate(model, data, split):
    mse = F.mse_loss(model(data[f"{split}_x"])[:, 0], data[f"{split}_y"]).item()
    return {"loss": mse, "mse": mse}


def benchmark(settings):
    return Benchmark(arrays=arrays, build=build, batches=batches, loss=loss, evaluate=evaluate, l2=1e-3)
