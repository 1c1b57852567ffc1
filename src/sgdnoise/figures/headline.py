"""Equal updates, the paper beside this study: whether a larger batch, which trains to a lower loss, generalises worse.

It does where the train metric falls to the right and the test metric gets worse. The scales differ; compare the shapes.
"""

from typing import Any

from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.claims.paper import paper_table, scale
from sgdnoise.figures._axes import sizes_axis


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test metric and train metric against batch size, on the left the paper's (ICLR v5 tables 1, 2, 4, 5)."""
    test_metric, train_metric = list(protocol["metrics"])[:2]
    paper = paper_table().query("mode == 'constant_step'").assign(num_missing=0)
    paper = paper[paper["benchmark"] == protocol.get("sibling_of", benchmark)]
    points = tables["optimum"].query("mode == 'constant_step' and metric == @test_metric")
    points = points[points["optimizer"].isin(paper["optimizer"])]  # one alone: momentum
    figure, grid = figures.panels(2, 2)
    for (test, train), some, whose in zip(grid.T, (paper, points), ("the paper", "here"), strict=True):
        for name, look in figures.looks(set(some["optimizer"])).items():
            line, label = some[some["optimizer"] == name], figures.optimizer_label(name)
            figures.plot_points(test, line, "batch_size", "mean", figures.metric_spread, look, label, alone=True)
            figures.plot_points(train, line, "batch_size", "train_mean", figures.train_spread, look, label, alone=True)
        test.set_title(f"{whose}: {scale(some, 'constant_step')}")
        for axes in (test, train):
            sizes_axis(axes, some["batch_size"])
            axes.set_xlabel("batch size")
    for axes, metric in zip(grid[:, 0], (test_metric, train_metric), strict=True):
        axes.set_ylabel(figures.metric_label(metric, protocol, width=figures.SIDE))
    figures.legend(figure, grid[0, 1])
    runs = figures.cells_of(tables, "constant_step")
    caption = f"Left: {paper['source'].iloc[0]}, mean and s.d. of the best {paper['num_kept'].iloc[0]} runs; right: this study. Axes differ."
    caption += f" {figures.runs_caption(runs[runs['optimizer'].isin(points['optimizer'])])} {figures.SELECTION} {figures.HOLLOW}"
    caption += " Whether a difference is more than noise the claims say, not these bars."
    title = f"{protocol['title']}\nequal updates, at the learning rate that is best on the test set"
    figures.label(figure, title, caption)
    return figure
