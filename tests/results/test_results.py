"""HDF5 files, tables, the selection rule, warnings, figures: on made-up results, without training."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.optimum import best_k, edge_warnings, lr_statistics, optimum_table, select
from sgdnoise.machine import datasets
from sgdnoise.results.collect import collect_cells
from sgdnoise.results.run import Run, read_run, write_run
from sgdnoise.study import grid
from sgdnoise.study.config import validate

STUDY = yaml.safe_load(
    """
evaluations: 2
benchmarks:
  wrn_digits:
    seeds: {num: 3, keep: 2}
    constant_epoch:
      epochs: 4
      sgd: {64: [0.25, 4], 128: [0.5, 4]}
      momentum: {64: [0.25, 4], 128: [0.5, 4]}
    constant_step:
      steps: 64
      momentum: {64: [0.25, 4], 128: [0.5, 4]}
    unlimited:
      batch_size: 64
      momentum: {4: [0.25, 4], 8: [0.25, 4]}
figures:
  lr_sweep: {wrn_digits: [64, 128]}
"""
)


def made_up_run(cell):
    """Accuracy peaks at lr 1; lr 4 diverges for two of three seeds."""
    octaves = abs(np.log2(float(cell.lr)))
    seeds = np.array(grid.seed_range(cell.seeds))
    last = 0.9 - 0.1 * octaves + 0.001 * seeds
    curves = {
        "test_accuracy": np.stack([0 * last + 0.1, last - 0.1, last], axis=1),
        "test_loss": np.stack([0 * last + 2, 1 - last, 1 - last], axis=1),
        "train_loss": np.stack([0 * last + 2, 1 - last, 1 - last], axis=1),
        "train_objective": np.stack([0 * last + 2, 1.2 - last, 1.1 - last], axis=1),
    }
    diverged = (float(cell.lr) == 4) & (seeds > 0)
    for curve in curves.values():
        curve[diverged, 1:] = np.nan
    return Run(
        spec=cell.spec,
        step=np.array([0, cell.num_steps // 2, cell.num_steps]),
        lr=np.array([np.nan, 1, 0.001]),
        seed=seeds,
        status=["diverged" if one else "completed" for one in diverged],
        curves=curves,
        provenance={"bounds": {}, "examples_per_second": 1000.0},
    )


@pytest.fixture
def study(tmp_path):
    """A config whose every cell has a made-up result."""
    config = validate(STUDY | {"results": str(tmp_path / "results")})
    for cell in grid.cells(config):
        write_run(Path(config["results"]) / cell.path, made_up_run(cell))
    return config


def one_cell(config, index=0):
    cell = grid.cells(config)[index]
    return cell, Path(config["results"]) / cell.path


# HDF5


def test_a_run_is_read_as_it_was_written(study):
    cell, path = one_cell(study)
    wanted, found = made_up_run(cell), read_run(path)
    assert (found.spec, found.status, found.provenance) == (wanted.spec, wanted.status, wanted.provenance)
    for metric, curve in wanted.curves.items():
        np.testing.assert_array_equal(found.curves[metric], curve)
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_a_failed_write_leaves_the_old_result_and_no_rest(study, monkeypatch):
    cell, path = one_cell(study)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ValueError, match="No space left on device; free the space"):
        write_run(path, made_up_run(cell))
    assert path.read_bytes() == before
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def replace_by_text(path):
    path.write_text("no HDF5")


def replace_by_foreign_hdf5(path):
    with h5py.File(path, "w") as file:
        file["weights"] = [1, 2]


def remove_curves(path):
    with h5py.File(path, "a") as file:
        del file["curves"]


def other_settings(path):
    with h5py.File(path, "a") as file:
        spec = json.loads(file.attrs["spec"])
        file.attrs["spec"] = json.dumps(spec | {"settings": {"l2_scope": "weights"}})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated, corrupt or not a result"),
        (replace_by_text, "truncated, corrupt or not a result"),
        (replace_by_foreign_hdf5, "has layout None, not 1"),
        (remove_curves, "truncated, corrupt or not a result"),
        (other_settings, "was trained with settings"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_damaged_result_is_named_with_the_command_that_rebuilds_it(study, damage, message):
    _, path = one_cell(study, 3)
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        collect_cells(study)
    assert str(path) in str(caught.value)
    assert f"snakemake --cores 1 --force {path}" in str(caught.value)


# Tables


def test_cells_table_has_a_row_per_seed(study):
    table = collect_cells(study)
    cells = grid.cells(study)
    assert len(table) == 3 * len(cells)
    row = table.query("optimizer == 'sgd' and batch_size == 64 and lr == 0.5 and seed == 2").iloc[0]
    assert row["test_accuracy"] == pytest.approx(0.802)
    assert (row["num_steps"], row["num_epochs"], row["modes"], row["status"]) == (64, 4, "constant_epoch", "completed")
    assert table.query("lr == 4 and seed > 0")["test_accuracy"].isna().all()
    assert (row["device"], row["started"]) == ("unknown", "")  # of a result that does not say who made it


def test_stale_files_do_not_join_in(study):
    _, path = one_cell(study)
    path.with_name("batch9_lr9_seeds0-2.h5").write_text("stale")
    assert len(collect_cells(study)) == 3 * len(grid.cells(study))


def sweep(values, keep=2, lrs=(0.5, 1, 2, 4)):
    """One point of the grid; values[lr] are the runs' accuracies, NaN for diverged ones."""
    rows = [
        {"lr": lr, "keep": keep, "acc": acc, "loss": 1 - acc, "status": "diverged" if np.isnan(acc) else "completed"}
        for lr, runs in zip(lrs, values, strict=True)
        for acc in runs
    ]
    point = {"benchmark": "b", "optimizer": "sgd", "budget": "epochs1", "batch_size": 64}
    return pd.DataFrame(rows).assign(**point)


