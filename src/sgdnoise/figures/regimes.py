"""Regimes: the optimal learning rate against batch size with the fitted curve, and where noise gives way to curvature."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE

from sgdnoise import figures
from sgdnoise.analysis.curves import predict
from sgdnoise.analysis.estimate import interval
from sgdnoise.analysis.regimes import FAMILIES, UNDECIDED, Fit, estimates, fit_sweep, obstacle, summary
from sgdnoise.analysis.sweep import Sweep, quantiles, sweep
from sgdnoise.benchmarks import is_papers
from sgdnoise.claims.paper import scale_note
from sgdnoise.figures._axes import log2_axis, lr_axis, sizes_axis
from sgdnoise.figures._sweeps import epochs_of
from sgdnoise.study.optimizers import ordered

BESIDE = 1.12  # the paper's optimum is drawn by so much to the right of the batch size


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw a panel per metric, test above train, and optimizer (the learning rates of ICLR v5 fig. 1)."""
    cells = figures.without_swept(figures.cells_of(tables, "constant_epoch"))
    optimizers = ordered(set(cells["optimizer"]))
    metrics, looks = list(protocol["metrics"].items())[:2], figures.looks(optimizers)
    figure, grid = figures.panels(len(optimizers), len(metrics))
    points = tables["optimum"].query("mode == 'constant_epoch'")
    for row, (metric, direction) in zip(grid, metrics, strict=True):
        for axes, name in zip(row, optimizers, strict=True):
            optima = sweep(cells[cells["optimizer"] == name], metric, direction)
            fit = fit_sweep(optima)
            rule = points.query("metric == @metric and optimizer == @name")
            draw_panel(axes, optima, fit, rule, looks[name])
            text = summary(fit) if fit else obstacle(optima)
            axes.set_title("\n".join([figures.optimizer_label(name), *textwrap.wrap(text, 44)]))
        row[0].set_ylabel(
            f"{figures.rate_words(optimizers)} optimal for\n{figures.metric_label(metric, protocol, width=figures.SIDE)}"
        )
    if drawn := [axes for axes in grid.flat if np.isfinite(axes.yaxis.get_minpos())]:
        for which in ("xlim", "ylim"):
            limits = np.array([getattr(axes, f"get_{which}")() for axes in drawn])
            for axes in grid.flat:
                axes.set(**{which: (limits[:, 0].min(), limits[:, 1].max())})
    for axes in grid.flat:
        sizes_axis(axes, cells["batch_size"])
        lr_axis(axes, "y", protocol["lr_grid"], cells["lr"])
    beside = "the paper's rule" if is_papers(protocol) else "the learning rate with the best mean"
    caption = scale_note(points, "constant_epoch") + (
        "Points: the optimum by a curve through the sweep, bars: its 95 % interval, a triangle where more than 5 % lie beyond the learning "
        f"rates trained. Small and hollow, beside: {beside}. Line and band: the median of the curves of the model found, and 95 % of "
        "them; none where nothing was found. Grey: where the break is (95 %)."
    )
    caption += figures.rate_note(optimizers)
    figures.label(figure, f"{protocol['title']}\nregimes, {epochs_of(points)} at every batch size", caption)
    return figure


def draw_panel(axes: Axes, optima: Sweep, fit: Fit | None, rule: pd.DataFrame, look: dict[str, Any]) -> None:
    """Draw the optima of one optimizer, `rule` those of the paper's rule, and the model chosen, if one is."""
    if fit and fit.model != UNDECIDED:
        found = estimates(fit)
        x = np.linspace(fit.known.x[0], fit.known.x[-1], 30)
        if fit.model in FAMILIES["break"]:
            low, high = max(found["break_low"], 2 ** x[0]), min(found["break_high"], 2 ** x[-1])
            axes.axvspan(low, high, color="0.85", zorder=0)
            axes.axvline(found["break"], color="0.5", linewidth=1, zorder=1)
        curves = fit.curves[fit.model]
        low, middle, high = np.array([quantiles(column, curves.weight) for column in predict(curves, x).T]).T
        axes.plot(2**x, 2**middle, color=look["color"], label=fit.model)
        axes.fill_between(2**x, 2**low, 2**high, color=look["color"], alpha=0.2, linewidth=0)
        axes.legend(fontsize="small")
    draw_points(axes, optima, rule, look)
    log2_axis(axes, "x")
    log2_axis(axes, "y")
    axes.set_xlabel("batch size")


def draw_points(axes: Axes, optima: Sweep, rule: pd.DataFrame, look: dict[str, Any]) -> None:
    """Draw the estimated optima with their intervals, and the optima of the paper's rule, where there is one, beside them."""
    line = {"color": look["color"], "linestyle": "none", "marker": look["marker"]}
    beside = rule[rule["batch_size"].isin(optima.batch_sizes)].dropna(subset="lr").sort_values("batch_size")
    axes.plot(beside["batch_size"] * BESIDE, beside["lr"], markersize=3.5, markerfacecolor="white", **line)
    for size, known in zip(optima.batch_sizes, optima.known, strict=True):
        if known:
            (low, high), middle = 2.0 ** np.array(interval(known.log_lr, 0.95)), 2.0 ** np.median(known.log_lr)
            axes.errorbar(size, middle, [[middle - low], [high - middle]], capsize=2, elinewidth=1, markersize=5, **line)
            for end, place, marker in (("low", low, CARETDOWNBASE), ("high", high, CARETUPBASE)):
                if end in known.edge:
                    axes.plot(size, place, **line | {"marker": marker})
