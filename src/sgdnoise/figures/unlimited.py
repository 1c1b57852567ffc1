"""Unlimited budget: which learning rate trains best, and which generalises best, the longer one trains.

The rate that is best for the train loss falls with the budget. If the rate that is best for the test metric does not, a large
learning rate generalises better.
"""

from typing import Any

from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.claims.paper import paper_table, same_budget, scale_note
from sgdnoise.figures._axes import lr_axis, plain_log_axis, swept_axis
from sgdnoise.study.optimizers import ordered

# How the metric by which the learning rate is chosen, test or train, looks in the third panel.
GOALS = (figures.LOOKS["sgd"], figures.LOOKS["momentum"])


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw best test metric, best train metric and both optimal learning rates against epochs (ICLR v5 fig. 2)."""
    metrics = list(protocol["metrics"])[:2]
    points = tables["optimum"].query("mode == 'unlimited'")
    paper = same_budget(paper_table(), points)
    figure, ((test, train, lr),) = figures.panels(3, height=3.1)  # with room for the names below
    optimizers = ordered(set(points["optimizer"]))
    estimates, looks = "", figures.looks(optimizers)
    for name in optimizers:
        label, alone = figures.optimizer_label(name), len(optimizers) == 1
        suffix = "" if alone else f", {label}"
        for axes, metric, look in zip((test, train), metrics, GOALS, strict=True):
            some = points.query("metric == @metric and optimizer == @name")
            panel_look = look if alone else looks[name]
            look = look | {"color": panel_look["color"]}
            figures.plot_points(axes, some, "num_epochs", "mean", figures.metric_spread, panel_look, label, alone)
            text = f"{figures.metric_label(metric, protocol, 'best ')}{suffix}"
            figures.plot_points(lr, some, "num_epochs", "lr", figures.lr_spread, look, text)
            estimates = figures.plot_estimates(lr, some, "num_epochs", look) or estimates
            papers = paper.query("metric == @metric and optimizer == @name")
            figures.plot_paper(axes, papers, "num_epochs", "mean", panel_look["linestyle"])
            figures.plot_paper(lr, papers, "num_epochs", "lr", look["linestyle"])
    figures.draw_bound(test, points)
    lr.margins(y=0.3)  # room for the names
    lr_axis(lr, "y", protocol["lr_grid"], points["lr"])
    titles = [figures.metric_label(metric, protocol, "best ") for metric in metrics] + [
        f"optimal {figures.rate_words(optimizers)}"
    ]
    for axes, title in zip((test, train, lr), titles, strict=True):
        swept_axis(axes, [*points["num_epochs"], *paper["num_epochs"]])
        axes.set(title=title, xlabel="epochs")
    plain_log_axis(train)
    lr.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.26), frameon=False)  # in it they would hide points
    if points["bound"].notna().any() or len(optimizers) > 1 or len(paper):
        figures.legend(figure, test)
    batch_size = points["batch_size"].iloc[0]
    budget = f"unlimited budget: batch size {batch_size}, {', '.join(map(figures.optimizer_label, optimizers))}"
    caption = scale_note(points, "unlimited")
    caption += f"{figures.runs_caption(figures.cells_of(tables, 'unlimited'))} {figures.selection(protocol)} {figures.HOLLOW}{estimates}{figures.rate_note(optimizers)}"
    if len(paper):
        caption += f" {figures.PAPER}"
    figures.label(figure, f"{protocol['title']}\n{budget}", caption)
    for _ in range(2):  # panels that are lower for the names have other ticks, for which there has to be room
        figure.draw_without_rendering()
    return figure
