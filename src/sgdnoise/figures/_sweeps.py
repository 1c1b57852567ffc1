"""What figures of a swept batch size share."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.analysis.sweep import unread
from sgdnoise.claims.paper import paper_table, same_budget, scale_note
from sgdnoise.figures._axes import lr_axis, sizes_axis

GUIDE = "proportional to batch size"
FEWER = 0.9  # epochs beyond this share are as many: those of texts differ a little, as ends of streams are not read


def epochs_of(rows: pd.DataFrame) -> str:
    """Say of cells or optima at equal epochs how many; fewer of an optimizer that takes several gradients for an update."""
    epochs = rows.groupby("optimizer")["num_epochs"].max().round().astype(int)
    fewer = [f"{figures.optimizer_label(str(name))}: {number}" for name, number in epochs[epochs < FEWER * epochs.max()].items()]
    return f"{epochs.max()} epochs" + (f" ({', '.join(fewer)})" if fewer else "")


def draw_mode(tables: figures.Tables, mode: str, protocol: dict[str, Any], budget: str) -> Figure:
    """Draw the four panels of a budget mode whose batch size is swept."""
    test_metric, train_metric = list(protocol["metrics"])[:2]
    points = tables["optimum"].query("mode == @mode")
    points = figures.without_swept(points)
    paper = same_budget(paper_table(), points)
    figure, ((test, train), (test_lr, train_lr)) = figures.panels(2, 2)
    names = {*points["optimizer"], *paper["optimizer"]}
    alone, sizes = points["optimizer"].nunique() == 1, [*points["batch_size"], *paper["batch_size"]]
    estimates, looks, rate = "", figures.looks(names), figures.rate_words(names)
    for axes, metric, y, spread, title in (
        (test, test_metric, "mean", figures.metric_spread, figures.metric_label(test_metric, protocol)),
        (
            train,
            test_metric,
            "train_mean",
            figures.train_spread,
            f"{figures.metric_label(train_metric, protocol)}\nat the learning rate on the left",
        ),
        (
            test_lr,
            test_metric,
            "lr",
            figures.lr_spread,
            f"{rate} optimal for\n{figures.metric_label(test_metric, protocol)}",
        ),
        (
            train_lr,
            train_metric,
            "lr",
            figures.lr_spread,
            f"{rate} optimal for\n{figures.metric_label(train_metric, protocol)}",
        ),
    ):
        some, papers = (table[table["metric"] == metric] for table in (points, paper))
        for name, look in looks.items():
            if len(line := some[some["optimizer"] == name]):
                figures.plot_points(axes, line, "batch_size", y, spread, look, figures.optimizer_label(name), alone)
                if y == "lr":
                    estimates = figures.plot_estimates(axes, line, "batch_size", look, alone) or estimates
        for name, look in looks.items():
            figures.plot_paper(axes, papers[papers["optimizer"] == name], "batch_size", y, look["linestyle"])
        if y == "lr":
            slope_guide(axes, some, pd.concat([some, papers]))
            lr_axis(axes, "y", protocol["lr_grid"], some["lr"])
        sizes_axis(axes, sizes)
        axes.set(title=title, xlabel="batch size")
    figures.draw_bound(test, points[points["metric"] == test_metric])
    figures.legend(figure, test)
    if guide := [line for line in test_lr.get_lines() if line.get_label() == GUIDE]:  # the rest is in the first panel
        test_lr.legend(handles=guide, fontsize="small")
    caption = scale_note(points, mode)
    if said := unread(points):
        caption += f"Batch sizes are not comparable: {said}. "
    caption += f"{figures.runs_caption(figures.cells_of(tables, mode))} {figures.selection(protocol)} {figures.HOLLOW}{estimates}{figures.rate_note(looks)}"
    if len(paper):
        caption += f" {figures.PAPER}"
    figures.label(figure, f"{protocol['title']}\n{budget}", caption)
    return figure


def slope_guide(axes: Axes, points: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Draw learning rate proportional to batch size, through the first optimum at the smallest batch size, as far as `shown`."""
    first = points.dropna(subset="lr").sort_values("batch_size", kind="stable").head(1)
    if first.empty:
        return
    ends = np.array([shown["batch_size"].min(), shown["batch_size"].max()])
    axes.plot(
        ends,
        first["lr"].iloc[0] * ends / first["batch_size"].iloc[0],
        color="0.6",
        linestyle=":",
        label=GUIDE,
        zorder=0,
    )
    lows, highs = (shown.filter(regex=f"lr_{end}$").to_numpy(float) for end in ("low", "high"))  # the estimates' too, if there
    axes.set_ylim(float(np.nanmin(lows)) / 1.5, float(np.nanmax(highs)) * 1.8)
