"""The paper's rule of selection and its warnings."""

import numpy as np
import pandas as pd
import pytest

from sgdnoise.analysis.optimum import best_k, edge_warnings, lr_statistics, optimum_table, select
from sgdnoise.results.collect import collect_cells

NAN = np.nan


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
    some = chosen([[0.6] * 2, [0.7] * 2, [0.8] * 2, [0.7] * 2])
    assert list(result) == list(some)  # so that a table of optima has its columns where no point has one
    nothing = [result[name] for name in ("lr_low", "lr_high", "mean", "sd", "train_mean", "train_sd")]
    assert (np.isnan(nothing).all(), result["num_kept"], some["num_kept"]) == (True, 0, 2)


@pytest.mark.parametrize(
    ("top", "missing", "edge", "high"),
    [
        ([NAN, NAN, NAN], [0, 0, 1], "", 4),  # one more completes at most
        ([NAN, NAN, NAN], [0, 1, 1], "high", 2),
        ([0.9, NAN, NAN], [0, 0, 1], "high", 2),
        ([NAN, NAN, NAN], [1, 1, 1], "high", 2),
    ],
)
def test_only_where_too_few_runs_can_complete_is_the_grid_closed(top, missing, edge, high):
    cells = sweep([[0.6] * 3, [0.7] * 3, [0.8] * 3, top])
    cells.loc[cells.index[-3:][np.array(missing, bool)], "status"] = "missing"
    result = select(lr_statistics(cells, "acc", "max", "loss"), "max")
    assert (result["lr"], result["edge"], result["lr_grid_high"]) == (2, edge, high)


def test_where_runs_are_missing_at_all_learning_rates_no_wider_grid_is_asked_for():
    cells = sweep([[NAN] * 2] * 4)
    result = select(lr_statistics(cells.assign(status="missing"), "acc", "max", "loss"), "max")
    assert (result["at_edge"], result["edge"], result["num_missing"]) == (False, "", 8)


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
