"""Noise or a regulariser: how much of the gap between a small and a large batch, at equal updates, each regulariser recovers.

A regulariser whose point reaches the line of the small batch does for the test metric what the noise of small batches does; one at the line
of the large batch does nothing. On the right, the metric at each coefficient: a best one has worse ones on either side.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures

COLUMNS = 2
COLOR = "#3f3f3f"
CAPTION = (
    "Points: the test metric at the optimal learning rate (left: at the best coefficient), estimated by a curve through each sweep; bars and bands:"
    " 95 % intervals. Shares of the gap [95 % interval] stand beside the names where the gap itself is decided. Hollow: a coefficient or a"
    " learning rate that the sweep does not enclose. An accuracy counts as its error."
)


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw each regulariser at its best coefficient, and the sweeps of the coefficients, a small panel each."""
    table = tables["gap"].assign(edge=tables["gap"]["edge"].astype(object).fillna(""))
    best = table[table["kind"] == "best"]
    metric = figures.metric_label(next(iter(protocol["metrics"])), protocol).replace("accuracy", "error")
    num_columns = min(COLUMNS, len(best))
    num_rows = math.ceil(len(best) / num_columns)
    figure = Figure(figsize=(12, max(3.4, 1.5 * num_rows) + 1), layout="constrained")
    places = figure.add_gridspec(num_rows, 1 + num_columns, width_ratios=[1.7] + [1] * num_columns)
    values = figure.add_subplot(places[:, 0])
    for place, row in enumerate(best.iloc[::-1].to_dict("records")):
        mark(values, "h", place, row)
    values.set_yticks(range(len(best)), [name_of(row) for row in best.iloc[::-1].to_dict("records")])
    values.set(xlabel=metric, title="at the best coefficient", ylim=(-0.7, len(best) - 0.3))
    lines(values, "v", table)
    values.margins(x=0.1)
    figure.legend(*values.get_legend_handles_labels(), fontsize="small", loc="outside right center")
    first: Axes | None = None
    for place, arm in enumerate(best["arm"]):
        axes = figure.add_subplot(places[place // num_columns, 1 + place % num_columns], sharey=first)
        first = first or axes
        sweep(axes, arm, table)
        if place % num_columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(metric, fontsize="small")
        if place >= len(best) - num_columns:
            axes.set_xlabel("coefficient", fontsize="small")
    title = (
        f"equal updates: {table['num_steps'].iloc[0]:,}, batch sizes {table['batch_size'].min()} and {table['batch_size'].max()}"
    )
    figures.label(figure, f"{protocol['title']}\n{title}", CAPTION)
    return figure


def sweep(axes: Axes, arm: str, table: pd.DataFrame) -> None:
    """Draw the metric at each coefficient of a regulariser."""
    some = table[(table["arm"] == arm) & (table["kind"] == "coefficient") & (table["coefficient"] > 0)]
    axes.plot(some["coefficient"], some["value"], color=COLOR, linewidth=1)
    for row in some.to_dict("records"):
        mark(axes, "v", row["coefficient"], row)
    axes.set_xscale("log")
    axes.set_title(arm, fontsize="small")
    lines(axes, "h", table)
    axes.margins(0.15)


def lines(axes: Axes, way: str, table: pd.DataFrame) -> None:
    """Draw the small and the large batch without a regulariser, vertical or horizontal, with their intervals."""
    for row in table[table["kind"].isin(["small", "large"])].to_dict("records"):
        small = row["kind"] == "small"
        look = {"color": figures.LOOKS["sgd" if small else "momentum"]["color"], "zorder": 0}
        line = {"linestyle": "-" if small else "--", "label": f"{row['arm']} at batch size {row['batch_size']}"}
        getattr(axes, f"ax{way}line")(row["value"], **line, **look)
        getattr(axes, f"ax{way}span")(row["value_low"], row["value_high"], alpha=0.15, linewidth=0, **look)


def mark(axes: Axes, way: str, at: float, row: Mapping[Any, Any]) -> None:
    """Draw a value with its interval, across or upwards; hollow where something is not enclosed."""
    getattr(axes, f"{way}lines")(at, row["value_low"], row["value_high"], color=COLOR, linewidth=1.5)
    x, y = (row["value"], at) if way == "h" else (at, row["value"])
    face = "white" if row["edge"] else COLOR
    axes.plot(x, y, marker="o", markersize=6 if way == "h" else 4, markerfacecolor=face, markeredgecolor=COLOR, linestyle="none")


def name_of(row: Mapping[Any, Any]) -> str:
    """Name a regularised optimizer, with its share of the gap."""
    if pd.isna(row["share"]):
        return str(row["arm"])
    return f"{row['arm']}\n{row['share']:.0%} [{row['share_low']:.0%}, {row['share_high']:.0%}]"
