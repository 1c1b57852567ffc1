"""Noise or a regulariser: how much of the gap between a small and a large batch, at equal updates, each regulariser recovers.

A regulariser whose point reaches the line of the small batch does for the test metric what the noise of small batches does; one at the line
of the large batch does nothing. On the right, the metric at each coefficient: a best one has worse ones on either side.
"""

import math
import textwrap
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
NONE = "No best coefficient is known: that takes the optimizer without the regulariser at both batch sizes, and several seeds of each cell."


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw each regulariser at its best coefficient, and the sweeps of the coefficients, a small panel each."""
    table = with_colors(tables["gap"].assign(edge=tables["gap"]["edge"].astype(object).fillna("")))
    best = table[table["kind"] == "best"]
    metric = lower_is_better(next(iter(protocol["metrics"])), protocol)
    num_columns = max(1, min(COLUMNS, len(best)))
    num_rows = max(1, math.ceil(len(best) / num_columns))
    figure = Figure(figsize=(12, max(3.4, 1.5 * num_rows) + 1), layout="constrained")
    places = figure.add_gridspec(num_rows, 1 + num_columns, width_ratios=[1.7] + [1] * num_columns)
    values = figure.add_subplot(places[:, 0])
    for place, row in enumerate(best.iloc[::-1].to_dict("records")):
        mark(values, "h", place, row)
    values.set_yticks(range(len(best)), [name_of(row) for row in best.iloc[::-1].to_dict("records")])
    values.set(xlabel=metric, title="at the best coefficient", ylim=(-0.7, len(best) - 0.3))
    lines(values, "v", table)
    values.margins(x=0.1)
    if len(table):
        figure.legend(*values.get_legend_handles_labels(), fontsize="small", loc="outside right center")
    if best.empty:
        axes = figure.add_subplot(places[0, 1])
        axes.text(0.5, 0.5, textwrap.fill(NONE, 32), ha="center", va="center", fontsize="small")
        axes.axis("off")
    first: Axes | None = None
    for place, (arm, base) in enumerate(zip(best["arm"], best["base"], strict=True)):
        axes = figure.add_subplot(places[place // num_columns, 1 + place % num_columns], sharey=first)
        first = first or axes
        sweep(axes, arm, table[table["base"] == base])
        if place % num_columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(textwrap.fill(metric, 24), fontsize="small")  # half as high as other panels
        if place >= len(best) - num_columns:
            axes.set_xlabel("coefficient", fontsize="small")
    title = "equal updates"
    if len(table):
        title += f": {table['num_steps'].iloc[0]:,}, batch sizes {table['batch_size'].min()} and {table['batch_size'].max()}"
    figures.label(figure, f"{protocol['title']}\n{title}", CAPTION)
    return figure


def with_colors(table: pd.DataFrame) -> pd.DataFrame:
    """Add of each row the optimizer without a regulariser that it is compared with, `base`, and its colour: the base's if there are several."""
    base = table["arm"].where(table["kind"] == "small").ffill()  # whose own rows come first
    looks = figures.looks(set(base))
    color = table["kind"].map({"small": figures.LOOKS["sgd"]["color"], "large": figures.LOOKS["momentum"]["color"]}).fillna(COLOR)
    return table.assign(base=base, color=base.map(lambda name: looks[name]["color"]) if len(looks) > 1 else color)


def lower_is_better(metric: str, protocol: dict[str, Any]) -> str:
    """Name what is drawn of the test metric: 1 - its value if it is better the larger, an accuracy's error."""
    label = figures.metric_label(metric, protocol)
    if protocol["metrics"][metric] == "min":
        return label
    return label.replace("accuracy", "error") if "accuracy" in label else f"1 - {label}"


def sweep(axes: Axes, arm: str, table: pd.DataFrame) -> None:
    """Draw the metric at each coefficient of a regulariser."""
    some = table[(table["arm"] == arm) & (table["kind"] == "coefficient") & (table["coefficient"] > 0)]
    axes.plot(some["coefficient"], some["value"], color=some["color"].iloc[0], linewidth=1)
    for row in some.to_dict("records"):
        mark(axes, "v", row["coefficient"], row)
    axes.set_xscale("log")
    axes.set_title(arm, fontsize="small")
    lines(axes, "h", table)
    axes.margins(0.15)


def lines(axes: Axes, way: str, table: pd.DataFrame) -> None:
    """Draw the small and the large batch without a regulariser, vertical or horizontal, with their intervals."""
    for row in table[table["kind"].isin(["small", "large"])].to_dict("records"):
        look = {"color": row["color"], "zorder": 0}
        dash = "-" if row["kind"] == "small" else "--"
        line = {"linestyle": dash, "label": f"{row['arm']} at batch size {row['batch_size']}"}
        getattr(axes, f"ax{way}line")(row["value"], **line, **look)
        getattr(axes, f"ax{way}span")(row["value_low"], row["value_high"], alpha=0.15, linewidth=0, **look)


def mark(axes: Axes, way: str, at: float, row: Mapping[Any, Any]) -> None:
    """Draw a value with its interval, across or upwards; hollow where something is not enclosed."""
    color = row["color"]
    getattr(axes, f"{way}lines")(at, row["value_low"], row["value_high"], color=color, linewidth=1.5)
    x, y = (row["value"], at) if way == "h" else (at, row["value"])
    face = "white" if row["edge"] else color
    axes.plot(x, y, marker="o", markersize=6 if way == "h" else 4, markerfacecolor=face, markeredgecolor=color, linestyle="none")


def name_of(row: Mapping[Any, Any]) -> str:
    """Name a regularised optimizer, with its share of the gap."""
    if pd.isna(row["share"]):
        return str(row["arm"])
    return f"{row['arm']}\n{row['share']:.0%} [{row['share_low']:.0%}, {row['share_high']:.0%}]"
