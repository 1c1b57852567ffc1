"""The optimum estimated by a curve: on curves whose optimum is known, at the ends of the window, and where nothing can be said."""

import numpy as np
import pandas as pd
import pytest

from sgdnoise.analysis.estimate import NUM_DRAWS, estimate, interval, with_estimates
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.analysis.rates import exploded, step_of
from sgdnoise.analysis.sweep import sweep
from sgdnoise.study.config import validate

STUDY = validate(
    {"benchmarks": {"wrn_digits": {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 4, "sgd": {"64": [1, 1]}}}}}
)


def runs_of(error, lrs, num=3, keep=2, noise=0.0, seed=0):
    """Runs of one point; error(log2 lr) is the true test error, NaN where runs diverge."""
    random = np.random.default_rng(seed)
    rows = []
    for lr in lrs:
        for run in range(num):
            value = error(np.log2(lr)) + noise * random.normal()
            rows.append(
                {"benchmark": "wrn_digits", "optimizer": "sgd", "budget": "epochs4", "batch_size": 64, "lr": lr, "seed": run}
                | {"num_steps": 64, "num_epochs": 4.0, "modes": "constant_epoch", "keep": keep, "bound": np.nan}
                | {"status": "completed" if np.isfinite(value) else "diverged"}
                | {"test_accuracy": 1 - value, "train_objective": 2 * value}
            )
    return pd.DataFrame(rows)


def known(runs):
    return estimate(runs, "test_accuracy", "max", "train_objective")


LRS = [2.0**k for k in range(-3, 4)]


@pytest.mark.parametrize("best", [-1, -0.5, 0, 0.3, 1])
def test_a_parabola_is_found_between_the_learning_rates_of_the_grid(best):
    found = known(runs_of(lambda x: 0.1 + 0.01 * (x - best) ** 2, LRS, num=15, noise=0.001))
    low, high = interval(found.log_lr)
    assert low <= best <= high
    assert high - low < 1
    assert np.median(found.log_lr) == pytest.approx(best, abs=0.15)
    assert np.median(found.value) == pytest.approx(0.9, abs=0.001)
    assert np.median(found.train) == pytest.approx(0.2, abs=0.005)
    assert found.edge == ""
    assert found.sd == pytest.approx(0.001, rel=0.2)
    assert found.log_lr.shape == found.value.shape == found.train.shape == (NUM_DRAWS,)


def test_the_same_runs_give_the_same_draws_whatever_their_order():
    runs = runs_of(lambda x: 0.1 + 0.01 * x**2, LRS, noise=0.01)
    one, other = known(runs), known(runs.sample(frac=1, random_state=1))
    np.testing.assert_allclose(one.log_lr, other.log_lr)
    np.testing.assert_allclose(one.value, other.value)


def test_more_seeds_make_intervals_shorter():
    widths = [
        np.diff(interval(known(runs_of(lambda x: 0.1 + 0.01 * x**2, LRS, num, noise=0.01)).log_lr))[0] for num in (3, 15, 75)
    ]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(("best", "edge"), [(3.5, "high"), (-3.5, "low")])
def test_an_optimum_beyond_the_window_is_at_its_edge(best, edge):
    assert known(runs_of(lambda x: 0.1 + 0.01 * (x - best) ** 2, LRS, noise=0.001)).edge == edge


def test_divergence_encloses_an_optimum():
    found = known(runs_of(lambda x: np.nan if x > 1 else 0.2 - 0.02 * x, LRS, noise=0.001))
    assert found.edge == ""
    assert 0.5 < np.median(found.log_lr) <= 2


@pytest.mark.parametrize(("num_missing", "edge"), [(0, ""), (1, ""), (2, "high"), (3, "high")])
def test_a_rate_whose_runs_are_missing_is_none_at_which_they_diverged(num_missing, edge):
    """At 2, the highest, no run completed; two of three have to."""
    runs = runs_of(lambda x: np.nan if x > 0 else 0.2 - 0.02 * x, LRS[:5], noise=0.001)
    runs.loc[runs.index[-3:][:num_missing], "status"] = "missing"
    assert known(runs).edge == edge
    assert sweep(runs, "test_accuracy", "max").edge.tolist() == [bool(edge)]


