"""What the report shows of the tables of results: sortable tables, and grids of the sweeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sgdnoise import figures
from sgdnoise.analysis.estimate import POINT
from sgdnoise.analysis.optimum import lr_statistics
from sgdnoise.claims.paper import paper_table, same_budget
from sgdnoise.results.run import COMPLETED, DIVERGED
from sgdnoise.study.cell import lr_string

MODE_TITLES = {
    "constant_epoch": "Constant epoch budget",
    "constant_step": "Constant step budget",
    "unlimited": "Unlimited budget",
}
HEAT_STEPS = 8  # our choice: shades that can still be told apart


class Entry(NamedTuple):
    """What a table shows in one place, and what it is sorted by (None: last)."""

    text: str
    order: float | str | None


class Table(NamedTuple):
    """A table whose columns can be sorted."""

    caption: str
    columns: list[str]
    rows: list[list[Entry]]


def study_table(cells: pd.DataFrame, optimum: pd.DataFrame) -> Table:
    """Return a row per benchmark and budget mode: what was run, what diverged, which optima the grid does not enclose."""
    rows = []
    for name, mode in itertools.product(optimum["benchmark"].unique(), MODE_TITLES):
        points, some = optimum.query("benchmark == @name and mode == @mode"), figures.cells_of({"cells": cells}, mode)
        if points.empty:
            continue
        some = some[some["benchmark"] == name]
        groups = some.groupby([*POINT, "lr"])
        completed = groups["status"].agg(lambda status: (status == COMPLETED).sum())
        counts = [
            groups.ngroups,
            len(some),
            int((some["status"] == DIVERGED).sum()),
            int((completed < groups["keep"].first()).sum()),
            len(points),
            int(points["at_edge"].sum()),
        ]
        rows.append([text(name), text(MODE_TITLES[mode]), *map(number, counts)])
    columns = [
        "benchmark",
        "budget mode",
        "cells",
        "runs",
        "diverged runs",
        "cells with too few completed runs",
        "optima",
        "optima at an edge",
    ]
    return Table(
        "What ran, what diverged, and which optima the grid does not enclose. A cell that budget modes share counts in each.",
        columns,
        rows,
    )


def optimum_table(points: pd.DataFrame, mode: str, protocol: dict[str, Any]) -> Table:
    """Return a row per metric, optimizer and swept value of one budget mode, beside the paper's where its budget is the same."""
    keys = ["metric", "optimizer", "budget" if mode == "unlimited" else "batch_size"]
    paper = same_budget(paper_table(), points).query("mode == @mode").set_index(keys)
    sizes = {"batch_size": "batch size", "num_epochs": "epochs", "num_steps": "updates"}
    sizes.pop({"constant_epoch": "num_epochs", "constant_step": "num_steps", "unlimited": "batch_size"}[mode])
    columns = [
        "metric",
        "optimizer",
        *sizes.values(),
        "optimal lr",
        "its error bar",
        "value",
        "train metric there",
        "diverged runs",
    ]
    columns += ["paper's lr", "paper's value"] * bool(len(paper))
    rows = []
    for row in points.sort_values(keys[2] if mode != "unlimited" else "num_epochs", kind="stable").to_dict("records"):
        key = tuple(row[key] for key in keys)
        theirs = paper.loc[key] if key in paper.index else dict.fromkeys(("lr", "mean", "sd"), math.nan)
        rows.append(
            [
                text(figures.metric_words(row["metric"], protocol)),
                text(figures.optimizer_label(row["optimizer"])),
                *(number(row[size]) for size in sizes),
                number(row["lr"]),
                lr_bar(row),
                spread(row["mean"], row["sd"]),
                spread(row["train_mean"], row["train_sd"]),
                number(row["num_diverged"]),
                *[number(theirs["lr"]), spread(theirs["mean"], theirs["sd"])][: 2 * bool(len(paper))],
            ]
        )
    rates = figures.rate_words(points["optimizer"]).replace("rate", "rates")
    return Table(f"Optimal {rates}, and mean ± s.d. of the best runs there", columns, rows)


def lr_bar(row: Mapping[Any, Any]) -> Entry:
    """Show the error bar of an optimal learning rate, and at which edge of the grid it ends."""
    bar = [f"{lr_string(row['lr_low'])} to {lr_string(row['lr_high'])}"] * (row["lr_low"] < row["lr_high"])
    edge = [f"{' and '.join(row['edge'].split())} edge"] if row["at_edge"] else []
    return text(", ".join(bar + edge))


def coverage(runs: pd.DataFrame, points: pd.DataFrame, mode: str, protocol: dict[str, Any]) -> dict[str, Any]:
    """Return a grid of the means of one metric per optimizer: rows are what is swept, columns learning rates.

    `heat` says how good a mean is among those of the metric in the budget mode, in HEAT_STEPS steps.
    """
    swept, lrs = ("num_epochs" if mode == "unlimited" else "batch_size"), sorted(runs["lr"].unique())
    metric, direction = points["metric"].iloc[0], points["direction"].iloc[0]
    found = lr_statistics(runs, metric, direction, list(protocol["metrics"])[1]).set_index([*POINT, "lr"])
    heat = found["mean"].rank(pct=True, ascending=direction == "max") * HEAT_STEPS
    found["heat"] = heat.fillna(0).round().astype(int)
    grids: dict[str, list[dict[str, Any]]] = {}
    for row in points.sort_values(swept).to_dict("records"):
        keys = [(*(row[name] for name in POINT), lr) for lr in lrs]
        entries = [mark(found.loc[key], row, key[-1]) if key in found.index else None for key in keys]
        grids.setdefault(figures.optimizer_label(row["optimizer"]), []).append({"swept": short(row[swept]), "entries": entries})
    return {
        "metric": figures.metric_words(metric, protocol),
        "swept": "epochs" if mode == "unlimited" else "batch size",
        "lrs": list(map(lr_string, lrs)),
        "optimizers": grids,
    }


