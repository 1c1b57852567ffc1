"""Gather the optima of one optimizer over the batch sizes: by the estimates, and by the paper's rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

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
    batch sizes read unlike shares of a text.
    """

    batch_sizes: np.ndarray
    lr: np.ndarray
    edge: np.ndarray
    num_runs: np.ndarray
    known: list[Estimate | None]
    windows: np.ndarray
    unread: str


def sweep(cells: pd.DataFrame, metric: str, direction: str, protocol: Mapping[str, Any] = MappingProxyType({})) -> Sweep:
    """Find the optimum at every batch size.

    `cells` are the runs of one benchmark, of which `protocol` has the `unroll` of a text, optimizer and budget. Batch sizes with a single learning rate say nothing of the
    optimum and are left out; so are learning rates of which too many runs are missing, as in `optimum.select`.
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
        unread(cells, protocol),
    )


def unread(cells: pd.DataFrame, protocol: Mapping[str, Any]) -> str:
    """Say which shares of a text batch sizes read in an epoch, if they are unlike; then they are not compared. Else "".

    `cells` are runs of one benchmark and constant epoch budget.
    """
    if "unroll" not in protocol:
        return ""
    points = cells.drop_duplicates("batch_size").sort_values("batch_size")
    read = points["num_steps"] * points["batch_size"] * protocol["unroll"] / points["num_epochs"]
    if not read.max() > (1 + ALIKE) * read.min():
        return ""
    shares = zip(read / points["num_train"], points["batch_size"], strict=True)
    return f"an epoch reads unlike shares of the text, {', '.join(f'{share:.0%} at {size}' for share, size in shares)}"


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
