"""A free final learning rate: which initial and which final rate are best, the longer one trains, if both are chosen.

Read it beside the unlimited budget, where the final rate is 2^-10 of the initial one (the dotted line): if the initial rate that is
best for the test metric still does not fall with the budget, that was no artefact of the schedule.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.figures._axes import lr_axis, plain_log_axis, swept_axis
from sgdnoise.study.schedule import HALVINGS

GOALS = (figures.LOOKS["sgd"], figures.LOOKS["momentum"])  # of the test and the train metric, as in `unlimited`
STANDARD = "1 / 1,024 of the initial one, for the test metric"
RATES = {"lr": "optimal initial learning rate", "final_lr": "optimal final learning rate"}


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw best test metric, best train metric and both optimal learning rates against epochs (ICLR v5 App. G)."""
    points, metrics = tables["two_rates"], list(protocol["metrics"])[:2]
    figure, grid = figures.panels(2, 2)
    values, rates = grid
    for axes, metric, look in zip(values, metrics, GOALS, strict=True):
        some = points[points["metric"] == metric]
        title = figures.metric_label(metric, protocol, "best ")
        figures.plot_points(axes, some, "num_epochs", "mean", figures.metric_spread, look, title, alone=True)
        axes.set_title(title)
        for panel, rate in zip(rates, RATES, strict=True):
            plot_rate(panel, some, rate, look, figures.metric_label(metric, protocol, "for "))
    test = points[points["metric"] == metrics[0]].sort_values("num_epochs")
    rates[1].plot(test["num_epochs"], test["lr"] * 2.0**-HALVINGS, color="0.6", linestyle=":", label=STANDARD)
    plain_log_axis(values[1])
    for axes, (rate, title) in zip(rates, RATES.items(), strict=True):
        axes.margins(y=0.3)
        lr_axis(axes, "y", protocol["lr_grid"], points[rate])
        axes.set_title(title)
    rates[0].legend(fontsize="small")
    dotted = [line for line in rates[1].get_lines() if line.get_label() == STANDARD]  # the rest is in the panel before
    rates[1].legend(handles=dotted, fontsize="small")
    for axes in grid.flat:
        swept_axis(axes, points["num_epochs"])
        axes.set_xlabel("epochs")
    one = points.iloc[0]
    title = f"both learning rates free: batch size {one['batch_size']}, {figures.optimizer_label(one['optimizer'])}"
    figures.label(figure, f"{protocol['title']}\n{title}", caption(points, protocol))
    return figure


def plot_rate(axes: Axes, points: pd.DataFrame, rate: str, look: dict[str, Any], name: str) -> None:
    """Draw an optimal rate with all rates within one s.d. of the best pair."""

    def spread(some: pd.DataFrame) -> list[pd.Series]:
        return [some[rate] - some[f"{rate}_low"], some[f"{rate}_high"] - some[rate]]

    figures.plot_points(axes, points, "num_epochs", rate, spread, look, name)


def caption(points: pd.DataFrame, protocol: dict[str, Any]) -> str:
    """Say what the points are."""
    num, pairs = int((points["num_runs"] / points["num_lrs"]).max()), int(points["num_lrs"].max())
    missing = int(points.drop_duplicates("num_epochs")["num_missing"].sum())
    note = f" Not finished: {missing} runs are missing; points that lack some are hollow." if missing else ""
    return (
        f"Points: mean over the best {int(points['keep'].max())} of {num} runs at the best of up to {pairs} pairs of rates; bars:"
        f" one s.d., or the rates of all pairs within one s.d. {figures.selection(protocol)} {figures.HOLLOW}{note}"
    )
