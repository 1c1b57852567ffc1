"""Learning curves: what happens to the test and the train metric before the learning rate falls, and after.

If the test metric gets worse already while the rate is constant, it is a smaller rate that generalises better: it overfits later.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.figures._axes import plain_log_axis

LOOKS = figures.LINES  # of the learning rates, from the lowest


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test and train metric of chosen learning rates against the epochs trained, a row per batch size (ICLR v5 fig. 9d)."""
    runs, metrics = tables["curves"], list(protocol["metrics"].items())[:2]
    sizes, one = sorted(runs["batch_size"].unique()), runs.iloc[0]
    figure, grid = figures.panels(2, len(sizes), height=3.2)
    epochs = runs["num_epochs"].max()
    few: list[str] = []
    for size, panels in zip(sizes, grid, strict=True):
        own = runs[runs["batch_size"] == size]
        kept = {lr: best(own[own["lr"] == lr], *metrics[0]) for lr in sorted(own["lr"].unique())}
        kept = about_the_best(kept, *metrics[0])
        if lacking := [f"{lr:.4g}" for lr, some in kept.items() if some["seed"].nunique() < one["keep"]]:
            few.append(", ".join(lacking) + f" (batch size {size})" * (len(sizes) > 1))
        for axes, (metric, _) in zip(panels, metrics, strict=True):
            for (lr, some), look in zip(kept.items(), LOOKS, strict=False):
                at = some.groupby("num_epochs")[metric]
                spread = at.std().fillna(0)
                axes.errorbar(
                    at.mean().index, at.mean(), spread, capsize=2, markersize=4, label=f"learning rate {lr:.4g}", **look
                )
            if one["optimizer"] in figures.PAPERS:
                axes.axvline(epochs / 2, color="0.6", linestyle=":", label="the rate begins to fall")
            of_size = f"batch size {size}: " * (len(sizes) > 1)
            axes.set(title=figures.metric_label(metric, protocol, of_size), xlabel="epochs", xlim=(0, None))
            plain_log_axis(axes)
        panels[0].legend(fontsize="small")
    optimizer = figures.optimizer_label(one["optimizer"])
    title = f"learning curves: batch size {' and '.join(map(str, sizes))}, {epochs:g} epochs, {optimizer}"
    num = runs.groupby("lr")["seed"].nunique().max()
    caption = f"Points: mean over the best {one['keep']} of {num} runs by the test metric at the end; bars: one s.d. "
    caption += f"At {', '.join(few)} fewer were completed. " * bool(few)
    rates = "Effective learning rates." if not (note := figures.rate_note([one["optimizer"]])) else note.strip()
    figures.label(figure, f"{protocol['title']}\n{title}", caption + rates)
    return figure


def about_the_best(kept: dict[float, pd.DataFrame], metric: str, direction: str) -> dict[float, pd.DataFrame]:
    """Return the curves of at most as many learning rates as there are looks: those about the best by a metric at the end."""
    ends = {lr: some[some["num_epochs"] == some["num_epochs"].max()][metric].mean() for lr, some in kept.items() if len(some)}
    if len(kept) <= len(LOOKS) or not ends:
        return dict(list(kept.items())[: len(LOOKS)])
    middle = (max if direction == "max" else min)(ends, key=lambda lr: ends[lr])
    first = min(max(0, list(kept).index(middle) - len(LOOKS) // 2), len(kept) - len(LOOKS))
    return dict(list(kept.items())[first : first + len(LOOKS)])


def best(runs: pd.DataFrame, metric: str, direction: str) -> pd.DataFrame:
    """Return the curves of the best `keep` runs of a learning rate by a metric at the end; diverged ones never count."""
    ends = runs[runs["num_epochs"] == runs["num_epochs"].max()].dropna(subset=metric)
    ends = ends.sort_values(metric, ascending=direction == "min", kind="stable")
    return runs[runs["seed"].isin(ends["seed"].head(runs["keep"].iloc[0]))]
