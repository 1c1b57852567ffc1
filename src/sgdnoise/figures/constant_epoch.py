"""Constant epoch budget: does performance depend on the batch size, and where does the learning rate stop growing?"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.optimizers import OPTIMIZERS


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test metric, train metric and optimal learning rate against batch size (ICLR v5 fig. 1)."""
    epochs = int(points_of(tables, "constant_epoch", protocol)["num_epochs"].round().iloc[0])
    budget = f"constant epoch budget: {epochs} epoch{'s' * (epochs > 1)} at every batch size"
    return draw_mode(tables, "constant_epoch", protocol, budget)


def points_of(tables: figures.Tables, mode: str, protocol: dict[str, Any]) -> pd.DataFrame:
    """Return the optima of the test metric of a budget mode."""
    test_metric = next(iter(protocol["metrics"]))
    return tables["optimum"].query("mode == @mode and metric == @test_metric")


def draw_mode(tables: figures.Tables, mode: str, protocol: dict[str, Any], budget: str) -> Figure:
    """Draw the three panels of a budget mode whose batch size is swept."""
    test_metric, train_metric = list(protocol["metrics"])[:2]
    points = points_of(tables, mode, protocol)
    figure, ((test, train, lr),) = figures.panels(3)
    for name in OPTIMIZERS:
        some = points[points["optimizer"] == name]
        if some.empty:
            continue
        text, look = figures.optimizer_label(name), figures.look(name)
        figures.plot_points(test, some, "batch_size", "mean", figures.metric_spread, look, text)
        figures.plot_points(train, some, "batch_size", "train_mean", figures.train_spread, look, text)
        figures.plot_points(lr, some, "batch_size", "lr", figures.lr_spread, look, text)
    figures.draw_bound(test, points)
    slope_guide(lr, points)
    figures.log2_axis(lr, "y")
    for axes, title in (
        (test, figures.METRIC_LABELS[test_metric]),
        (train, figures.METRIC_LABELS[train_metric] + "\nat the test-optimal learning rate"),
        (lr, "optimal effective learning rate"),
    ):
        figures.log2_axis(axes, "x")
        axes.set(title=title, xlabel="batch size")
    lr.legend(fontsize="small")
    if points["bound"].notna().any():
        test.legend(fontsize="small")
    mode_cells = tables["cells"][tables["cells"]["modes"].str.split().map(lambda modes: mode in modes)]
    caption = f"{figures.runs_caption(mode_cells)} {figures.SELECTION} {figures.HOLLOW}"
    figures.label(figure, f"{protocol['title']}\n{budget}", caption)
    return figure


def slope_guide(axes: Axes, points: pd.DataFrame) -> None:
    """Draw learning rate proportional to batch size through the smallest batch size's optimum."""
    first = points.dropna(subset="lr").sort_values("batch_size").head(1)
    if first.empty:
        return
    limits = axes.get_ylim()
    ends = np.array([points["batch_size"].min(), points["batch_size"].max()])
    axes.plot(ends, first["lr"].iloc[0] * ends / ends[0], color="0.6", linestyle=":", label="slope 1", zorder=0)
    axes.set_ylim(limits[0], max(limits[1], points["lr_high"].max() * 1.5))
