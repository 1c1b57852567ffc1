"""Gather the optima of one optimizer over the batch sizes: by the estimates, and by the paper's rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sgdnoise.analysis.estimate import LEVEL, Estimate, estimate
from sgdnoise.analysis.optimum import select, sweeps
from sgdnoise.analysis.rates import is_settled
from sgdnoise.study.text import ALIKE


@dataclass(frozen=True)
class Sweep:
    """The optima of one optimizer over P batch sizes.

    By the paper's rule: `lr` (P,) is the learning rate selected, `edge` (P,) -1 at the low end of the window, +1 at the high end,
    else 0, and `num_runs` (P,) counts the runs there; where too few runs completed at every learning rate, `lr` is the lowest. `known`
    is what `estimate` says of each batch size, `windows` (P, 2) the log2 learning rates between which it was trained. `unread` says if
    batch sizes do not read the same in an epoch.
    """

    batch_sizes: np.ndarray
    lr: np.ndarray
    edge: np.ndarray
    num_runs: np.ndarray
    known: list[Estimate | None]
    windows: np.ndarray
    unread: str


def sweep(cells: pd.DataFrame, metric: str, direction: str) -> Sweep:
    """Find the optimum at every batch size.

    `cells` are the runs of one benchmark, optimizer and budget. Batch sizes with a single learning rate say nothing of the optimum
    and are left out; so are learning rates of which too many runs are missing, as in `optimum.select`.
    """
    cells = cells[is_settled(cells)]
    cells = cells[cells.groupby("batch_size")["lr"].transform("nunique") > 1]
    statistics = list(sweeps(cells, metric, direction, metric).values())
    lrs = [some["lr"].to_numpy() for some in statistics]
    best = [select(some, direction)["lr"] for some in statistics]
    place = [0 if np.isnan(lr) else int(np.searchsorted(some, lr)) for some, lr in zip(lrs, best, strict=True)]
    return Sweep(
        np.sort(cells["batch_size"].unique()).astype(int),
        np.array([some[at] for some, at in zip(lrs, place, strict=True)], float),
        np.array([(at == len(some) - 1) * 1 - (at == 0) * 1 for some, at in zip(lrs, place, strict=True)], int),
        np.array([some["num_runs"].iloc[at] for some, at in zip(statistics, place, strict=True)], int),
        [estimate(point, metric, direction, metric) for _, point in cells.groupby("batch_size")],
        np.log2([[some[0], some[-1]] for some in lrs]).reshape(-1, 2),
        unread(cells),
    )


def epoch_sizes(points: pd.DataFrame) -> pd.Series:
    """Return the examples that an epoch has at each row of a table of optima or runs.

    Of a text they are fewer where its streams do not end with a whole unrolled sequence.
    """
    return points["num_steps"] * points["batch_size"] / points["num_epochs"]


def unread(points: pd.DataFrame) -> str:
    """Say how many examples an epoch has at each batch size, if they are unlike; then batch sizes are not compared. Else "".

    `points` are optima or runs of one benchmark and epoch budget.
    """
    examples = epoch_sizes(points).groupby(points["batch_size"]).first()
    if not examples.max() > (1 + ALIKE) * examples.min():
        return ""
    listed = ", ".join(f"{number:.0f} at {size}" for size, number in examples.items())
    return f"an epoch has so many examples, as ends of the text are not read: {listed}"


def quantiles(values: np.ndarray, weight: np.ndarray) -> tuple[float, float, float]:
    """Return the lower end, median and upper end of the central LEVEL of weighted values.

    >>> quantiles(np.arange(101.0), np.ones(101))
    (2.0, 50.0, 98.0)
    """
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weight[order])
    tail = (1 - LEVEL) / 2
    where = np.searchsorted(mass, mass[-1] * np.array([tail, 0.5, 1 - tail]))
    low, middle, high = values[order][np.minimum(where, len(values) - 1)].tolist()
    return low, middle, high
