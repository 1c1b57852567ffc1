"""Packed autoencoders compute what the plain loop computes, seed by seed, whatever becomes of the others."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from packs import CPU, SEEDS, assert_equal_to_rounding, packed, plain

from sgdnoise import benchmarks
from sgdnoise.networks.autoencoder import Autoencoder
from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop
from sgdnoise.training import packed as engine
from sgdnoise.training.cell import plan_of
from sgdnoise.training.packed import autoencoder


def case(optimizer="momentum", batch_size=16, lr=0.02, activation="logistic", loss="cross_entropy", init="sparse", **more):
    """Return a small autoencoder as a benchmark, 100 images, and a plan of 100 updates; batches span epochs."""
    chosen = {"activation": activation, "loss": loss, "init": init, "num_train": 100}
    benchmark = benchmarks.load("autoencoder_mnist", settings=chosen)
    widths = [784, 300, 40, 8]  # the first layer is more than a block
    build = partial(Autoencoder, widths, activation, 15 if init == "sparse" else None)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (150, 784), generator=random) * (torch.rand(150, 784, generator=random) < 0.3)
    data = {"train_pixels": images[:100].byte(), "test_pixels": images[100:].byte()}
    settings = {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0} | chosen | more
    cell = make_cell("autoencoder_digits", optimizer, "steps100", batch_size, lr, "3-5", "{}", 4, None)
    return replace(benchmark, build=build, l2=0.3), data, replace(plan_of(cell), settings=settings)


CASES = [
    {},
    {"optimizer": "sgd", "batch_size": 1, "l2_scope": "weights", "loss": "squared_error"},
    {"optimizer": "momentum_warmup", "batch_size": 7, "activation": "tanh", "loss": "squared_error", "init": "lecun"},
    pytest.param(
        {"optimizer": "momentum", "batch_size": 150, "activation": "tanh", "init": "lecun", "l2_convention": "full"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("changes", CASES)
@pytest.mark.parametrize("block", [pytest.param(autoencoder.BLOCK["cpu"], marks=pytest.mark.slow), 1000, 10**9])
def test_packed_equals_alone_after_100_updates(monkeypatch, changes, block):
    """Whatever the blocks: rows of a layer, some seeds, all seeds."""
    monkeypatch.setitem(autoencoder.BLOCK, "cpu", block)
    some = case(**changes)
    together = packed(*some)
    for seed, one in zip(SEEDS, together, strict=True):
        assert_equal_to_rounding(one, plain(*some, seed))
    assert len({one[0].rows[-1]["train_loss"] for one in together}) == 3


def test_pixels_may_be_floats():
    """As a user's own `load` may have made them."""
    benchmark, data, plan = case()
    plan, data = replace(plan, num_steps=5), {name: pixels.float() for name, pixels in data.items()}
    for seed, one in zip(SEEDS, packed(benchmark, data, plan), strict=True):
        assert_equal_to_rounding(one, plain(benchmark, data, plan, seed))


def test_the_schedule_and_l2_matter():
    """What the comparison with the plain loop could hide if both were inert."""
    first, last = packed(*case())[0]
    for changes in ({"optimizer": "sgd"}, {"l2_scope": "weights"}, {"l2_convention": "full"}, {"lr": 0.021}):
        assert torch.linalg.norm(packed(*case(**changes))[0][1] - last) > 1e-4 * torch.linalg.norm(last)
    assert first.rows[-1]["train_loss"] < 0.95 * first.rows[0]["train_loss"]


def test_every_seed_has_the_batches_that_it_has_alone():
    """Bitwise, over the boundaries of epochs and windows, from any update on; also where another pack comes with it."""
    benchmark, data, plan = case(batch_size=7)
    networks = autoencoder.Networks([loop.start(benchmark, plan, seed, CPU, None) for seed in SEEDS[:2]], benchmark, plan)
    for seeds, first in (([3, 4], 0), ([4, 9], 0), ([3, 4], autoencoder.WINDOW), ([3, 4], autoencoder.WINDOW + 5)):
        together = autoencoder.indices(benchmark, plan, seeds, first)
        alone = [loop.batches_of(benchmark, data, plan, seed, first) for seed in seeds]
        for index in islice(together, 3 * autoencoder.WINDOW):
            networks.losses(data["train_pixels"], index)
            assert torch.equal(networks.values[0], torch.stack([next(stream)[0] for stream in alone]))


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e38])
def test_a_diverging_seed_leaves_the_others_bitwise_untouched(number):
    benchmark, data, plan = case()
    saved = [loop.start(benchmark, plan, seed, CPU, None).packed() for seed in SEEDS]
    expected = packed(benchmark, data, plan, resume=deepcopy(saved))
    saved[1]["model"]["layers.10.weight"].fill_(number)
    found = packed(benchmark, data, plan, resume=saved)
    for index in (0, 2):
        assert torch.equal(found[index][1], expected[index][1])
        assert found[index][0].rows == expected[index][0].rows
    diverged = found[1][0]
    assert diverged.diverged
    assert diverged.steps_done < 100
    assert diverged.rows[-1].keys() == expected[1][0].rows[-1].keys()
    assert all(map(math.isnan, diverged.rows[-1].values()))


def test_a_pack_that_diverges_ends():
    curves = engine.train(*case(lr=1e30), SEEDS, CPU)
    assert all(one.diverged and one.steps_done < 10 for one in curves)


def test_seeds_are_packed_as_long_as_they_fit_into_a_cache():
    small, large = (benchmarks.load(f"autoencoder_{name}") for name in ("digits", "mnist"))
    assert autoencoder.groups(small, range(3, 6), batch_size=16) == [[3, 4, 5]]
    assert autoencoder.groups(small, range(3, 12), batch_size=512) == [[3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert autoencoder.groups(large, range(3, 6), batch_size=1) == [[3], [4], [5]]