def mark(statistics: pd.Series, optimum: Mapping[Any, Any], lr: float) -> dict[str, Any]:
    """Say of one learning rate whether it is the optimum, in its error bar, at the edge of the grid, and how often it diverged."""
    edges = str(optimum["edge"]).split()
    return {
        "mean": short(statistics["mean"]),
        "optimum": lr == optimum["lr"],
        "bar": optimum["lr_low"] <= lr <= optimum["lr_high"],
        "edge": ("low" in edges and lr == optimum["lr_grid_low"]) or ("high" in edges and lr == optimum["lr_grid_high"]),
        "diverged": int(statistics["num_diverged"]),
        "runs": int(statistics["num_runs"]),
        "heat": int(statistics["heat"]),
    }


def regimes_table(regimes: pd.DataFrame) -> Table:
    """Return a row per optimizer and metric: the model of the learning rate, its break and slopes with their intervals."""
    rows = [
        [
            text(figures.optimizer_label(row["optimizer"])),
            text(row["metric"].replace("_", " ")),
            text(row["model"]),
            *(interval(row, name) for name in ("break", "slope_below", "slope_above")),
            text(row["decide"] if isinstance(row["decide"], str) else ""),
        ]
        for row in regimes.to_dict("records")
    ]
    columns = ["optimizer", "metric", "model", "break at batch size", "slope below", "slope above", "what would decide"]
    return Table("Regimes: how the optimal learning rate grows with the batch size (intervals: 95 %)", columns, rows)


def cost_table(cells: pd.DataFrame) -> Table:
    """Return a row per benchmark, batch size and device: runs, time and speed."""
    rows = [
        [
            text(name),
            number(some["batch_size"].iloc[0]),
            text(device),
            number(len(some)),
            number(some["device_seconds"].sum() / 3600),
            number(some["device_seconds"].mean()),
            number(some["examples_per_second"].median()),
        ]
        for (name, _, device), some in cells.groupby(["benchmark", "batch_size", "device"], sort=False)
    ]
    columns = ["benchmark", "batch size", "device", "runs", "device hours", "seconds per run", "examples/s while training"]
    return Table(
        "Time of each device, everything from the start of a process to its result included; an example of a text is a sequence",
        columns,
        rows,
    )


def device_table(cells: pd.DataFrame, words: Mapping[str, int]) -> Table:
    """Return a row per device: what it did in all. Of each benchmark `words` says how many an example of it has, 1 where it is no text."""
    cells = cells.assign(planned=cells["num_steps"] * cells["batch_size"] * cells["benchmark"].map(words))
    rows = [
        [
            text(device),
            text("CPU hours" if str(device).startswith("CPU") else "GPU hours"),
            number(some["device_seconds"].sum() / 3600),
            number(len(some)),
            number(some["planned"].sum()),
        ]
        for device, some in cells.groupby("device", sort=False)
    ]
    return Table("Total", ["device", "unit", "hours", "runs", "examples or words planned"], rows)


def origin_table(cells: pd.DataFrame) -> Table:
    """Return a row per kind of code and device that made results."""
    rows = [
        [text(made_by), text(device), *map(moment, (some["started"].min(), some["started"].max())), number(len(some))]
        for (made_by, device), some in cells.assign(started=cells["started"].astype(object).fillna("")).groupby(
            ["made_by", "device"], sort=False
        )
    ]
    return Table(
        "What made the results", ["code, libraries, precision", "device", "first start (UTC)", "last start (UTC)", "runs"], rows
    )


def text(value: object) -> Entry:
    """Show a text; an empty one is sorted last."""
    return Entry(str(value), str(value) or None)


def moment(started: str) -> Entry:
    """Show a time (UTC)."""
    return Entry(started[:16].replace("T", " "), started or None)


def number(value: float) -> Entry:
    """Show a number, or nothing if there is none."""
    return Entry(short(value), None if pd.isna(value) else float(value))


def spread(mean: float, sd: float) -> Entry:
    """Show a mean and its standard deviation, if there is one."""
    return Entry(short(mean) + ("" if pd.isna(sd) else f" ± {sd:.2g}"), number(mean).order)


def interval(row: Mapping[Any, Any], name: str) -> Entry:
    """Show an estimate with its interval; an end that nothing bounds is left open."""
    ends = [short(row[f"{name}{end}"]).replace("inf", "∞") for end in ("_low", "_high")]
    return Entry(f"{short(row[name])} ({' to '.join(ends)})".strip() if all(ends) else short(row[name]), number(row[name]).order)


def short(value: float) -> str:
    """Write a number with four digits, whole numbers and those from a thousand to ten million with all before the point.

    >>> short(0.123456), short(16384), short(1.2731e36), short(float("nan"))
    ('0.1235', '16,384', '1.273e+36', '')
    """
    if pd.isna(value):
        return ""
    is_whole = float(value).is_integer() and abs(value) < 2**53  # above, all floats are
    return f"{value:,.0f}" if is_whole or 1000 <= abs(value) < 1e7 else f"{value:.4g}"
