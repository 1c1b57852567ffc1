"""Learning-rate sweeps at chosen batch sizes: how sharp the optimum is, and where training diverges.

Triangles at the edge of a panel: far worse, or diverged.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.analysis.optimum import lr_statistics
from sgdnoise.analysis.rates import is_settled
from sgdnoise.claims.paper import scale_note
from sgdnoise.figures._axes import bars, lr_axis, plain_log_axis
from sgdnoise.figures._sweeps import epochs_of


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test and train metric against learning rate, a column per batch size (ICLR v5 fig. 4)."""
    runs = figures.cells_of(tables, "constant_epoch")
    cells = figures.without_swept(runs)
    batch_sizes = style.get("lr_sweep") or sorted(cells["batch_size"].unique())
    if missing := set(batch_sizes) - set(runs["batch_size"]):
        raise ValueError(f"lr_sweep: batch size {min(missing)} is not in the constant_epoch grid of {benchmark}")
    metrics, looks = list(protocol["metrics"].items())[:2], figures.looks(set(cells["optimizer"]))
    figure, grid = figures.panels(len(batch_sizes), len(metrics))
    for row, (metric, direction) in zip(grid, metrics, strict=True):
        for axes, batch_size in zip(row, batch_sizes, strict=True):
            for name, look in looks.items():
                some = cells.query("batch_size == @batch_size and optimizer == @name")
                some = some[is_settled(some)]  # what depends on missing runs has not diverged
                if len(some):
                    plot_sweep(axes, lr_statistics(some, metric, direction, metric), look, figures.optimizer_label(name))
            limit_panel(axes, direction)
            lr_axis(axes, "x", protocol["lr_grid"], cells["lr"])
            axes.set(xlabel=figures.rate_words(looks), title=f"batch size {batch_size}")
        row[0].set_ylabel(figures.metric_label(metric, protocol, width=figures.SIDE))
    figures.legend(figure, *grid[0])
    caption = scale_note(tables["optimum"], "constant_epoch") + (
        f"{figures.runs_caption(cells)} Triangles at the edge: beyond the axis, or too few runs completed (the others diverged)."
    )
    caption += figures.rate_note(looks)
    figures.label(figure, f"{protocol['title']}\nlearning-rate sweeps, {epochs_of(cells)}", caption)
    return figure


def plot_sweep(axes: Axes, statistics: pd.DataFrame, look: dict[str, Any], name: str) -> None:
    """Draw the mean and s.d. at each learning rate, NaN where too few runs completed; hollow where some are missing."""
    spread = statistics["sd"].fillna(0)
    axes.errorbar(statistics["lr"], statistics["mean"], spread, capsize=2, markersize=5, label=name, **look)
    if len(lacking := statistics[statistics["num_missing"] > 0]):
        line = {"color": look["color"], "marker": look["marker"], "linestyle": "none"}
        axes.plot(lacking["lr"], lacking["mean"], markerfacecolor="white", markersize=5, zorder=5, **line)


def limit_panel(axes: Axes, direction: str) -> None:
    """Show the neighbourhood of the best value; put a triangle at the edge for every learning rate beyond it.

    That is a quarter of the best value that is better the larger, if it is above 0, up to four times the best that is better the
    smaller, if it is above 0, and else up to four times as far from the best as the median is.
    """
    curves = [(line.get_color(), np.asarray(line.get_xdata()), np.asarray(line.get_ydata(), float)) for line in bars(axes)]
    values = np.array([value for _, _, curve in curves for value in curve if np.isfinite(value)])
    if not values.size:  # every run diverged: an empty panel
        return
    low, high = values.min(), values.max()
    if direction == "max" and high > 0:
        scale = max(1, high)  # of an accuracy: a quarter of all there is
        low = max(low, high - 0.25 * scale)
        limits = (low - 0.1 * (high - low) - 0.005 * scale, high + 0.1 * (high - low) + 0.005 * scale)
    elif direction == "min" and low > 0:
        limits = (low / 1.1, min(high, 4 * low) * 1.1)
    else:
        best = high if direction == "max" else low
        reach = 4 * abs(np.median(values) - best) or high - low
        low, high = max(low, best - reach), min(high, best + reach)
        margin = 0.1 * (high - low) or 0.1
        limits = (low - margin, high + margin)
    axes.set_ylim(limits)
    if direction == "min":
        plain_log_axis(axes)
    for artist in (*axes.lines, *axes.collections):
        artist.set_in_layout(False)  # an error bar that reaches 0 is endless on a logarithmic axis
    for color, lrs, curve in curves:
        beyond = lrs[~((curve >= limits[0]) & (curve <= limits[1]))]
        height = limits[0] if direction == "max" else limits[1]
        marker = "v" if direction == "max" else "^"
        if len(beyond):  # matplotlib would make room for an empty line at the corner of the figure
            axes.plot(beyond, np.full(len(beyond), height), marker, color=color, clip_on=False, markersize=6, zorder=5)
