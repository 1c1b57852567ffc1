"""The noisy quadratic model against slower ways to the same number, and against what it stands for: updates with noise."""

import numpy as np
import pytest
import torch

from sgdnoise.analysis import noisy_quadratic as model
from sgdnoise.analysis.noisy_quadratic import BLOCKS, DIRECTIONS, FORMS, Directions, Form, expected_loss, form_of, optimum, stages
from sgdnoise.study.optimizers import OPTIMIZERS, Optimizer
from sgdnoise.study.schedule import multiplier, shaped
from sgdnoise.training.rules import sgd

FORM = {"sgd": Form(), "momentum": Form(momentum=0.9), **FORMS}
LRS = {
    "sgd": [0.01, 0.3, 1.9],
    "momentum": [0.1, 3, 37],
    "adam": [0.003, 0.3, 4],
    "kfac": [0.0003, 0.03, 2],
    "svrg": [0.1, 1, 1.9],
}
PAPER = Optimizer("")


def each_update(one, num_steps, warmup_steps=0):
    rate = (lambda t: shaped(one.schedule, one.final, t, num_steps, warmup_steps)) if one.schedule != "paper" else None
    return [((rate or (lambda t: multiplier(t, num_steps, warmup_steps)))(step), 1) for step in range(num_steps)]


@pytest.mark.parametrize("name", LRS)
def test_powers_are_the_recursion(name):
    lrs = np.array(LRS[name])
    for num in (1, 2, 7, 1000):
        by_powers = expected_loss(lrs, FORM[name], [(1.0, num)], 0.25)
        assert np.isfinite(by_powers).all()
        np.testing.assert_allclose(by_powers, expected_loss(lrs, FORM[name], [(1.0, 1)] * num, 0.25), rtol=1e-10)


def test_sgd_is_the_scalar_recursion_and_its_geometric_sum():
    """s' = (1 - lr h)^2 s + lr^2 c: after T updates s = s_inf + (1 - lr h)^2T (1 - s_inf)."""
    h, lr, noise, num = DIRECTIONS.h, 0.7, 0.25, 500
    s = np.ones_like(h)
    for _ in range(num):
        s = (1 - lr * h) ** 2 * s + lr**2 * noise * h
    limit = lr**2 * noise * h / (1 - (1 - lr * h) ** 2)
    np.testing.assert_allclose(limit + (1 - lr * h) ** (2 * num) * (1 - limit), s, rtol=1e-10)
    (found,) = expected_loss(np.array([lr]), Form(), [(1.0, num)], noise)
    assert found == pytest.approx(float(DIRECTIONS.num * h @ s / 2), rel=1e-10)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "kfac"])
def test_it_is_the_mean_of_runs_with_noise(name):
    """4,000 runs of five directions: 60 updates of the paper's schedule; within four standard errors, which are below 3 %."""
    form, random = FORM[name], np.random.default_rng(7)
    few = Directions(1 / np.array([1.0, 2, 5, 20, 100]), np.array([1, 1, 1, 1, 1]))
    lr, noise, num_runs = LRS[name][1], 2.0, 4000
    scale = (few.h + form.damping) ** -form.power
    w, v = random.standard_normal((num_runs, 5)), np.zeros((num_runs, 5))
    for rate, _ in each_update(PAPER, 60):
        gradient = few.h * w + np.sqrt(noise * few.h) * random.standard_normal(w.shape)
        v = form.momentum * v + scale * gradient
        w = w - rate * lr * (1 - form.momentum) * v
    losses = w**2 @ few.h / 2
    error = losses.std(ddof=1) / np.sqrt(num_runs)
    (expected,) = expected_loss(np.array([lr]), form, stages(PAPER, 60), noise, few)
    assert error < 0.03 * expected
    assert abs(losses.mean() - expected) < 4 * error


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_without_noise_it_is_the_update_rule_of_training(name):
    h, one, state = torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64), OPTIMIZERS[name], {}
    w = torch.ones(3, dtype=torch.float64)
    for rate, _ in each_update(one, 50):
        sgd(one, [w], [h * w], state, 1.5 * rate)
    (found,) = expected_loss(np.array([1.5]), form_of(name, one), stages(one, 50), 0.0, Directions(h.numpy(), np.ones(3)))
    assert found == pytest.approx(float((h * w**2).sum() / 2), rel=1e-10)


