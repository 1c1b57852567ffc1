"""Learning-rate sweeps at chosen batch sizes: how sharp is the optimum, and where does training diverge?"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.optimizers import OPTIMIZERS
from sgdnoise.optimum import lr_statistics


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test and train metric against learning rate, a column per batch size (ICLR v5 fig. 4)."""
    cells = tables["cells"]
    cells = cells[cells["modes"].str.split().map(lambda modes: "constant_epoch" in modes)]
    batch_sizes = style.get("lr_sweep") or sorted(cells["batch_size"].unique())
    if missing := set(batch_sizes) - set(cells["batch_size"]):
        raise ValueError(f"lr_sweep: batch size {min(missing)} is not in the constant_epoch grid of {benchmark}")
    metrics = list(protocol["metrics"].items())[:2]
    figure, grid = figures.panels(len(batch_sizes), len(metrics))
    for row, (metric, direction) in zip(grid, metrics, strict=True):
        for axes, batch_size in zip(row, batch_sizes, strict=True):
            for name in OPTIMIZERS:
                some = cells.query("batch_size == @batch_size and optimizer == @name")
                if len(some):
                    plot_sweep(axes, lr_statistics(some, metric, direction, metric), name)
            figures.log2_axis(axes, "x")
            axes.set(xlabel="effective learning rate", title=f"batch size {batch_size}")
        limit_panels(row, direction)
        row[0].set_ylabel(figures.METRIC_LABELS[metric])
    grid[0][0].legend(fontsize="small")
    epochs = int(cells["num_epochs"].round().iloc[0])
    caption = (
        f"{figures.runs_caption(cells)} Triangles at the edge: beyond the axis, or too few runs completed "
        "(the others diverged)."
    )
    figures.label(figure, f"{protocol['title']}\nlearning-rate sweeps, {epochs} epochs", caption)
    return figure


def plot_sweep(axes: Axes, statistics: pd.DataFrame, name: str) -> None:
    """Draw the mean and s.d. at each learning rate, infinite where too few runs completed."""
    look = figures.look(name)
    spread = statistics["sd"].fillna(0)
    axes.errorbar(statistics["lr"], statistics["mean"], spread, capsize=2, markersize=5, label=figures.optimizer_label(name), **look)


def limit_panels(row: Any, direction: str) -> None:
    """Give the panels of a row one axis that shows the neighbourhood of the best; mark what lies beyond it."""
    lines = [(axes, container.lines[0]) for axes in row for container in axes.containers]
    values = np.concatenate([np.asarray(line.get_ydata(), float) for _, line in lines])
    values = values[np.isfinite(values)]
    if not values.size:
        return
    if direction == "max":
        best, worst = values.max(), values.min()
        low, high = max(worst, best - 4 * (best - np.median(values)) - 0.05), best
        pad = 0.08 * (high - low)
        limits = (low - pad, high + pad)
    else:
        low, high = values.min(), min(values.max(), 20 * values.min())
        limits = (low / 1.15, high * 1.3)
    for axes in row:
        axes.set_yscale("linear" if direction == "max" else "log")
        axes.set_ylim(limits)
    for axes, line in lines:
        mark_beyond(axes, line, limits, direction)


def mark_beyond(axes: Axes, line: Any, limits: tuple[float, float], direction: str) -> None:
    """Put a triangle at the edge of the panel for every learning rate whose point is not in it."""
    lrs, values = np.asarray(line.get_xdata()), np.asarray(line.get_ydata(), float)
    beyond = lrs[~((values >= limits[0]) & (values <= limits[1]))]
    down = direction == "max"
    height = np.full(len(beyond), 0.03 if down else 0.97)
    marker = "v" if down else "^"
    axes.plot(beyond, height, marker, color=line.get_color(), transform=axes.get_xaxis_transform(), clip_on=False, markersize=5)
