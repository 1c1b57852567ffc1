"""A benchmark of one's own with whatever metrics: every figure, the page, the claims and the advice show them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import own_benchmark

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.analysis.recommend import recommend
from sgdnoise.analysis.regimes import regimes_table
from sgdnoise.analysis.wording import text
from sgdnoise.claims.verdicts import claims_table
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
