"""Learning-rate sweeps at chosen batch sizes: how sharp the optimum is, and where training diverges.

Triangles at the edge of a panel: far worse, or diverged.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.analysis.optimum import lr_statistics
from sgdnoise.claims.paper import scale_note
from sgdnoise.figures._sweeps import epochs_of


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test and train metric against learning rate, a column per batch size (ICLR v5 fig. 4)."""
    cells = figures.cells_of(tables, "constant_epoch")
    batch_sizes = style.get("lr_sweep") or sorted(cells["batch_size"].unique())
    if missing := set(batch_sizes) - set(cells["batch_size"]):
        raise ValueError(f"lr_sweep: batch size {min(missing)} is not in the constant_epoch grid of {benchmark}")
    metrics, looks = list(protocol["metrics"].items())[:2], figures.looks(set(cells["optimizer"]))
    figure, grid = figures.panels(len(batch_sizes), len(metrics))
    for row, (metric, direction) in zip(grid, metrics, strict=True):
        for axes, batch_size in zip(row, batch_sizes, strict=True):
            for name, look in looks.items():
                some = cells.query("batch_size == @batch_size and optimizer == @name")
                if len(some):
                    plot_sweep(axes, lr_statistics(some, metric, direction, metric), look, figures.optimizer_label(name))
            figures.lr_axis(axes, "x", protocol["lr_grid"])
            limit_panel(axes, direction)
            axes.set(xlabel=figures.rate_words(looks), title=f"batch size {batch_size}")
        row[0].set_ylabel(figures.metric_label(metric, protocol))
    figures.legend(figure, grid[0][0])
    caption = scale_note(tables["optimum"], "constant_epoch") + (
        f"{figures.runs_caption(cells)} Triangles at the edge: beyond the axis, or too few runs completed (the others diverged)."
    )
    caption += figures.rate_note(looks)
    figures.label(figure, f"{protocol['title']}\nlearning-rate sweeps, {epochs_of(cells)}", caption)
    return figure


def plot_sweep(axes: Axes, statistics: pd.DataFrame, look: dict[str, Any], name: str) -> None:
    """Draw the mean and s.d. at each learning rate, NaN where too few runs completed."""
    spread = statistics["sd"].fillna(0)
    axes.errorbar(statistics["lr"], statistics["mean"], spread, capsize=2, markersize=5, label=name, **look)


def limit_panel(axes: Axes, direction: str) -> None:
    """Show the neighbourhood of the best value; put a triangle at the edge for every learning rate beyond it."""
    lines = [container.lines[0] for container in axes.containers if isinstance(container, ErrorbarContainer)]
    curves = [(line.get_color(), np.asarray(line.get_xdata()), np.asarray(line.get_ydata(), float)) for line in lines]
    values = np.concatenate([curve for _, _, curve in curves])
    values = values[np.isfinite(values)]
    if not values.size:  # every run diverged: an empty panel
        return
    low, high = values.min(), values.max()
    if direction == "max":
        scale = max(1, high)  # of an accuracy: a quarter of all there is
        low = max(low, high - 0.25 * scale)
        limits = (low - 0.1 * (high - low) - 0.005 * scale, high + 0.1 * (high - low) + 0.005 * scale)
    elif low > 0:
        limits = (low / 1.1, min(high, 4 * low) * 1.1)
        figures.plain_log_axis(axes)
    else:
        margin = 0.1 * (high - low) or 0.1
        limits = (low - margin, high + margin)
    axes.set_ylim(limits)
    for artist in (*axes.lines, *axes.collections):
        artist.set_in_layout(False)  # an error bar that reaches 0 is endless on a logarithmic axis
    for color, lrs, curve in curves:
        beyond = lrs[~((curve >= limits[0]) & (curve <= limits[1]))]
        height = limits[0] if direction == "max" else limits[1]
        marker = "v" if direction == "max" else "^"
        if len(beyond):  # matplotlib would make room for an empty line at the corner of the figure
            axes.plot(beyond, np.full(len(beyond), height), marker, color=color, clip_on=False, markersize=6, zorder=5)
