"""Figures of made-up results: both learning rates free, learning curves, networks compared."""

import numpy as np
import pandas as pd
import pytest

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.two_rates import edge_warnings, two_rates_table
from sgdnoise.cli.main import main
from sgdnoise.figures.curves import best
from sgdnoise.study.cell import lr_window
from sgdnoise.study.config import validate
from sgdnoise.study.figures import figure_arguments

WRN = benchmarks.protocol("wrn_cifar10") | {"title": "Wide-ResNet"}
EPOCHS, SEEDS = [50, 100, 200, 400, 800, 1600, 3200, 6400], range(7)


@pytest.fixture
def runs():
    """Accuracy has its optimum at 0.5 and 2^-9 at every budget, the loss at lower initial rates the longer one trains."""
    random, rows = np.random.default_rng(0), []
    for index, epochs in enumerate(EPOCHS):
        for lr in map(float, lr_window(2**-5, 4, 1, 2)):
            for final in map(float, lr_window(2**-12, 2**-6, 1, 2)):
                off = np.log2(lr / 0.5) ** 2 + np.log2(final * 2**9) ** 2 / 4
                late = np.log2(lr / 2.0 ** (1 - index // 2)) ** 2 + np.log2(final * 2**11) ** 2 / 4
                for seed in SEEDS:
                    values = {"test_accuracy": 0.93 + 0.003 * index - 0.003 * off + 0.001 * random.standard_normal()}
                    values["train_objective"] = 2 ** (-1 - index / 2) * (1 + 0.05 * late + 0.01 * random.standard_normal())
                    rows.append({"lr": lr, "final_lr": final, "seed": seed, "num_epochs": float(epochs)} | values)
    fixed = {"benchmark": "wrn_cifar10", "num_train": 50_000, "optimizer": "momentum", "batch_size": 64, "keep": 5}
    table = pd.DataFrame(rows).assign(**fixed, status="completed", modes="two_rates")
    return table.assign(budget=[f"epochs{epochs:g}" for epochs in table["num_epochs"]], num_steps=table["num_epochs"] * 781)


def lines_of(axes):
    return {container.get_label(): np.asarray(container.lines[0].get_ydata(), float) for container in axes.containers}


def words(figure):
    return " ".join(figure._supxlabel.get_text().split())


def test_both_rates_are_selected_together_by_the_papers_rule(runs):
    table = two_rates_table(runs, WRN["metrics"])
    accuracy, loss = (table[table["metric"] == metric].set_index("num_epochs") for metric in WRN["metrics"])
    assert set(accuracy["lr"]) == {0.5}
    assert set(np.log2(accuracy["final_lr"]).round(3)) <= {-10, -9, -8}
    assert loss["lr"].is_monotonic_decreasing
    assert (loss["lr"].iloc[0], loss["lr"].iloc[-1]) == (2, 0.25)
    one = accuracy.loc[200]
    means = (
        runs[runs["num_epochs"] == 200].groupby(["lr", "final_lr"])["test_accuracy"].apply(lambda some: some.nlargest(5).mean())
    )
    assert (one["lr"], one["final_lr"]) == means.idxmax()
    assert one["mean"] == pytest.approx(means.max())
    within = means[means >= means.max() - one["sd"]].reset_index()
    assert (one["final_lr_low"], one["final_lr_high"]) == (within["final_lr"].min(), within["final_lr"].max())
    assert (one["num_lrs"], one["num_runs"], one["at_edge"]) == (56, 392, False)


def test_an_optimum_at_the_end_of_either_window_is_named(runs):
    table = two_rates_table(
        runs[(runs["lr"] <= 0.5) & (runs["final_lr"] >= 2.0**-9) & (runs["num_epochs"] == 50)], WRN["metrics"]
    )
    warnings = edge_warnings(table[table["metric"] == "test_accuracy"])
    assert [one.rpartition(" ")[2] for one in warnings] == [
        f"two_rates.wrn_cifar10.epochs.50.{end}" for end in ("initial", "final")
    ]
    assert "at the high end" in warnings[0]
    assert "at the low end" in warnings[1]


def test_the_figure_of_two_rates_shows_the_table(runs):
    table = two_rates_table(runs, WRN["metrics"])
    figure = figures.draw("two_rates", {"two_rates": table}, "wrn_cifar10", WRN, {})
    _, train, initial, final = figure.axes
    np.testing.assert_allclose(lines_of(initial)["for test accuracy"], 0.5)
    np.testing.assert_allclose(
        lines_of(initial)["for train loss with L2 term"], table["lr"][table["metric"] == "train_objective"]
    )
    np.testing.assert_allclose(lines_of(final)["for test accuracy"], table["final_lr"][table["metric"] == "test_accuracy"])
    assert train.get_yscale() == "log"
    assert "best 5 of 7 runs at the best of up to 56 pairs of rates" in words(figure)


@pytest.fixture
def curves():
    """Ten evaluations of 800 epochs: the larger rate overfits before it falls, one of its seven runs diverges."""
    rows = []
    for lr, slope in ((0.02, -0.1), (0.04, 0.1)):
        for seed in SEEDS:
            for epoch in range(80, 801, 80):
                test = 3.3 + slope * min(epoch, 400) / 400 - 0.3 * (epoch > 400) + 0.01 * seed
                diverged = lr == 0.04 and seed == 0 and epoch > 160
                rows.append({"lr": lr, "seed": seed, "num_epochs": epoch, "test_squared_error": np.nan if diverged else test})
                rows[-1]["train_squared_error"] = rows[-1]["test_squared_error"] - epoch / 400
    fixed = {"benchmark": "autoencoder_mnist", "optimizer": "momentum", "batch_size": 32, "keep": 5, "num_train": 50_000}
    return pd.DataFrame(rows).assign(**fixed)


def test_learning_curves_of_two_batch_sizes_are_about_the_best_rate():
    """Of seven rates the four about the best are drawn, in a row for each batch size."""
    lrs, rows = [2.0**power for power in range(7)], []
    for size, best_lr in ((16, 4.0), (64, 64.0)):
        for lr in lrs:
            for epoch in (1.0, 2.0):
                error = 1 + abs(np.log2(lr / best_lr)) + 1 / epoch
                rows.append({"batch_size": size, "lr": lr, "num_epochs": epoch, "seed": 0, "keep": 1, "optimizer": "adamw"})
                rows[-1] |= {"test_error": error, "train_loss": error}
    protocol = {"metrics": {"test_error": "min", "train_loss": "min"}, "title": "Mine"}
    figure = figures.draw("curves", {"curves": pd.DataFrame(rows)}, "mine", protocol, {})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[::2] == ["batch size 16: test error", "batch size 64: test error"]
    drawn = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes[::2]]
    assert drawn == [[f"learning rate {lr}" for lr in some] for some in ((1, 2, 4, 8), (8, 16, 32, 64))]
    assert "torch's own" in " ".join(figure._supxlabel.get_text().split())


def test_learning_curves_are_of_the_runs_that_are_best_at_the_end(curves):
    assert set(best(curves[curves["lr"] == 0.02], "test_squared_error", "min")["seed"]) == {0, 1, 2, 3, 4}
    assert set(best(curves[curves["lr"] == 0.04], "test_squared_error", "min")["seed"]) == {1, 2, 3, 4, 5}
    protocol = benchmarks.protocol("autoencoder_mnist")
    figure = figures.draw("curves", {"curves": curves}, "autoencoder_mnist", protocol, {})
    test, _ = figure.axes
    larger = lines_of(test)["learning rate 0.04"]
    assert larger[0] < larger[4]  # overfits
    assert larger[5] < larger[0]  # the rate has begun to fall
    assert [line.get_xdata()[0] for line in test.lines if line.get_linestyle() == ":"] == [400]
    assert "best 5 of 7 runs" in words(figure)


def test_learning_curves_of_a_batch_size_at_which_all_diverged_are_empty(curves):
    lost = curves.assign(batch_size=64, test_squared_error=np.nan, train_squared_error=np.nan)
    protocol = benchmarks.protocol("autoencoder_mnist")
    figure = figures.draw("curves", {"curves": pd.concat([curves, lost])}, "autoencoder_mnist", protocol, {})
    figure.draw_without_rendering()
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear", "linear"]
    assert "At 0.02, 0.04 (batch size 64) fewer were completed." in words(figure)


NETWORKS = {"wrn_cifar10": (9, 16), "wrn_skipinit_cifar10": (6, 2), "wrn_plain_cifar10": (3, 0.125)}  # break, largest rate


@pytest.fixture
def compared():
    rows, cells = [], []
    for name, (last, most) in NETWORKS.items():
        for power in range(6 if name == "wrn_cifar10" else 0, 13):
            lr = min(2.0 ** (power - 7), most)
            accuracy = 0.945 - 0.01 * max(0, power - last) - 0.002 * (most < 1)
            point = {
                "benchmark": name,
                "mode": "constant_epoch",
                "optimizer": "momentum",
                "batch_size": 2**power,
                "num_epochs": 200.0,
            }
            for metric in ("test_accuracy", "train_objective"):
                found = {
                    "lr": lr,
                    "lr_low": lr,
                    "lr_high": 2 * lr,
                    "mean": accuracy,
                    "sd": 0.001,
                    "train_mean": 0.1,
                    "train_sd": 0.01,
                }
                rows.append(point | found | {"metric": metric, "at_edge": power == 12, "num_missing": 0})
            cells += [
                point | {"lr": lr, "seed": seed, "keep": 12, "status": "completed", "budget": "epochs200"} for seed in range(15)
            ]
    return {"cells": pd.DataFrame(cells).assign(modes="constant_epoch"), "optimum": pd.DataFrame(rows)}


def test_networks_are_compared_over_their_batch_sizes_and_at_one(compared):
    plain = "scalar: false, biases: false, dropout: 0"
    chosen = {"optimizer": "momentum", "benchmarks": {"wrn_cifar10": "", "wrn_skipinit_cifar10": "", "wrn_plain_cifar10": plain}}
    figure = figures.draw("variants", compared, None, {}, {"variants": chosen})
    test, _, lr = figure.axes
    assert set(lines_of(test)) == set(NETWORKS)
    assert [lines_of(lr)[name].max() for name in NETWORKS] == [16, 2, 0.125]
    assert f"wrn_plain_cifar10 has {plain}." in words(figure)
    assert "over the best 12 of 15 runs" in words(figure)
    figure = figures.draw("ablation", compared, None, {}, {"ablation": chosen | {"batch_size": 4096}})
    filled, hollow = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert len(hollow.get_xdata()) == len(filled.get_xdata()) == 3  # at the edge of the grid, as these results are made up
    assert (hollow.get_markerfacecolor(), hollow.get_zorder() > filled.get_zorder()) == ("white", True)
    figure = figures.draw("ablation", compared, None, {}, {"ablation": chosen | {"batch_size": 64}})
    assert [text.get_text().split("\n")[0] for text in figure.axes[0].get_yticklabels()] == list(NETWORKS)
    test, _, lr = (axes.containers[0].lines[0].get_xdata() for axes in figure.axes)
    np.testing.assert_allclose(np.array(lr, float), [0.5, 0.5, 0.125])
    np.testing.assert_allclose(np.array(test, float), [0.945, 0.945, 0.913])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["variants"], "the figure variants needs --style with what it compares"),
        (["two_rates", "--benchmark=wrn_cifar10"], "the figure two_rates needs --two-rates, the table of `sgdnoise two-rates`"),
        (["curves", "--benchmark=wrn_cifar10"], "the figure curves needs --curves, the table of `sgdnoise curves`"),
        (["time_to_target", "--benchmark=wrn_cifar10"], "needs --time-to-target, the table of `sgdnoise time-to-target`"),
        (["curves"], "the figure curves needs --benchmark"),
    ],
)
def test_a_figure_that_lacks_something_says_what(words, message, tmp_path, capsys):
    assert main(["figure", *words, f"--out={tmp_path / 'a.png'}"]) == 1
    assert message in capsys.readouterr().err


