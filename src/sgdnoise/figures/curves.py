"""Learning curves: what happens to the test and the train metric before the learning rate falls, and after.

If the test metric gets worse already while the rate is constant, it is a smaller rate that generalises better: it overfits later.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sgdnoise import figures

LOOKS = [*figures.LOOKS.values(), figures.OTHER_LOOK]  # of the learning rates, from the lowest


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw test and train metric of chosen learning rates against the epochs trained (ICLR v5 fig. 9d)."""
    runs, metrics = tables["curves"], list(protocol["metrics"].items())[:2]
    figure, (panels,) = figures.panels(2, height=3.2)
    epochs = runs["num_epochs"].max()
    kept = {lr: best(runs[runs["lr"] == lr], *metrics[0]) for lr in sorted(runs["lr"].unique())}
    for axes, (metric, _) in zip(panels, metrics, strict=True):
        for (lr, some), look in zip(kept.items(), LOOKS, strict=False):
            at = some.groupby("num_epochs")[metric]
            spread = at.std().fillna(0)
            axes.errorbar(at.mean().index, at.mean(), spread, capsize=2, markersize=4, label=f"learning rate {lr:.4g}", **look)
        axes.axvline(epochs / 2, color="0.6", linestyle=":", label="the rate begins to fall")
        axes.set(title=figures.metric_label(metric, protocol), xlabel="epochs", xlim=(0, None))
        figures.plain_log_axis(axes)
    panels[0].legend(fontsize="small")
    one = runs.iloc[0]
    optimizer = figures.optimizer_label(one["optimizer"])
    title = f"learning curves: batch size {one['batch_size']}, {epochs:g} epochs, {optimizer}"
    num = runs.groupby("lr")["seed"].nunique().max()
    caption = f"Points: mean over the best {one['keep']} of {num} runs by the test metric at the end; bars: one s.d. "
    few = [f"{lr:.4g}" for lr, some in kept.items() if some["seed"].nunique() < one["keep"]]
    caption += f"At {', '.join(few)} fewer were completed. " * bool(few)
    rates = "Effective learning rates." if not (note := figures.rate_note([one["optimizer"]])) else note.strip()
    figures.label(figure, f"{protocol['title']}\n{title}", caption + rates)
    return figure


def best(runs: pd.DataFrame, metric: str, direction: str) -> pd.DataFrame:
    """Return the curves of the best `keep` runs of a learning rate by a metric at the end; diverged ones never count."""
    ends = runs[runs["num_epochs"] == runs["num_epochs"].max()].dropna(subset=metric)
    ends = ends.sort_values(metric, ascending=direction == "min", kind="stable")
    return runs[runs["seed"].isin(ends["seed"].head(runs["keep"].iloc[0]))]