def chosen(values, **kwargs):
    return select(lr_statistics(sweep(values, **kwargs), "acc", "max", "loss"), "max")


NAN = np.nan


def test_best_k_ranks_diverged_runs_last():
    assert best_k(np.array([NAN, 0.2, 0.9]), 2, "max").tolist() == [2, 1]
    assert best_k(np.array([NAN, 0.2, 0.9]), 3, "min").tolist() == [1, 2, 0]


def test_statistics_are_of_the_best_keep_runs():
    statistics = lr_statistics(sweep([[0.1, 0.6, 0.8], [0.7, NAN, 0.5], [NAN, 0.9, NAN], [NAN] * 3]), "acc", "max", "loss")
    np.testing.assert_allclose(statistics["mean"], [0.7, 0.6, NAN, NAN])
    np.testing.assert_allclose(statistics["sd"], [np.std([0.8, 0.6], ddof=1), np.std([0.7, 0.5], ddof=1), NAN, NAN])
    np.testing.assert_allclose(statistics["train_mean"], [0.3, 0.4, NAN, NAN])
    assert statistics["num_diverged"].tolist() == [0, 1, 2, 3]


def test_paper_rule_on_a_sweep():
    """Best mean at 1; 2 is within one s.d. of it, 0.5 is not."""
    values = [[0.80, 0.80, 0.1], [0.90, 0.88, 0.1], [0.880, 0.880, 0.1], [0.5, 0.5, 0.1]]
    result = chosen(values)
    assert (result["lr"], result["lr_low"], result["lr_high"], result["edge"]) == (1, 1, 2, "")
    assert not result["at_edge"]
    assert result["mean"] == pytest.approx(0.89)


@pytest.mark.parametrize(
    ("values", "edge"),
    [
        ([[0.9] * 2, [0.8] * 2, [0.7] * 2, [0.6] * 2], "low"),
        ([[0.6] * 2, [0.7] * 2, [0.8] * 2, [0.9] * 2], "high"),
        ([[0.6] * 2, [0.9, 0.7], [0.8] * 2, [0.79] * 2], "high"),  # not the optimum, but its bar
        ([[0.6] * 2, [0.7] * 2, [0.8] * 2, [NAN, 0.99]], ""),  # a diverged neighbour closes the grid
        ([[0.9] * 2, [0.9] * 2, [0.9] * 2, [0.9] * 2], "low high"),
    ],
)
def test_edges(values, edge):
    result = chosen(values)
    assert (result["edge"], result["at_edge"]) == (edge, bool(edge))


def test_a_point_where_everything_diverged_asks_for_lower_rates():
    result = chosen([[NAN] * 2] * 4)
    assert np.isnan(result["lr"])
    assert (result["at_edge"], result["edge"], result["num_diverged"]) == (True, "low", 8)


def test_metrics_are_optimised_independently():
    cells = sweep([[0.7, 0.7], [0.9, 0.9], [0.8, 0.8], [0.6, 0.6]])
    cells["loss"] = [3, 3, 2, 2, 1, 1, 4, 4]
    assert select(lr_statistics(cells, "acc", "max", "loss"), "max")["lr"] == 1
    assert select(lr_statistics(cells, "loss", "min", "loss"), "min")["lr"] == 2
    assert select(lr_statistics(cells, "acc", "max", "loss"), "max")["train_mean"] == 2


def test_optimum_table_lists_shared_points_in_every_mode(study):
    table = optimum_table(collect_cells(study), study)
    point = table.query("optimizer == 'momentum' and budget == 'epochs4' and batch_size == 64 and metric == 'test_accuracy'")
    assert point["mode"].tolist() == ["constant_epoch", "constant_step", "unlimited"]
    assert set(point["lr"]) == {1}
    assert set(point["num_diverged"]) == {2}
    assert not table["at_edge"].any()
    assert edge_warnings(table, study) == []