def test_what_a_figure_of_networks_says_of_their_settings():
    entry = {"settings": {"scalar": False, "dropout": 0, "micro_batch": 64}}
    config = {
        "figures": {"dpi": 80, "context": "paper", "variants": {"optimizer": "sgd", "benchmarks": ["a"]}},
        "benchmarks": {"a": entry},
    }
    (name, style) = figure_arguments(config, "variants")
    assert name == "variants"
    assert '"benchmarks": {"a": "scalar: false, dropout: 0"}' in style


@pytest.mark.parametrize("figure", ["variants", "ablation"])
def test_networks_of_unlike_metrics_are_not_compared(figure):
    swept = {"constant_epoch": {"epochs": 2, "sgd": {64: [0.5, 1]}}, "seeds": {"num": 1, "keep": 1}}
    study = {
        "results": "results",
        "benchmarks": dict.fromkeys(["wrn_digits", "wrn_skipinit_digits", "autoencoder_digits"], swept),
    }
    asked = {"optimizer": "sgd", "benchmarks": ["wrn_digits", "wrn_skipinit_digits"]} | (
        {"batch_size": 64} if figure == "ablation" else {}
    )
    validate(study | {"figures": {figure: asked}})
    asked["benchmarks"].append("autoencoder_digits")
    message = rf"figures.{figure}: wrn_digits has test_accuracy \(max\) and .*, autoencoder_digits has test_squared_error \(min\)"
    with pytest.raises(ValueError, match=message):
        validate(study | {"figures": {figure: asked}})
