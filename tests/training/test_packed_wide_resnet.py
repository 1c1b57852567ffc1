"""Packed Wide-ResNets compute what the plain loop computes, seed by seed, whatever becomes of the others.

A ReLU network is chaotic: a rounding that turns one ReLU grows by orders of magnitude in 100 updates, as it does between two plain
loops that sum in another order. So 100 updates are compared in float64, where roundings turn none, and a few in float32.
"""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from packs import CPU, SEEDS

from sgdnoise import benchmarks
from sgdnoise.machine import precision
from sgdnoise.networks.wide_resnet import WideResNet
from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop
from sgdnoise.training import packed as engine
from sgdnoise.training.cell import load_data, plan_of
from sgdnoise.training.packed import wide_resnet
from sgdnoise.training.state import random_state


def case(folder, name="wrn_digits", batch_size=8, lr=0.1, steps=100, optimizer="momentum", build=None, **settings):
    """Return a benchmark, data of 100 images, so that batches span epochs, and a plan."""
    text = str(settings).replace("'", '"').replace("True", "true").replace("False", "false")
    cell = make_cell(name, optimizer, f"steps{steps}", batch_size, lr, "3-5", text, 4, None)
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
    curves = engine.train(benchmark, data, plan, seeds, CPU, lambda states: (last.append(states), on_step(states)), resume)
    return list(zip(curves, last[-1], strict=True))