def test_a_rate_of_which_too_few_runs_are_there_yet_is_none_at_which_they_diverged():
    runs = runs_of(lambda x: 0.3 - 0.02 * x, LRS, num=7, keep=7, noise=0.001)
    whole = known(runs)
    last = (runs["lr"] == LRS[-1]) & (runs["seed"] > 2)
    runs.loc[last, ["test_accuracy", "train_objective"]] = np.nan
    runs.loc[last, "status"] = "missing"
    assert known(runs).edge == whole.edge == "high"
    optima = sweep(runs, "test_accuracy", "max")
    assert 2.0 ** optima.windows[0] == pytest.approx([LRS[0], LRS[-2]])  # its end is that of the estimate
    assert optima.edge.tolist() == [1]


def test_rates_that_are_missing_between_the_best_and_one_at_which_runs_diverged():
    runs = runs_of(lambda x: np.nan if x > 1.5 else 0.2 - 0.02 * x, LRS, noise=0.001)
    runs.loc[runs["lr"] == 2, ["status", "test_accuracy", "train_objective"]] = ["missing", np.nan, np.nan]
    assert known(runs).edge == ""
    assert 1 < known(runs).log_lr.max() <= 2


def test_rates_that_are_surely_worse_enclose_the_optimum_of_a_plateau():
    def plateau(x):
        return 0.68 - 0.02 * np.exp(-((x - 2) ** 2) / 2) + 0.2 * (x > 3.5)  # nearly level; at 16 and beyond little is learnt

    lrs = [2.0**k for k in range(-4, 7)]
    for few in (lrs[:9], lrs[:10], lrs):  # 16, the first of them, bounds it: no higher one is asked for
        found = known(runs_of(plateau, few, num=4, keep=3, noise=0.012))
        low, high = interval(found.log_lr, 0.99)
        assert low < 2 < high < 4.01
        assert found.edge == ""


def test_runs_near_divergence_make_nothing_else_less_certain():
    calm = runs_of(lambda x: 0.1 + 0.03 * x**2, LRS, num=6, noise=0.005)
    wild = calm["lr"] == LRS[-2]
    stuck = calm.assign(test_accuracy=calm["test_accuracy"].where(~wild | (calm["seed"] > 1), 0.1))
    for metric in ("log_lr", "value"):
        lengths = [np.diff(interval(getattr(known(runs), metric)))[0] for runs in (calm, stuck)]
        assert lengths[1] < 1.3 * lengths[0]
    assert known(stuck).sd < 0.008
    assert known(stuck).edge == ""


@pytest.mark.parametrize("stuck", [2, 6])
def test_a_rate_at_which_all_runs_are_worse_encloses_the_optimum_however_they_spread(stuck):
    runs = runs_of(lambda x: 0.1 + 0.002 * (x - 2.5) ** 2, LRS, num=6, noise=0.001)
    last = runs["lr"] == LRS[-1]
    worse = runs["test_accuracy"] - np.where(runs["seed"] < stuck, 0.5, 0.02)
    assert known(runs).edge == "high"
    assert known(runs.assign(test_accuracy=worse.where(last, runs["test_accuracy"]))).edge == ""


@pytest.mark.parametrize(
    ("octaves", "metric", "high"),
    [(1, "test_accuracy", 1e6), (2, "test_accuracy", 1e60), (3, "test_accuracy", 1e300), (2, "train_objective", 1e300)],
)
def test_runs_that_explode_count_as_diverged_though_their_metrics_are_finite(octaves, metric, high):
    """With three seeds no test of means or ranks finds them worse; as of a language model whose gradients are clipped."""
    calm = runs_of(lambda x: 0.1 + 0.03 * (x + 0.3) ** 2 if x <= octaves else np.nan, LRS, noise=0.002)
    above = calm["lr"] == 2.0**octaves
    explode = calm[metric].mask(above, -high * np.array([1, 0.03, 9])[calm["seed"]])
    wild = known(calm.assign(**{metric: explode}))
    calm.loc[above, ["status", "test_accuracy", "train_objective"]] = ["diverged", np.nan, np.nan]
    gone = known(calm)
    assert (wild.edge, wild.used) == ("", (LRS[1], 2.0 ** min(octaves - 1, 2)))
    for draws in ("log_lr", "value", "train"):
        np.testing.assert_allclose(getattr(wild, draws), getattr(gone, draws), rtol=1e-9)


