"""Packed LSTMs compute what the plain loop computes, seed by seed, whatever becomes of the others."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from packs import CPU, SEEDS, assert_equal_to_rounding, packed, plain

from sgdnoise import benchmarks
from sgdnoise.networks.lstm import LSTMLanguageModel
from sgdnoise.study.cell import make_cell
from sgdnoise.tasks import language_model
from sgdnoise.training import loop
from sgdnoise.training import packed as engine
from sgdnoise.training.cell import choose_engine, plan_of, train_cell
from sgdnoise.training.packed import lstm


def case(name="lstm_synthetic", optimizer="momentum", batch_size=8, lr=0.5, num_steps=100, dropout=0.5, **more):
    """Return a benchmark, a text of made-up tokens that is read several times, and a plan."""
    settings = {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0} | more
    benchmark = benchmarks.load(name, settings=settings | {"num_train": 1024})
    num_tokens, width = benchmark.build.args[:2]
    build = partial(LSTMLanguageModel, num_tokens, width, 2, dropout, benchmark.build.args[-1])
    random = np.random.default_rng(0)
    text = torch.from_numpy(random.zipf(1.5, 2560).clip(max=num_tokens) - 1)
    data = {"train_tokens": text[:2048], "test_tokens": text[2048:]}
    cell = make_cell("lstm_synthetic", optimizer, f"steps{num_steps}", batch_size, lr, "3-5", "{}", 4, None)
    return replace(benchmark, build=build, l2=0.001), data, replace(plan_of(cell), settings=settings)


CASES = [
    {},
    {"optimizer": "sgd", "batch_size": 1, "lr": 0.1, "l2_scope": "weights"},
    {"optimizer": "momentum_warmup", "batch_size": 7, "l2_convention": "full", "dropout": 0.3},
    pytest.param({"optimizer": "sgd", "batch_size": 64, "dropout": 0.0}, marks=pytest.mark.slow),
    pytest.param({"name": "lstm_ptb_small", "batch_size": 16}, marks=pytest.mark.slow),
    pytest.param({"name": "lstm_ptb_small", "optimizer": "sgd", "batch_size": 2, "lr": 0.1}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("changes", CASES)
def test_packed_equals_alone_after_100_updates(changes):
    some = case(**changes)
    all_seeds = packed(*some)
    for seed, one in zip(SEEDS, all_seeds, strict=True):
        assert_equal_to_rounding(one, plain(*some, seed))
    assert len({one[0].rows[-1]["train_loss"] for one in all_seeds}) == 3


def test_what_the_comparison_could_hide_matters():
    """Every part of an update that would be equal in both loops if it were inert; clipping is at work."""
    benchmark, data, plan = case()
    first, last = packed(benchmark, data, plan)[0]
    others = [case(**changes) for changes in ({"optimizer": "sgd"}, {"l2_scope": "weights"}, {"lr": 0.51}, {"dropout": 0.45})]
    others += [(replace(benchmark, clip_norm=clip_norm), data, plan) for clip_norm in (4.9, 0.0)]
    for other in others:
        assert torch.linalg.norm(packed(*other)[0][1] - last) > 1e-4 * torch.linalg.norm(last)
    assert first.rows[-1]["train_loss"] < 0.7 * math.log(50)


def test_the_mean_over_time_and_no_clipping():
    benchmark, data, plan = case(lr=2.0)
    mean = replace(benchmark, loss=partial(benchmark.loss, scale=1 / 16), clip_norm=0.0)
    assert_equal_to_rounding(packed(mean, data, plan)[1], plain(mean, data, plan, 4))


@pytest.mark.slow
def test_the_size_of_the_paper():
    """2 layers of 650 units, 10,000 words, 35 time steps."""
    plan = case(num_steps=2, batch_size=2)[-1]
    large = benchmarks.load("lstm_ptb", settings={"loss_over_time": "sum"})
    random = torch.Generator().manual_seed(0)
    text = torch.randint(10_000, (160,), generator=random)
    some = (large, {"train_tokens": text, "test_tokens": text}, plan)
    assert_equal_to_rounding(packed(*some, [3])[0], plain(*some, 3))


@pytest.mark.parametrize("draw", [lstm.bernoulli, lstm.compared])
def test_dropout_is_that_of_the_plain_loop_however_it_is_drawn(monkeypatch, draw):
    """Where torch draws by MKL only one of the two is right, and that is the one which is chosen."""
    if draw is not lstm.bernoulli_like() and draw is lstm.compared:
        pytest.skip("torch draws by MKL here")
    monkeypatch.setattr(lstm, "bernoulli_like", lambda: draw)
    some = case(num_steps=10)
    assert_equal_to_rounding(packed(*some)[2], plain(*some, 5))


def test_another_way_to_draw_is_not_taken(monkeypatch):
    def other(numbers, probability, random):
        return lstm.bernoulli(numbers, 1 - probability, random)

    monkeypatch.setattr(lstm, "compared", other)
    assert lstm.bernoulli_like() is lstm.bernoulli


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e38])
def test_a_diverging_seed_leaves_the_others_bitwise_untouched(number):
    benchmark, data, plan = case(num_steps=30)
    saved = [loop.start(benchmark, plan, seed, CPU, None).packed() for seed in SEEDS]
    expected = packed(benchmark, data, plan, resume=deepcopy(saved))
    saved[1]["model"]["readout.weight"].fill_(number)[::2] *= -1
    found = packed(benchmark, data, plan, resume=saved)
    for index in (0, 2):
        assert torch.equal(found[index][1], expected[index][1])
        assert found[index][0].rows == expected[index][0].rows
    diverged = found[1][0]
    assert diverged.diverged
    assert diverged.steps_done < 30
    assert all(map(math.isnan, diverged.rows[-1].values()))


def test_a_pack_that_diverges_ends():
    benchmark, data, plan = case(lr=1e30)
    curves = engine.train(replace(benchmark, clip_norm=0.0), data, plan, SEEDS, CPU)
    assert all(one.diverged and one.steps_done < 10 for one in curves)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum_warmup"])
def test_it_goes_on_bitwise_from_where_it_was(optimizer):
    """After the first update, within an epoch, at its end, after an evaluation; the tokens read, 128 an update, are 2,048."""
    benchmark, data, plan = case(optimizer=optimizer, num_steps=40)
    saved = {}

    def keep(states):
        saved[states[0].curves.steps_done] = deepcopy([state.packed() for state in states])

    curves = engine.train(benchmark, data, plan, SEEDS, CPU, keep)
    whole = {index: state["model"] for index, state in enumerate(saved[40])}
    for step in (1, 7, 15, 20):
        again = packed(benchmark, data, plan, resume=deepcopy(saved[step]))
        for index, (found, last) in enumerate(again):
            assert torch.equal(last, torch.cat([tensor.flatten() for tensor in whole[index].values()]))
            assert found.rows == curves[index].rows


def test_what_a_seed_computes_does_not_hang_on_its_pack():
    some = case()
    pack, others = packed(*some), packed(*some, [4, 9, 3, 11, 12])
    for index, place in ((0, 2), (1, 0)):
        assert_equal_to_rounding(others[place], pack[index])


def test_seeds_are_packed_as_long_as_they_fit_into_a_cache():
    small, large = (case(name)[0] for name in ("lstm_synthetic", "lstm_ptb_small"))
    assert lstm.groups(small, range(8), batch_size=16) == [list(range(8))]
    assert lstm.groups(small, range(6), batch_size=64) == [[0, 1, 2], [3, 4, 5]]
    assert lstm.groups(large, range(3), batch_size=4) == [[0, 1, 2]]


def test_the_network_of_the_paper_is_trained_in_the_plain_loop():
    benchmark, _, plan = case("lstm_ptb_small")
    assert engine.obstacle(benchmark, plan, CPU) is None
    large = benchmarks.load("lstm_ptb", settings={"loss_over_time": "sum"})
    assert choose_engine("auto", large, plan, CPU) == "plain"
    with pytest.raises(ValueError, match="engine packed: an LSTM with so many weights is no faster packed; use --engine auto"):
        choose_engine("packed", large, plan, CPU)


def test_a_loss_with_other_settings_is_trained_in_the_plain_loop():
    benchmark, _, plan = case()
    assert lstm.fits(replace(benchmark, loss=partial(language_model.loss, scale=0.5)))
    for other in (partial(language_model.loss, label_smoothing=0.5), partial(benchmark.loss, label_smoothing=0.5)):
        assert choose_engine("auto", replace(benchmark, loss=other), plan, CPU) == "plain"


def test_cells_are_trained_by_it(data_folder):
    cell = make_cell("lstm_synthetic", "momentum", "steps12", 32, 0.5, "0-2", "{}", 2, None)
    runs = {engine: train_cell(cell, data_folder, CPU, engine=engine) for engine in ("auto", "plain")}
    assert runs["auto"].provenance["engine"] == "packed"
    for metric, curve in runs["plain"].curves.items():
        np.testing.assert_allclose(runs["auto"].curves[metric], curve, rtol=1e-5)
