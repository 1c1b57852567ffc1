"""Turn a table of optima into numbers with standard errors; re-measure the optima on runs that did not select them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from sgdnoise.analysis.optimum import POINT, select, sweeps
from sgdnoise.results.run import COMPLETED

# The error bar of an optimal learning rate (every rate within one s.d. of the best) is read as a 90 % interval.
BAR = 1.645

Key = tuple[str, str, str, int, str]  # benchmark, mode, optimizer, swept, quantity of contrasts.QUANTITIES


class Measurement(NamedTuple):
    """A number with its standard error (NaN: unknown) and that error's degrees of freedom."""

    value: float
    error: float
    df: float
    edge: bool


def measure(optimum: pd.DataFrame, cells: pd.DataFrame | None = None) -> dict[Key, Measurement]:
    """Read the quantities that claims are about off a table of optima.

    A benchmark's first metric is its test metric, the second its train metric. Standard errors are those of the mean over
    the runs that count (column `sd`, by `num_kept`, degrees of freedom `df` if there is such a column), or of learning rates
    from their error bars; learning rates are in octaves. The largest learning rate at which at least `keep` runs completed
    needs the runs, `cells`.
    """
    found: dict[Key, Measurement] = {}
    metrics = {benchmark: list(rows["metric"].unique()) for benchmark, rows in optimum.groupby("benchmark")}
    stable = {} if cells is None else _stable(cells)
    for row in optimum.to_dict("records"):
        swept = round(row["num_epochs"]) if row["mode"] == "unlimited" else row["batch_size"]
        key = (row["benchmark"], row["mode"], row["optimizer"], swept)
        role = metrics[row["benchmark"]].index(row["metric"])
        root, df, edge = math.sqrt(row["num_kept"]), row.get("df", row["num_kept"] - 1), bool(row["at_edge"])
        lr = Measurement(math.log2(row["lr"]), math.log2(row["lr_high"] / row["lr_low"]) / 2 / BAR, math.inf, edge)
        if role == 0:
            error = 1 - row["mean"] if row["direction"] == "max" else row["mean"]
            found[*key, "error"] = Measurement(error, row["sd"] / root, df, edge)
            found[*key, "train"] = Measurement(row["train_mean"], row["train_sd"] / root, df, edge)
            found[*key, "lr"] = lr
            point = tuple(row[name] for name in POINT)
            if point in stable:
                found[*key, "stable_lr"] = stable[point]
        elif role == 1:
            found[*key, "best_train"] = Measurement(row["mean"], row["sd"] / root, df, edge)
            found[*key, "train_lr"] = lr
    return found


def _stable(cells: pd.DataFrame) -> dict[tuple, Measurement]:
    """Find the largest learning rate at which enough runs completed, known to half the step to the next of the grid.

    At the edge if there is no next.
    """
    found = {}
    for point, runs in cells.groupby(POINT):
        completed = runs[runs["status"] == COMPLETED].groupby("lr").agg(num=("seed", "size"), keep=("keep", "first"))
        if (enough := completed["num"] >= completed["keep"]).any():
            stable = completed.index[enough].max()
            following = runs["lr"][runs["lr"] > stable].min()  # NaN if there is none
            found[point] = Measurement(
                math.log2(stable), math.log2(following / stable) / 2 / BAR, math.inf, math.isnan(following)
            )
    return found


def half_split(cells: pd.DataFrame, optimum: pd.DataFrame) -> pd.DataFrame:
    """Return `optimum` with its metrics measured on runs that did not select the learning rate.

    Every second seed of a learning rate makes a half. Each half selects the learning rate by the paper's rule, with half the
    `keep`, and all completed runs of the other half at that rate are averaged (choosing the best runs is selection too). The
    mean is that of the two halves; the s.d. is pooled within them, with the degrees of freedom `df`. The learning rates stay
    those of the paper's rule.
    """
    columns = ["mean", "sd", "train_mean", "train_sd", "num_kept", "df"]
    table = optimum.assign(df=np.nan).astype(dict.fromkeys(columns, float))
    rows = optimum.groupby([*POINT, "metric"])
    cells = cells.assign(half=cells.groupby([*POINT, "lr"]).cumcount() % 2)
    for benchmark, runs in cells.groupby("benchmark"):
        metrics = list(optimum.loc[optimum["benchmark"] == benchmark, "metric"].unique())[:2]
        points = dict(iter(runs.groupby(POINT)))
        for metric in metrics:
            chosen = [_selected(runs[runs["half"] == half], metric, metrics[-1], optimum) for half in (0, 1)]
            for point, some in points.items():
                measured = [
                    some[(some["half"] != half) & (some["lr"] == chosen[half].get(point))].dropna(subset=metrics)
                    for half in (0, 1)
                ]
                table.loc[rows.groups[(*point, metric)], columns] = _pooled(measured, metric, metrics[-1])
    return table


def _selected(half: pd.DataFrame, metric: str, train_metric: str, optimum: pd.DataFrame) -> dict[tuple, float]:
    """Return the learning rate that half of the runs of a benchmark select at each point, with half the `keep`."""
    if half.empty:
        return {}
    direction = optimum.loc[optimum["metric"] == metric, "direction"].iloc[0]
    halved = half.assign(keep=(half["keep"] + 1) // 2)
    return {point: select(some, direction)["lr"] for point, some in sweeps(halved, metric, direction, train_metric).items()}


def _pooled(halves: list[pd.DataFrame], *metrics: str) -> list[float]:
    """Return mean and s.d. of two metrics over halves that count alike, the number of runs that gives its error, and `df`."""
    sizes = np.array([len(half) for half in halves])
    if not sizes.all():
        return [math.nan] * 6
    df = int(sizes.sum()) - 2
    summary = []
    for metric in metrics:
        values = [half[metric].to_numpy(float) for half in halves]
        squares = sum(((some - some.mean()) ** 2).sum() for some in values)
        summary += [float(np.mean([some.mean() for some in values])), math.sqrt(squares / df) if df else math.nan]
    return [*summary, 4 / (1 / sizes).sum(), df]
