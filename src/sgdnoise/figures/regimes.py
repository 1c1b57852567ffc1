"""Regimes: the optimal learning rate against batch size with the fitted curve, and where noise gives way to curvature."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.analysis.bootstrap import quantiles, sweep
from sgdnoise.analysis.curves import predict
from sgdnoise.analysis.regimes import FAMILIES, UNDECIDED, Fit, candidates, estimates, fit_sweep, summary
from sgdnoise.claims.paper import scale_note
from sgdnoise.study.optimizers import OPTIMIZERS


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw a panel per metric, test above train, and optimizer (the learning rates of ICLR v5 fig. 1)."""
    cells = figures.cells_of(tables, "constant_epoch")
    optimizers = [name for name in OPTIMIZERS if name in set(cells["optimizer"])]
    metrics = list(protocol["metrics"].items())[:2]
    figure, grid = figures.panels(len(optimizers), len(metrics))
    points = tables["optimum"].query("mode == 'constant_epoch'")
    for row, (metric, direction) in zip(grid, metrics, strict=True):
        for axes, name in zip(row, optimizers, strict=True):
            fit = fit_sweep(sweep(cells[cells["optimizer"] == name], metric, direction), protocol["lr_grid"])
            draw_panel(axes, points.query("metric == @metric and optimizer == @name"), fit, name)
            axes.set_title(f"{figures.optimizer_label(name)}\n{summary(fit)}")
        row[0].set_ylabel(f"effective learning rate optimal for\n{figures.metric_label(metric, protocol)}")
    for which in ("xlim", "ylim"):
        limits = np.array([getattr(axes, f"get_{which}")() for axes in grid.flat])
        for axes in grid.flat:
            axes.set(**{which: (limits[:, 0].min(), limits[:, 1].max())})
    for axes in grid.flat:
        figures.lr_axis(axes, "y", protocol["lr_grid"])
    caption = scale_note(points, "constant_epoch") + (
        "Points: the optimum, bars: the learning rates within one s.d. of it. Line: the curve nearest to the median of all, coloured band: 95 % "
        "of them, by redraws of the seeds and half a grid step. Grey: where the break is (95 %). Two lines: not decided between "
        f"these. {figures.HOLLOW}"
    )
    epochs = round(cells["num_epochs"].iloc[0])
    figures.label(figure, f"{protocol['title']}\nregimes, {epochs} epochs at every batch size", caption)
    return figure


def draw_panel(axes: Axes, points: pd.DataFrame, fit: Fit | None, name: str) -> None:
    """Draw the optima of one optimizer, and the model chosen, or the best of the two families that it is between."""
    look = figures.look(name)
    if fit:
        found = estimates(fit)
        x = np.linspace(fit.known.x[0], fit.known.x[-1], 30)
        if fit.model in FAMILIES["break"]:
            low, high = max(found["break_low"], 2 ** x[0]), min(found["break_high"], 2 ** x[-1])
            axes.axvspan(low, high, color="0.85", zorder=0)
            axes.axvline(found["break"], color="0.5", linewidth=1, zorder=1)
        for model, line in zip(candidates(fit), ("-", ":"), strict=False):
            curves = fit.curves[model]
            values = predict(curves, x)
            low, middle, high = np.array([quantiles(column, curves.weight) for column in values.T]).T
            away = np.where(curves.weight > 0, ((values - middle) ** 2).sum(axis=1), np.inf)
            axes.plot(2**x, 2 ** values[away.argmin()], color=look["color"], linestyle=line, label=model)
            if fit.model != UNDECIDED:
                axes.fill_between(2**x, 2**low, 2**high, color=look["color"], alpha=0.2, linewidth=0)
        axes.legend(fontsize="small")
    figures.plot_points(axes, points, "batch_size", "lr", figures.lr_spread, look | {"linestyle": "none"}, "")
    figures.log2_axis(axes, "x")
    figures.log2_axis(axes, "y")
    axes.set_xlabel("batch size")