def test_one_rate_whose_runs_explode_makes_no_other_noisy():
    """Nor do most: then they are no exception, and stay; nor a single run, which moves the mean of its own rate only."""
    runs = runs_of(lambda x: 0.1 + 0.03 * (x + 2) ** 2, LRS, noise=0.002)
    for wild in (runs["lr"] > 0.6, (runs["lr"] == 1) & (runs["seed"] == 0)):
        found = known(runs.assign(test_accuracy=runs["test_accuracy"].mask(wild, -1e9 * runs["lr"])))
        assert np.ptp(interval(found.value)) < 0.3
        assert found.sd == pytest.approx(0.002, rel=0.5)


def test_a_rate_at_which_little_is_learnt_has_not_exploded():
    few = runs_of(lambda x: 0.1 + 0.03 * x**2, LRS, noise=0.0003)
    bad = few.assign(test_accuracy=few["test_accuracy"].mask(few["lr"] == LRS[-2], -10.0))
    assert known(bad).used[1] == LRS[-2]
    saturated = [np.zeros(3), np.zeros(3), np.full(3, 0.1)]  # the median run is as good as the best mean
    assert not exploded(saturated).any()


def test_equal_runs_at_the_best_rate_say_nothing_of_the_noise():
    """As of few runs on a small test set: the other rates do not all spread more than they."""
    runs = runs_of(lambda x: 0.1 + 0.01 * x**2, LRS, noise=0.005)
    tied = runs.assign(test_accuracy=runs["test_accuracy"].mask(runs["lr"] == 1, 0.91))
    assert known(tied).sd == pytest.approx(known(runs).sd, rel=0.4)
    for name in ("log_lr", "value"):
        assert np.ptp(interval(getattr(known(tied), name))) > 0.6 * np.ptp(interval(getattr(known(runs), name)))


def test_a_metric_is_known_to_a_share_of_its_rise_however_little_runs_differ():
    """Where it turns steep beside the optimum the curve is off by some of it; a rate at which runs explode is no such rise."""

    def error(x, far=2.0):
        return 0.1 + (np.exp(2 * x) - 2 * x - 1) / 100 if x < far else 1e3

    found = [known(runs_of(lambda x, far=far: error(x - 0.2, far), LRS, num=7, keep=5, noise=1e-6)) for far in (9.0, 0.5)]
    held = [interval(1 - one.value) for one in found]
    assert all(low <= 0.1 <= high for low, high in held)
    rise = error(0.8) - error(-0.2)
    assert 0.02 * rise < np.std(found[0].value) < 0.1 * rise
    assert np.std(found[1].value) < 0.05


def test_rates_that_may_be_as_good_bound_nothing():
    shares = [known(runs_of(lambda x: 0.65, LRS, num=4, keep=3, noise=0.01, seed=seed)).edge for seed in range(20)]
    assert all(shares)


@pytest.mark.parametrize(
    "lrs",
    [
        [0.1, 0.2, 0.4, 0.8, 0.801],
        [0.1, 0.2, 0.4, 0.8, 0.805, 0.81, 0.815],
        [0.1, 0.1002, 0.2, 0.2002, 0.4, 0.4003, 0.8, 0.801],
        [*2.0 ** np.arange(-3, 0.01, 0.2), 2.0],
        *(np.sort(10 ** np.random.default_rng(seed).uniform(-2, 0, 20)) for seed in range(4)),
    ],
    ids=["a close pair", "a cluster", "pairs", "fine, then coarse", "random", "random 1", "random 2", "random 3"],
)
def test_close_learning_rates_enclose_no_optimum(lrs):
    """A metric that gets better up to the highest one, or down to the lowest."""
    assert known(runs_of(lambda x: 0.5 - 0.03 * x, lrs, noise=0.005)).edge == "high"
    assert known(runs_of(lambda x: 0.5 + 0.03 * x, 1 / np.array(lrs), noise=0.005)).edge == "low"


