"""The paper's own points, in the shape of optimum.csv.

`paper.csv` has a row per benchmark, budget mode, point of the grid and metric, with the table or figure it is from. Means that
are `printed` are exact; `digitised` ones were read off a figure (accuracy within 0.0003, losses within 0.002; learning rates
lie on the grid and are exact). A missing mean was hidden or off the axis. Where a point has no standard deviation of its own
(`s.d. typical`; train losses always, but in tables 1, 4 and 5) it is the middle of the range stated for ICLR v5 fig. 1, or that of
the network's own table; ImageNet has none, as each cell was run once. Most error bars of learning rates are not stated.
"""

from __future__ import annotations

import functools
from importlib.resources import files

import pandas as pd

from sgdnoise.analysis.sweep import epoch_sizes

# What a budget mode holds fixed: two studies of a benchmark may be compared where it is the same.
FIXED = {"constant_epoch": "budget", "constant_step": "num_steps", "unlimited": "batch_size"}


@functools.cache
def paper_table() -> pd.DataFrame:
    """Read the paper's points, for all callers one table; error bars of learning rates that are not stated have length 0."""
    with files("sgdnoise.claims").joinpath("paper.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table.fillna({"lr_low": table["lr"], "lr_high": table["lr"]})


@functools.cache
def paper_budget(benchmark: str, mode: str) -> str | int:
    """Return what the paper held fixed in a budget mode of a benchmark."""
    table = paper_table()
    return table.loc[(table["benchmark"] == benchmark) & (table["mode"] == mode), FIXED[mode]].iloc[0]


def same_budget(points: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `points` whose benchmark, budget mode and budget also occur in `others`.

    Both have the columns of optimum.csv. Text is read in streams and data sets may be cut, so an epoch must also have as many
    examples, within 5 %.
    """
    kept = []
    for (benchmark, mode), some in points.groupby(["benchmark", "mode"], sort=False):
        fixed, known = FIXED[str(mode)], others[(others["benchmark"] == benchmark) & (others["mode"] == mode)]
        if len(known) and abs(epoch_sizes(some).median() / epoch_sizes(known).median() - 1) < 0.05:
            kept.append(some[some[fixed].isin(known[fixed])])
    return pd.concat(kept) if kept else points.head(0)


def scale(points: pd.DataFrame, mode: str) -> str:
    """Say what a budget mode trains; an example of a text is one unrolled sequence."""
    of = f"{epoch_sizes(points).median():,.0f} examples"
    if mode == "constant_step":
        return f"{points['num_steps'].iloc[0]:,} updates on {of}"
    epochs = sorted({round(points["num_epochs"].min()), round(points["num_epochs"].max())})
    return f"{' to '.join(map(str, epochs))} epochs of {of}"


def scale_note(optimum: pd.DataFrame, mode: str) -> str:
    """Say how the budget of a study of one of the paper's benchmarks differs from the paper's; nothing if it does not."""
    points = optimum[optimum["mode"] == mode]
    theirs = paper_table().query("mode == @mode")
    theirs = theirs[theirs["benchmark"].isin(points["benchmark"])]
    if theirs.empty or len(same_budget(points, theirs)):
        return ""
    size, paper_size = ((table["num_steps"] * table["batch_size"]).median() for table in (points, theirs))
    return f"{'Reduced' if size < paper_size else 'Other'} scale: {scale(points, mode)}; the paper has {scale(theirs, mode)}. "