@pytest.fixture
def in_float64(monkeypatch):
    """Let networks, and the images that they are given, be float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(precision, "WEIGHTS", torch.float64)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


SLOW = (
    "a batch below the ghost batch",
    "SkipInit without scalars, biases and dropout",
    "flips, colours, padding with zeros",
    "a block without projection",
)
CASES = {
    "one ghost batch": {},
    "several ghost batches": {"batch_size": 24, "steps": 40, "optimizer": "sgd", "l2_scope": "weights", "l2_convention": "full"},
    "a batch below the ghost batch": {"batch_size": 4, "augment": False},
    "SkipInit": {"name": "wrn_skipinit_digits", "batch_size": 7, "dropout": 0.4},
    "SkipInit without scalars, biases and dropout": {
        "name": "wrn_skipinit_digits",
        "scalar": False,
        "biases": False,
        "dropout": 0,
        "lr": 0.02,
    },
    "flips, colours, padding with zeros": {"name": "wrn_cifar10_small", "augment": True, "ghost_batch": 4, "steps": 10},
    "a block without projection": {"build": {"depth": 16}, "steps": 10},
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES])
def test_packed_equals_alone(in_float64, data_folder, name):
    """Weights, running statistics, metrics, and where the random numbers of dropout and augmentation are."""
    some = case(data_folder, **CASES[name])
    together = packed(*some)
    for seed, (curves, state) in list(zip(SEEDS, together, strict=True))[1:]:
        expected, alone = plain(*some, seed)
        assert values(state).dtype == torch.float64
        assert_equal((curves, state), (expected, alone), 1e-9)
    assert torch.equal(state.packed()["random"][0], torch.get_rng_state())  # of the last, which ended alone just now
    assert len({curves.rows[-1]["train_loss"] for curves, _ in together}) == 3


def assert_equal(one, other, tolerance):
    (curves, state), (expected, alone) = one, other
    assert torch.linalg.norm(values(state) - values(alone)) <= tolerance * torch.linalg.norm(values(alone))
    assert (curves.steps_done, curves.diverged) == (expected.steps_done, expected.diverged)
    for row, expected_row in zip(curves.rows, expected.rows, strict=True):
        assert row == pytest.approx(expected_row, rel=tolerance)


@pytest.mark.parametrize("name", ["wrn_digits", "wrn_skipinit_digits"])
def test_a_seed_does_not_depend_on_its_pack(in_float64, data_folder, name):
    some = case(data_folder, name, steps=20)
    for index, one in enumerate(packed(*some)):
        assert_equal(packed(*some, seeds=SEEDS[index : index + 1])[0], one, 1e-9)


@pytest.mark.parametrize("name", ["wrn_digits", "wrn_skipinit_digits"])
def test_in_float32_too(data_folder, name):
    """Loosely, for a ReLU that turns."""
    some = case(data_folder, name, batch_size=16, steps=5, lr=0.05)
    for seed, one in zip(SEEDS, packed(*some), strict=True):
        assert_equal(one, plain(*some, seed), 1e-3)


def test_every_seed_has_the_batches_that_it_has_alone(data_folder):
    """Bitwise, over the boundaries of epochs, from any update on; also where another pack comes with it."""
    benchmark, data, plan = case(data_folder, "wrn_cifar10_small", augment=True)
    for seeds, first in (([3, 4], 0), ([4, 9], 0), ([3, 4], 17)):
        states = [loop.start(benchmark, plan, seed, CPU, None) for seed in seeds]
        drawn, alone = [], []
        for seed, state in zip(seeds, states, strict=True):
            torch.manual_seed(loop.seed_streams(seed)[2])
            state.curves.steps_done, state.random = first, random_state(CPU)
            stream = loop.batches_of(benchmark, data, plan, seed, first)
            alone.append([next(stream) for _ in range(30)])
        together = wide_resnet.Batches(benchmark, data, plan, seeds, states)
        drawn = [together.draw() for _ in range(30)]
        for index in range(2):
            for (images, labels, noise), (expected, expected_labels) in zip(drawn, alone[index], strict=True):
                assert torch.equal(images[index].permute(0, 3, 1, 2), expected)
                assert torch.equal(labels[index], expected_labels)
                assert noise is None


def test_dropout_draws_what_torch_draws(data_folder):
    benchmark, data, plan = case(data_folder, "wrn_skipinit_digits", augment=False)
    state = loop.start(benchmark, plan, 3, CPU, None)
    state.random = random_state(CPU)
    torch.set_rng_state(state.random[0])
    stream = loop.batches_of(benchmark, data, plan, 3, 0)
    together = wide_resnet.Batches(benchmark, data, plan, [3], [state])
    for _ in range(3):
        next(stream)
        _, _, noise = together.draw()
        assert torch.equal(noise[0], torch.nn.functional.dropout(torch.ones(8, 64), 0.2))


@pytest.mark.parametrize("name", ["wrn_digits", "wrn_skipinit_digits"])
def test_a_packed_state_goes_on_bitwise(data_folder, name):
    some, saved = case(data_folder, name, steps=12), []

    def keep(states):
        if wide_resnet.steps_done(states) == 5:
            saved.extend(deepcopy(state.packed()) for state in states)

    expected = packed(*some, on_step=keep)
    for (curves, state), (again, resumed) in zip(expected, packed(*some, resume=saved), strict=True):
        assert torch.equal(values(state), values(resumed))
        assert curves.rows == again.rows
        assert torch.equal(state.random[0], resumed.random[0])


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e30])
def test_a_diverging_seed_leaves_the_others_bitwise_untouched(data_folder, number):
    benchmark, data, plan = case(data_folder, steps=10)
    saved = [loop.start(benchmark, plan, seed, CPU, None).packed() for seed in SEEDS]
    expected = packed(benchmark, data, plan, resume=deepcopy(saved))
    saved[1]["model"]["classifier.weight"].fill_(number)
    found = packed(benchmark, data, plan, resume=saved)
    for index in (0, 2):
        assert torch.equal(values(found[index][1]), values(expected[index][1]))
        assert found[index][0].rows == expected[index][0].rows
    diverged = found[1][0]
    assert diverged.diverged
    assert diverged.steps_done < 10
    assert all(map(math.isnan, diverged.rows[-1].values()))


def test_batches_that_are_no_multiple_of_the_ghost_batch(data_folder):
    with pytest.raises(ValueError, match="batch size 12 is not a multiple of the ghost batch 8"):
        packed(*case(data_folder, batch_size=12))


def test_packed_where_it_pays(data_folder):
    """Small batches of small images; as many seeds as keep their columns in a cache."""
    benchmark, _, plan = case(data_folder, batch_size=32)
    assert engine.obstacle(benchmark, plan, CPU) is None
    found = engine.obstacle(benchmark, replace(plan, batch_size=64), CPU)
    assert found == "a batch of 64 images of 64 pixels is about as fast in the plain loop"
    assert wide_resnet.groups(benchmark, range(3, 11), batch_size=32) == [[3, 4, 5, 6], [7, 8, 9, 10]]
    assert wide_resnet.groups(benchmark, range(3, 11), batch_size=8) == [list(range(3, 11))]
    for other in (
        replace(benchmark, image_pixels=None),
        replace(benchmark, clip_norm=1.0),
        replace(benchmark, loss=partial(benchmark.loss, label_smoothing=0.1)),
        replace(benchmark, build=partial(benchmark.build, norm=torch.nn.BatchNorm2d)),
        replace(benchmark, build=partial(WideResNet, 10, 1, 1, 10, torch.nn.BatchNorm2d)),
        replace(benchmark, build=partial(WideResNet, 4, 1, 1, 10)),  # without a block
        replace(benchmark, build=partial(WideResNet, 10, 1, 1, 10, dropout=1.0)),  # of which nothing is left to scale up
        replace(benchmark, batches=partial(benchmark.batches, augment=lambda images: images)),
        replace(benchmark, batches=partial(benchmark.batches, normalize=lambda images: images / images.max())),
    ):
        assert not wide_resnet.fits(other)