def test_a_close_pair_of_learning_rates_makes_nothing_more_or_less_certain():
    pair, without = (
        known(runs_of(lambda x: 0.1 + 0.05 * (x + 1.8) ** 2, lrs, noise=0.01))
        for lrs in ([0.1, 0.2, 0.4, 0.401, 0.8], [0.1, 0.2, 0.4, 0.8])
    )
    for draws in ("log_lr", "value", "train"):
        lengths = [np.diff(interval(getattr(one, draws)))[0] for one in (pair, without)]
        assert 0.5 < lengths[0] / lengths[1] < 1.5


def test_a_learning_rate_far_from_all_others_makes_nothing_less_certain():
    assert step_of(np.log2([*LRS, 1000.0])) == step_of(np.log2(LRS))
    far, without = (known(runs_of(lambda x: 0.1 + 0.05 * x**2, lrs, noise=0.01)) for lrs in ([*LRS, 1000.0], LRS))
    for draws in ("log_lr", "value", "train"):
        np.testing.assert_allclose(*(interval(getattr(one, draws)) for one in (far, without)), atol=0.03)


def test_a_rate_half_way_between_two_is_a_step_of_the_grid():
    for lrs in (LRS, sorted([*LRS, 1.414]), sorted([*LRS, 0.7071, 1.414])):
        assert step_of(np.log2(lrs)) == np.diff(np.log2(lrs)).min()


def test_a_sweep_that_is_all_noise_is_not_enclosed():
    assert known(runs_of(lambda x: 0.1, LRS, noise=0.01)).edge


def test_nothing_is_said_of_one_learning_rate_or_of_single_runs():
    assert known(runs_of(lambda x: 0.1, [1.0])) is None
    assert known(runs_of(lambda x: 0.1 + 0.01 * x**2, LRS, num=1, keep=1, noise=0.01)) is None
    assert known(runs_of(lambda x: np.nan, LRS)) is None


def test_runs_that_are_all_equal_are_no_error():
    found = known(runs_of(lambda x: 0.1 + 0.01 * x**2, LRS))
    assert np.isfinite(found.value).all()
    assert found.sd == pytest.approx(0, abs=1e-9)


def test_estimates_stand_beside_the_optima_of_the_papers_rule():
    cells = runs_of(lambda x: 0.1 + 0.01 * (x - 0.4) ** 2, LRS, noise=0.002)
    optimum = optimum_table(cells, STUDY)
    table = with_estimates(optimum, cells)
    pd.testing.assert_frame_equal(table[optimum.columns], optimum)
    row = table.set_index("metric").loc["test_accuracy"]
    assert row["lr"] == 1
    assert row["fit_lr_low"] < row["fit_lr"] < row["fit_lr_high"]
    assert row["fit_lr"] == pytest.approx(2**0.4, rel=0.2)
    assert row["fit_mean_low"] < 0.9 < row["fit_mean_high"]
    assert with_estimates(optimum, cells[cells["seed"] == 0])[["fit_lr", "fit_mean"]].isna().all(axis=None)


def test_what_more_seeds_would_lead_to_is_foreseen():
    """The part that is noise shrinks; the misfit of the curve, the spread and the learning rates used stay."""
    runs = runs_of(lambda x: 0.1 + 0.01 * x**2, LRS, num=4, keep=4, noise=0.015)
    now, same, more, all_ = (estimate(runs, "test_accuracy", "max", "train_objective", more) for more in (0, 0, 12, 1000))
    assert (now.log_lr == same.log_lr).all()
    for draws in ("value", "log_lr"):
        wide = [np.ptp(interval(getattr(one, draws))) for one in (now, more, all_)]
        assert 0 < wide[2] < 1.02 * wide[1]
        assert wide[1] < 0.85 * wide[0]
    assert more.sd == now.sd
    assert more.used == now.used


def test_two_learning_rates_may_have_the_optimum_midway():
    """A shape that is equal at both says nothing of the size; seen with a third learning rate that diverged."""
    runs = runs_of(lambda x: np.nan if x > 0 else 0.1 + 0.01 * x, [0.5, 1, 2], noise=0.003)
    found = known(runs)
    assert np.isfinite([found.log_lr, found.value, found.train]).all()
