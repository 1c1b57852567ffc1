"""Packed Wide-ResNets compute what the plain loop computes, seed by seed, whatever becomes of the others.

ReLU networks are chaotic: a rounding that turns one ReLU grows by orders of magnitude in 100 updates, in the plain loop too. So
100 updates are compared in float64, where no such ReLU is near enough, and a few in float32.
"""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch

from sgdnoise import benchmarks
from sgdnoise.study import grid
from sgdnoise.training import loop
from sgdnoise.training.cell import load_data, plan_of, use_device
from sgdnoise.training.packed import obstacle, wide_resnet

CPU = use_device("cpu", threads=1)
SEEDS = [3, 4, 5]


def case(folder, name="wrn_digits", batch_size=8, lr=0.1, steps=100, optimizer="momentum", build=None, **settings):
    """Return a benchmark, data of 100 images, so that batches span epochs, and a plan."""
    text = str(settings).replace("'", '"').replace("True", "true").replace("False", "false")
    cell = grid.cell(name, optimizer, f"steps{steps}", batch_size, lr, "3-5", text, 4, None)
    if name == "wrn_cifar10_small":
        benchmark, random = benchmarks.load(name, settings=cell.spec["settings"]), torch.Generator().manual_seed(0)
        data = {f"{split}_images": torch.randint(256, (100, 3, 16, 16), generator=random).byte() for split in ("train", "test")}
        data |= {f"{split}_labels": torch.randint(10, (100,), generator=random) for split in ("train", "test")}
    else:
        benchmark, data = load_data(cell, folder, CPU)
        data = {name: values[:100] for name, values in data.items()}
    if build:
        benchmark = replace(benchmark, build=partial(benchmark.build.func, **benchmark.build.keywords | build))
    return benchmark, data, plan_of(cell)


def values(state):
    """Gather parameters and running statistics."""
    return torch.cat([value.flatten() for value in state.model.state_dict().values()])


def plain(benchmark, data, plan, seed):
    last = []
    return loop.train(benchmark, data, plan, seed, CPU, last.append), last[-1]


def packed(benchmark, data, plan, seeds=SEEDS, resume=None, on_step=lambda states: None):
    last = []
    curves = wide_resnet.train(benchmark, data, plan, seeds, CPU, lambda states: (last.append(states), on_step(states)), resume)
    return list(zip(curves, last[-1], strict=True))


@pytest.fixture
def in_float64(monkeypatch):
    """Let networks, and the images that they are given, be float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CASES = {
    "one ghost batch": {},
    "several ghost batches": {"batch_size": 24, "optimizer": "sgd", "l2_scope": "weights", "l2_convention": "full"},
    "a batch below the ghost batch": {"batch_size": 4, "augment": False},
    "SkipInit": {"name": "wrn_skipinit_digits", "batch_size": 7, "dropout": 0.4},
    "SkipInit without scalars, biases and dropout": {
        "name": "wrn_skipinit_digits",
        "scalar": False,
        "biases": False,
        "dropout": 0,
        "lr": 0.02,
    },
    "flips, colours, padding with zeros": {"name": "wrn_cifar10_small", "augment": True, "ghost_batch": 4, "steps": 30},
    "a block without projection": {"build": {"depth": 16}, "steps": 30},
}


@pytest.mark.parametrize("name", CASES)
def test_packed_equals_alone(in_float64, data_folder, name):
    """Weights, running statistics, metrics, and where the random numbers of dropout and augmentation are."""
    some = case(data_folder, **CASES[name])
    together = packed(*some)
    for seed, (curves, state) in zip(SEEDS, together, strict=True):
        expected, alone = plain(*some, seed)
        assert values(state).dtype == torch.float64
        torch.testing.assert_close(values(state), values(alone), rtol=1e-5, atol=1e-7)
        assert torch.linalg.norm(values(state) - values(alone)) <= 1e-5 * torch.linalg.norm(values(alone))
        assert curves.steps_done == expected.steps_done
        for row, expected_row in zip(curves.rows, expected.rows, strict=True):
            assert row == pytest.approx(expected_row, rel=1e-5)
    assert torch.equal(state.packed()["random"][0], torch.get_rng_state())
    assert len({curves.rows[-1]["train_loss"] for curves, _ in together}) == 3