def test_edge_warning_names_the_line_to_change(study):
    study["benchmarks"]["wrn_digits"]["constant_epoch"]["sgd"]["128"] = [1, 4]
    table = optimum_table(collect_cells(study), study)
    (warning,) = edge_warnings(table, study)
    assert "widen benchmarks.wrn_digits.constant_epoch.sgd.128: [1, 4] to [0.5, 4]" in warning
    assert "test_accuracy, train_objective" in warning


# Figures


@pytest.fixture
def tables(study):
    folder = Path(study["results"])
    cells = collect_cells(study)
    cells.to_csv(folder / "cells.csv", index=False)
    optimum_table(cells, study).to_csv(folder / "optimum.csv", index=False)
    return figures.read_tables(folder / "cells.csv", folder / "optimum.csv", "wrn_digits")


@pytest.mark.parametrize("name", ["constant_epoch", "constant_step", "unlimited", "lr_sweep", "schedule"])
def test_figures_are_drawn_and_repeat_bitwise(tables, tmp_path, name):
    drawn = []
    for run in "ab":
        paths = [tmp_path / f"{run}.{ending}" for ending in ("png", "pdf", "svg")]
        protocol = benchmarks.protocol("wrn_digits")
        figures.save(figures.draw(name, tables, "wrn_digits", protocol, {"dpi": 80}), paths, {"dpi": 80})
        drawn.append([path.read_bytes() for path in paths])
    assert drawn[0][0] == drawn[1][0]
    assert all(len(some) > 5000 for some in drawn[0])


def lines_of(axes):
    return {container.get_label(): np.asarray(container.lines[0].get_ydata(), float) for container in axes.containers}


def test_constant_epoch_shows_the_optimum_table(tables):
    figure = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    test, train, lr, train_lr = figure.axes
    assert set(lines_of(lr)) == {"SGD", "SGD with momentum"}
    np.testing.assert_allclose(lines_of(test)["SGD"], [0.9015, 0.9015])
    np.testing.assert_allclose(lines_of(train)["SGD"], [0.1985, 0.1985])
    for axes in (lr, train_lr):
        np.testing.assert_allclose(lines_of(axes)["SGD"], [1, 1])
    text = " ".join(figure._supxlabel.get_text().split())
    assert "best 2 of 3" in text
    assert "selected on the test set, as in the paper" in text
    assert "handwritten digits" in figure._suptitle.get_text()


def test_a_sweep_in_which_every_run_diverged_is_drawn_empty(tables):
    lost = tables["cells"]["batch_size"] == 128
    tables["cells"].loc[lost, ["test_accuracy", "train_objective"]] = np.nan
    tables["cells"].loc[lost, "status"] = "diverged"
    style = {"lr_sweep": [64, 128]}
    figure = figures.draw("lr_sweep", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), style)
    assert np.isnan(lines_of(figure.axes[1])["SGD"]).all()
    assert np.isfinite(lines_of(figure.axes[0])["SGD"]).any()


def test_edge_points_are_hollow(tables):
    tables["optimum"]["at_edge"] = tables["optimum"]["batch_size"] == 128
    figure = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    hollow = [line for line in figure.axes[2].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1, 1]


def test_points_that_lack_runs_are_hollow_and_the_caption_counts_them(tables):
    lost = tables["cells"]["batch_size"] == 128
    tables["cells"].loc[lost, "status"] = "missing"
    tables["optimum"].loc[tables["optimum"]["batch_size"] == 128, "num_missing"] = 3
    figure = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    hollow = [line for line in figure.axes[2].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1, 1]
    assert "Not finished: 24 of 54 runs are missing" in " ".join(figure._supxlabel.get_text().split())


def test_unknown_figure_and_missing_tables_are_named(tables, tmp_path):
    with pytest.raises(ValueError, match="unknown figure 'pie'; known: claims, constant_epoch"):
        figures.draw("pie", tables, "wrn_digits", {}, {})
    with pytest.raises(ValueError, match="cells.csv is missing; make it with: snakemake"):
        figures.read_tables(tmp_path / "cells.csv", tmp_path / "optimum.csv", "wrn_digits")


# Data files


def test_prepared_data_is_made_once_and_checked(tmp_path):
    made = []

    def arrays(folder):
        made.append(folder)
        return {"pixels": (np.arange(1000) % 256).astype(np.uint8)}

    import torch

    path = tmp_path / "some" / "data.npz"
    for _ in range(2):
        datasets.prepare(path, arrays)
    assert made == [path.parent]
    assert datasets.load(path, torch.device("cpu"))["pixels"].tolist() == list(range(256)) * 3 + list(range(232))
    damaged = bytearray(path.read_bytes())
    damaged[500] ^= 1
    path.write_bytes(damaged)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match=r"data.npz is corrupt .*delete it"):
        datasets.load(path, torch.device("cpu"))


def test_an_unwritable_data_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="choose a data folder that you can write to"):
        datasets.prepare(tmp_path / "file" / "data.npz", lambda folder: {"a": np.zeros(1)})