def test_bins_stand_for_all_directions():
    """To half a percent, where the binned model is a hundred times as fast."""
    all_of_them = Directions(1 / np.arange(1, 10_001), np.ones(10_000))
    for name, lrs in LRS.items():
        binned, whole = (expected_loss(np.array(lrs), FORM[name], [(1.0, 2000)], 0.1, some) for some in (DIRECTIONS, all_of_them))
        np.testing.assert_allclose(binned, whole, rtol=5e-3)


@pytest.mark.parametrize(
    ("one", "warmup_steps", "close"),
    [(PAPER, 0, 1e-10), (Optimizer("", schedule="cosine"), 0, 1e-3), (Optimizer("", schedule="linear", final=0.1), 100, 1e-3)],
)
def test_blocks_of_updates_stand_for_each(one, warmup_steps, close):
    num_steps, lrs = 4 * BLOCKS + 321, np.array(LRS["momentum"])
    blocks = stages(one, num_steps, warmup_steps)
    assert sum(num for _, num in blocks) == num_steps
    assert len(blocks) <= BLOCKS
    exact = expected_loss(lrs, FORM["momentum"], each_update(one, num_steps, warmup_steps), 0.1)
    np.testing.assert_allclose(expected_loss(lrs, FORM["momentum"], blocks, 0.1), exact, rtol=close)
    short = Optimizer("", schedule="cosine")
    assert [rate for rate, num in stages(short, 60, 5) for _ in range(num)] == [rate for rate, _ in each_update(short, 60, 5)]


def test_what_explodes_is_infinite_even_if_small_rates_would_bring_it_back():
    """At four times 1 / h the weight grows for half of the run; at a quarter of that rate one update would set it to 0."""
    one = Directions(np.array([1.0]), np.array([1]))
    assert np.isinf(expected_loss(np.array([4.0, 1e300]), Form(), [(1.0, 100), (0.25, 1)], 0.0, one)).all()
    assert expected_loss(np.array([1.0]), Form(), [(1.0, 100), (0.25, 1)], 0.0, one)[0] == 0


@pytest.mark.parametrize("noise", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("num_steps", [1, 3, 40, 10**6])
def test_the_optimum_is_one(noise, num_steps):
    """Of one update too, which runs at 2^-10 of the learning rate, and whatever the noise."""
    schedule = stages(PAPER, num_steps)
    lr, least = optimum(lambda lrs: expected_loss(lrs, Form(), schedule, noise))
    around = expected_loss(lr * np.array([0.5, 0.97, 0.99, 1.0, 1.01, 1.03, 2]), Form(), schedule, noise)
    assert np.argmin(around) in (2, 3, 4)
    assert least == pytest.approx(around.min(), rel=1e-3)
    assert least < model.DIRECTIONS.h @ model.DIRECTIONS.num / 2


def test_momentum_is_a_learning_rate_below_the_critical_batch_size():
    """At a small effective learning rate momentum changes nothing (Zhang et al. 2019, sec. 3.3; ICLR v5 sec. 2)."""
    lrs = np.array([1e-3, 1e-2])
    plain, heavy = (expected_loss(lrs, FORM[name], stages(PAPER, 10**5), 1.0) for name in ("sgd", "momentum"))
    np.testing.assert_allclose(plain, heavy, rtol=2e-3)


def test_forms_are_those_of_the_optimizers():
    assert form_of("momentum", OPTIMIZERS["momentum"]) == Form(momentum=0.9)
    assert form_of("adam", Optimizer("Adam", rule="adam")) == FORMS["adam"]
    assert form_of("adam", Optimizer("adam", rule="torch", definition='{"class": "SGD"}')) is None  # a study's own of that name
    assert form_of("muon", Optimizer("Muon", rule="muon")) is None
