"""A benchmark of one's own with whatever metrics: every figure, the page, the claims and the advice show them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import own_benchmark
from made_up import claims_table
from matplotlib.figure import Figure

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.analysis.recommend import recommend
from sgdnoise.analysis.regimes import regimes_table
from sgdnoise.analysis.wording import text
from sgdnoise.figures.lr_sweep import limit_panel, plot_sweep
from sgdnoise.report.render import render
from sgdnoise.results.collect import collect_cells
from sgdnoise.results.run import Run, write_run
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import validate

METRICS = {
    "one": ({"test_mse": "min"}, {}),
    "odd names": ({"test_R² (of $ to $)": "max", "train_top-5": "max"}, {}),
    "three, of all directions and signs": (
        {"test_BLEU": "max", "train_log_likelihood": "max", "test_nll": "min"},
        {"test_BLEU": "BLEU of the test set"},
    ),
    "all negative": ({"test_energy": "min", "stream_loss": "min"}, {"test_energy": "energy, eV"}),
}
BEST = {"test_BLEU": 34.0, "train_log_likelihood": -2.0, "test_nll": 1.5, "test_energy": -7.0, "stream_loss": -8.0}
PARTS = {"test_accuracy": "late", "train_objective": "early"}
STUDY = """
evaluations: 1
benchmarks:
  own:
    seeds: {num: 3, keep: 2}
    constant_epoch:
      epochs: 4
      sgd: {8: [0.5, 4], 16: [0.5, 4], 32: [0.5, 4]}
    constant_step:
      steps: 64
      momentum: {8: [0.5, 4], 16: [0.5, 4]}
    unlimited:
      batch_size: 8
      momentum: {4: [0.5, 4], 8: [0.5, 4]}
