"""Noise or a regulariser: how much of the gap between a small and a large batch, at equal updates, each regulariser recovers.

A regulariser whose point reaches the line of the small batch does for the test metric what the noise of small batches does; one at the line
of the large batch does nothing. On the right, the metric at each coefficient: a best one has worse ones on either side.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgdnoise import figures

CAPTION = (
    "Points: the test metric at the optimal learning rate (left: at the best coefficient), estimated by a curve through each sweep; bars and bands:"
    " 95 % intervals. Shares of the gap [95 % interval] stand beside the names where the gap itself is decided. Hollow: a coefficient or a"
    " learning rate that the sweep does not enclose. An accuracy counts as its error."
)


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw each regulariser at its best coefficient, and the sweeps of the coefficients."""
    table = tables["gap"]
    best = table[table["kind"] == "best"].iloc[::-1]
    metric = figures.metric_label(next(iter(protocol["metrics"])), protocol)
    metric = metric.replace("accuracy", "error")
    figure, ((values, sweeps),) = figures.panels(2, 1, height=max(2.7, 0.42 * len(best) + 1.2))
    figure.set_figwidth(11)
    for place, row in enumerate(best.to_dict("records")):
        mark(values, place, row)
    values.set_yticks(range(len(best)), [name_of(row) for row in best.to_dict("records")])
    values.set(xlabel=metric, title="at the best coefficient", ylim=(-0.7, len(best) - 0.3))
    looks = dict(zip(best["arm"][::-1], figures.cycle_looks(), strict=False))
    for arm, look in looks.items():
        some = table[(table["arm"] == arm) & (table["kind"] == "coefficient") & (table["coefficient"] > 0)]
        spread = [some["value"] - some["value_low"], some["value_high"] - some["value"]]
        moved = some["coefficient"] * figures.sideways(look)
        sweeps.errorbar(moved, some["value"], yerr=spread, capsize=2, elinewidth=1, markersize=5, label=arm, **look)
    sweeps.set_xscale("log")
    sweeps.set(xlabel="coefficient", ylabel=metric, title="at each coefficient")
    for row in table[table["kind"].isin(["small", "large"])].to_dict("records"):
        look = {"color": figures.LOOKS["sgd" if row["kind"] == "small" else "momentum"]["color"], "zorder": 0}
        line = {"linestyle": "-" if row["kind"] == "small" else "--"}
        values.axvline(row["value"], **line, **look)
        values.axvspan(row["value_low"], row["value_high"], alpha=0.15, linewidth=0, **look)
        sweeps.axhline(row["value"], label=f"{row['arm']} at batch size {row['batch_size']}", **line, **look)
        sweeps.axhspan(row["value_low"], row["value_high"], alpha=0.15, linewidth=0, **look)
    for axes in (values, sweeps):
        axes.margins(0.1)
    sweeps.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1))
    first = table.iloc[0]
    title = f"equal updates: {first['num_steps']:,}, batch sizes {table['batch_size'].min()} and {table['batch_size'].max()}"
    figures.label(figure, f"{protocol['title']}\n{title}", CAPTION)
    return figure


def mark(axes: Axes, y: float, row: Mapping[Any, Any]) -> None:
    """Draw a value with its interval; hollow where something is not enclosed."""
    color = "#3f3f3f"
    axes.hlines(y, row["value_low"], row["value_high"], color=color, linewidth=1.5)
    face = "white" if row["edge"] else color
    axes.plot(row["value"], y, marker="o", markersize=6, markerfacecolor=face, markeredgecolor=color, linestyle="none")


def name_of(row: Mapping[Any, Any]) -> str:
    """Name a regularised optimizer, with its share of the gap."""
    if pd.isna(row["share"]):
        return str(row["arm"])
    return f"{row['arm']}\n{row['share']:.0%} [{row['share_low']:.0%}, {row['share_high']:.0%}]"
