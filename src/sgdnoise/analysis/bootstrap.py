"""Estimate the optima of a sweep; draw its seeds anew, and select its optimal learning rates from each draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sgdnoise.analysis.estimate import Estimate, estimate
from sgdnoise.analysis.optimum import best_k
from sgdnoise.results.run import MISSING

NUM_DRAWS = 1000  # our choice: 25 of them lie beyond each end of a 95 % interval
LEVEL = 0.95  # our choice: of every interval
SEED = 0


@dataclass(frozen=True)
class Sweep:
    """The optima of one optimizer over P batch sizes: row 0 as measured, then NUM_DRAWS rows of redrawn seeds.

    `lr` is the selected learning rate and `mean` the metric there; `edge` is -1 at the low end of the window, +1 at the high
    end, else 0: (1 + NUM_DRAWS, P). Where too few runs completed at every learning rate, `lr` is the lowest, `edge` -1 and
    `mean` NaN. `sd` and `num_runs` (P,) are those at the measured optimum. `known` is what `estimate` says of each batch size,
    `windows` (P, 2) the log2 learning rates between which it was trained.
    """

    batch_sizes: np.ndarray
    lr: np.ndarray
    edge: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    num_runs: np.ndarray
    known: list[Estimate | None]
    windows: np.ndarray


def redraw(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the runs of a cell (R,), then NUM_DRAWS resamples with replacement of as many: (1 + NUM_DRAWS, R).

    Resamples of few runs vary too little, by the factor (R - 1) / R of the variance; their spread about the mean is
    widened by as much. Cells are redrawn independently, although runs of a seed share their initial weights: differences
    between learning rates come out rather too noisy than too certain.
    """
    num = len(values)
    resampled = values[random.integers(num, size=(NUM_DRAWS, num))]
    if num > 1 and np.isfinite(values).any():
        centre = np.nanmean(values)
        resampled = centre + (resampled - centre) * np.sqrt(num / (num - 1))
    return np.vstack([values, resampled])


def sweep(cells: pd.DataFrame, metric: str, direction: str) -> Sweep:
    """Select the optimum at every batch size by the paper's rule, as measured and from every draw of the seeds.

    `cells` are the runs of one benchmark, optimizer and budget. Batch sizes with a single learning rate say nothing of the
    optimum and are left out; so are learning rates whose runs are all missing, as in `optimum.select`.
    """
    cells = cells[(cells["status"] != MISSING).groupby([cells["batch_size"], cells["lr"]]).transform("any")]
    random = np.random.default_rng(SEED)
    points = [point for _, point in cells.groupby("batch_size") if point["lr"].nunique() > 1]
    optima = [_select(point, metric, direction, random) for point in points]
    lr, edge, mean = (
        np.stack([optimum[row] for optimum in optima], axis=-1) if optima else np.empty((1 + NUM_DRAWS, 0)) for row in range(3)
    )
    batch_sizes = np.array([point["batch_size"].iloc[0] for point in points], int)
    sd, num_runs = (np.array([optimum[row] for optimum in optima]) for row in (3, 4))
    known = [estimate(point, metric, direction, metric) for point in points]
    windows = np.log2([[point["lr"].min(), point["lr"].max()] for point in points]).reshape(-1, 2)
    return Sweep(batch_sizes, lr, edge, mean, sd, num_runs, known, windows)


def _select(point: pd.DataFrame, metric: str, direction: str, random: np.random.Generator) -> tuple:
    """Return lr, edge and mean of one batch size, (1 + NUM_DRAWS,) each; s.d. and number of runs at the measured optimum."""
    means, sds, counts = [], [], []
    for _, runs in point.groupby("lr"):
        keep = int(runs["keep"].iloc[0])
        values = redraw(runs[metric].to_numpy(float), random)
        kept = np.take_along_axis(values, best_k(values, keep, direction), axis=-1)
        means.append(kept.mean(axis=-1))
        sds.append(kept[0].std(ddof=1) if keep > 1 else 0.0)
        counts.append(len(runs))
    table = np.stack(means, axis=-1)
    goodness = np.where(np.isnan(table), -np.inf, table if direction == "max" else -table)
    chosen = goodness.argmax(axis=-1)  # of equals the smallest learning rate
    edge = (chosen == len(means) - 1) * 1 - (chosen == 0) * 1
    best = np.take_along_axis(table, chosen[:, None], axis=-1)[:, 0]
    return np.sort(point["lr"].unique())[chosen], edge, best, sds[chosen[0]], counts[chosen[0]]


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