"""


def made_up(cell, metrics):
    """Every metric is best at lr 1 and worse by a tenth per octave; one run diverges at lr 4."""
    seeds = np.array(seed_range(cell.seeds))
    lost = (float(cell.lr) == 4) & (seeds > 1)
    worse = abs(np.log2(float(cell.lr))) + 0.01 * seeds
    curves = {"train_objective": (1 + worse)[:, None]}
    for metric, direction in metrics.items():
        best = BEST.get(metric, 0.9)
        curves[metric] = (best + 0.1 * abs(best) * worse * (-1 if direction == "max" else 1))[:, None]
    for curve in curves.values():
        curve[lost] = np.nan
    status = ["diverged" if one else "completed" for one in lost]
    made = {"bounds": {}, "examples_per_second": 1000.0}
    return Run(cell.spec, np.array([cell.num_steps]), np.array([1.0]), seeds, status, curves, made)


@pytest.mark.parametrize(
    "kind", [kind if kind.startswith("three") else pytest.param(kind, marks=pytest.mark.slow) for kind in METRICS]
)
def test_any_metrics_are_shown_everywhere(kind, tmp_path):
    metrics, labels = METRICS[kind]
    file = own_benchmark(tmp_path, ('"metrics": {"test_mse": "min"},', f'"metrics": {metrics!r}, "labels": {labels!r},'))
    config = yaml.safe_load(STUDY)
    config["benchmarks"]["own"]["file"] = str(file)
    config = validate(config | {"results": str(tmp_path / "results")})
    for cell in grid.cells(config):
        write_run(Path(config["results"]) / cell.path, made_up(cell, metrics))
    cells = collect_cells(config)
    cells.to_csv(tmp_path / "cells.csv", index=False)
    cells = pd.read_csv(tmp_path / "cells.csv")
    tables = {"cells": cells, "optimum": optimum_table(cells, config), "regimes": regimes_table(cells, config)}
    assert (tables["optimum"]["lr"] == 1).all()

    protocol, pictures = benchmarks.protocol("own", str(file)), [tmp_path / "schedule.png", tmp_path / "claims.png"]
    test, train = list(protocol["metrics"])[:2]
    for name in ("constant_epoch", "constant_step", "unlimited", "regimes", "lr_sweep"):
        figure = figures.draw(name, tables, "own", protocol, {"lr_sweep": [8, 16]})
        if name == "lr_sweep" or kind.startswith("three"):  # to draw the others to the end takes a second each
            figures.save(figure, pictures, {"dpi": 40})
        words = " ".join(axes.get_title() + axes.get_ylabel() for axes in figure.axes)
        assert all(figures.metric_label(metric, protocol) in words for metric in (test, train))
    claims = claims_table(tables["optimum"], {"own": "wrn_cifar10"}, cells)
    assert figures.metric_words(test, protocol) in render(config, tables | {"claims": claims}, pictures)
    (advice,) = recommend(cells, config)
    assert test.replace("_", " ") in text(advice)


def test_a_label_is_its_benchmarks_own_business():
    """A squared error is one of an image only where there are images."""
    words = {name: figures.metric_words("test_squared_error", benchmarks.protocol(name)) for name in benchmarks.names()}
    assert {name for name, label in words.items() if "image" in label} == {"autoencoder_mnist", "autoencoder_digits"}
    assert figures.metric_words("train_objective", {}) == "train loss with L2 term"


@pytest.mark.parametrize("name", ["constant_epoch", "unlimited", "lr_sweep", "regimes", "headline"])
def test_a_long_label_stays_in_its_panel(name, study):
    """Also one with hyphens; in the legend it is that of the title."""
    cells = collect_cells(study)
    tables = {
        "cells": cells[cells["benchmark"] == "wrn_digits"],
        "optimum": optimum_table(cells, study).query("benchmark == 'wrn_digits'"),
    }
    words = {metric: f"mean squared error of the {part} held-out stations in kPa" for metric, part in PARTS.items()}
    figure = figures.draw(name, tables, "wrn_digits", benchmarks.protocol("wrn_digits") | {"labels": words}, {"lr_sweep": [64]})
    figure.draw_without_rendering()
    for axes in figure.axes:
        lines = [line for text in (axes.get_title(), axes.get_ylabel()) for line in text.split("\n")]
        assert max(map(len, lines)) <= 44
        assert not any(line.endswith("held-") for line in lines)
        height = axes.yaxis.label.get_window_extent().height
        assert height < figure.get_figheight() * figure.dpi / len({one.get_position().y0 for one in figure.axes})
    if name == "unlimited":
        drawn = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
        assert drawn == [axes.get_title() for axes in figure.axes[:2]]


def sweep_axes(values, direction):
    """A panel of lr_sweep with these values at the learning rates 1, 2, 4 ..."""
    axes = Figure().subplots()
    lrs = 2.0 ** np.arange(len(values))
    plot_sweep(axes, pd.DataFrame({"lr": lrs, "mean": values, "sd": 0.0, "num_missing": 0}), figures.LOOKS["sgd"], "SGD")
    limit_panel(axes, direction)
    return axes


@pytest.mark.parametrize(
    ("direction", "values", "beyond"),
    [
        ("min", [2, 1, 1.5, 4.5], [8]),
        ("min", [-3.5, -4, -3.8, -3, 1e6], [16]),
        ("min", [0.5, 0, 0.2, 0.6, 1e6], [16]),
        ("min", [-4, -4, -4, -3], []),
        ("max", [0.8, 0.9, 0.85, 0.5, np.nan], [8, 16]),
        ("max", [80, 90, 85, 50], [8]),
        ("max", [-1005.3, -1005, -1006, -1008, -9e9], [16]),
        ("max", [-1, -1], []),
    ],
)
def test_only_what_is_far_worse_is_beyond_a_panel(direction, values, beyond):
    axes = sweep_axes(values, direction)
    triangles = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == ("v" if direction == "max" else "^")]
    assert triangles == [beyond] * bool(beyond)
    low, high = axes.get_ylim()
    shown = [value for lr, value in zip(2.0 ** np.arange(len(values)), values, strict=True) if lr not in beyond]
    assert low < min(shown) <= max(shown) < high
    assert high - low < 10 * (np.ptp(shown) or 1)


def test_rates_that_diverged_have_a_tick_and_missing_ones_are_not_among_them(study):
    """Of five learning rates one lacks a run, one has one run only, one none, one diverged."""
    rows = []
    for lr, statuses in {1: "ccc", 2: "ccm", 4: "cmm", 8: "mmm", 16: "ddd", 32: "ddd"}.items():
        for seed, status in enumerate(statuses):
            value = 0.9 - 0.01 * lr if status == "c" else np.nan
            status = {"c": "completed", "m": "missing", "d": "diverged"}[status]
            row = {"lr": float(lr), "seed": seed, "status": status, "test_accuracy": value, "train_objective": 1 - value}
            rows.append(row)
    fixed = {"benchmark": "wrn_digits", "optimizer": "sgd", "budget": "epochs4", "batch_size": 64, "num_epochs": 4.0, "keep": 2}
    cells = pd.DataFrame(rows).assign(**fixed, num_train=1000, num_steps=10, modes="constant_epoch", bound=np.nan)
    protocol = benchmarks.protocol("wrn_digits")
    figure = figures.draw("lr_sweep", {"cells": cells, "optimum": optimum_table(cells, study)}, "wrn_digits", protocol, {})
    test = figure.axes[0]
    ((line, *_),) = test.containers
    assert line.get_xdata().tolist() == [1, 2, 16, 32]
    (hollow,) = (one for one in test.lines if one.get_markerfacecolor() == "white")
    assert list(hollow.get_xdata()) == [2]
    (triangles,) = (one for one in test.lines if one.get_marker() == "v")
    assert triangles.get_xdata().tolist() == [16, 32]
    assert {1, 2, 16, 32} <= set(test.get_xticks())
