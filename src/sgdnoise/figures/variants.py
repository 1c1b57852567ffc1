"""Networks compared: how far each can be trained with large batches, and at which learning rate.

Where a network stops being independent of the batch size earlier than another, its largest usable learning rate is lower.
"""

from typing import Any

from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.figures._axes import lr_axis, sizes_axis
from sgdnoise.figures._sweeps import slope_guide

LOOKS = figures.LINES


def draw(tables: figures.Tables, benchmark: str | None, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test metric, train metric and optimal learning rate of several benchmarks against batch size (SkipInit v0 fig. 1)."""
    chosen, optimizer = style["variants"]["benchmarks"], style["variants"]["optimizer"]
    points = tables["optimum"].query("mode == 'constant_epoch' and optimizer == @optimizer")
    found = {name: points[points["benchmark"] == name] for name in chosen}
    metrics = list(next(iter(found.values()))["metric"].unique())
    figure, ((test, train, lr),) = figures.panels(3, height=3)
    for (name, some), look in zip(found.items(), LOOKS, strict=False):
        some = some[some["metric"] == metrics[0]]
        figures.plot_points(test, some, "batch_size", "mean", figures.metric_spread, look, name, len(found) == 1)
        figures.plot_points(train, some, "batch_size", "train_mean", figures.train_spread, look, name, len(found) == 1)
        figures.plot_points(lr, some, "batch_size", "lr", figures.lr_spread, look, name, len(found) == 1)
    all_points = points[points["benchmark"].isin(found) & (points["metric"] == metrics[0])]
    slope_guide(lr, all_points, all_points)
    lr_axis(lr, "y", {"anchor": min([1.0, *all_points["lr"].dropna()])}, all_points["lr"])
    labels = [figures.metric_label(metric, {}) for metric in metrics[:2]]
    titles = [
        labels[0],
        f"{labels[1]}\nat the learning rate on the right",
        f"{figures.rate_words([optimizer])} optimal for\n{labels[0]}",
    ]
    for axes, title in zip((test, train, lr), titles, strict=True):
        sizes_axis(axes, all_points["batch_size"])
        axes.set(title=title, xlabel="batch size")
    figures.legend(figure, test)
    if guide := [line for line in lr.get_lines() if line.get_linestyle() == ":"]:
        lr.legend(handles=guide, fontsize="small")
    runs = figures.cells_of(tables, "constant_epoch")
    runs = runs[runs["benchmark"].isin(found) & (runs["optimizer"] == optimizer)]
    epochs = " or ".join(f"{value:g}" for value in sorted(set(all_points["num_epochs"].round())))
    caption = f"{figures.runs_caption(runs)} {figures.SELECTION} {figures.HOLLOW}{figures.rate_note([optimizer])}"
    settings = [f"{name} has {words}." for name, words in chosen.items() if words]
    figures.label(
        figure, f"networks compared: {epochs} epochs, {figures.optimizer_label(optimizer)}", " ".join([caption, *settings])
    )
    return figure
