"""Networks compared at one batch size: which part of what was changed makes the difference."""

from typing import Any

from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.figures._axes import lr_axis

LOOK = figures.LOOKS["sgd"] | {"linestyle": "none"}


def draw(tables: figures.Tables, benchmark: str | None, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test metric, train metric and optimal learning rate of several benchmarks, a line each (SkipInit v0 table 1)."""
    chosen, optimizer, batch_size = (style["ablation"][key] for key in ("benchmarks", "optimizer", "batch_size"))
    points = tables["optimum"].query("mode == 'constant_epoch' and optimizer == @optimizer and batch_size == @batch_size")
    metric, train_metric = points[points["benchmark"].isin(chosen)]["metric"].unique()[:2]
    rows = points[points["metric"] == metric].set_index("benchmark").loc[list(chosen)]
    figure, (panels,) = figures.panels(3, height=0.45 * len(chosen) + 0.8)
    places = range(len(rows))
    for axes, value, spread in (
        (panels[0], rows["mean"], figures.metric_spread(rows)),
        (panels[1], rows["train_mean"], figures.train_spread(rows)),
        (panels[2], rows["lr"], figures.lr_spread(rows)),
    ):
        axes.errorbar(value, places, xerr=spread, capsize=2, elinewidth=1, markersize=5, **LOOK)
        hollow = (rows["at_edge"] | (rows["num_missing"] > 0)).to_numpy(bool)
        axes.plot(
            value[hollow],
            [place for place, one in zip(places, hollow, strict=True) if one],
            "o",
            mfc="white",
            markersize=5,
            zorder=5,
            color=LOOK["color"],
        )
        axes.set(yticks=places, yticklabels=[], ylim=(len(rows) - 0.5, -0.5))
    panels[0].set_yticklabels([f"{name}\n{figures.literal(words)}" if words else name for name, words in chosen.items()])
    lr_axis(panels[2], "x", {"anchor": min([1.0, *rows["lr"].dropna()])}, rows["lr"])
    panels[0].set_title(figures.metric_label(metric, {}))
    panels[1].set_title(f"{figures.metric_label(train_metric, {})}\nat the learning rate on the right")
    panels[2].set_title(f"optimal {figures.rate_words([optimizer])}")
    runs = figures.cells_of(tables, "constant_epoch").query("optimizer == @optimizer and batch_size == @batch_size")
    caption = f"{figures.runs_caption(runs[runs['benchmark'].isin(chosen)])} {figures.SELECTION} {figures.HOLLOW}{figures.rate_note([optimizer])}"
    title = (
        f"networks compared: batch size {batch_size}, {rows['num_epochs'].iloc[0]:g} epochs, {figures.optimizer_label(optimizer)}"
    )
    figures.label(figure, title, caption)
    return figure
