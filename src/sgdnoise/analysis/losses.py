"""Say what each batch size loses against the best of those measured: intervals that hold together, a word, the seeds that decide.

Which batch size is the best is itself measured, so a loss is not a difference to the one that looks best. If b is the best, the
differences of all others to b lie in their simultaneous intervals (as in Dunnett's comparison with a control, but from draws) with
probability LEVEL. A batch size that another one is surely better than is not the best; the interval of a loss reaches over all
that may be, as in multiple comparisons with the best (Hsu 1981, doi:10.1214/aos/1176345582). So all losses of a table lie in
their intervals, and all its words are true, with probability LEVEL, however many batch sizes there are.

Each optimum is that of `estimate`, up to a step of the grid beyond the learning rates trained. Where it may lie there, a batch
size may lose less than at the learning rates trained, never more: it can be free, and what it is shown to cost is costed with
that step. Where it lies beyond more likely than not, nothing bounds what may be gained: it is not shown to cost anything, and if it may
be the best by what a step gains, nothing bounds what the others lose, so that none of them is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from sgdnoise.analysis.estimate import LEVEL, Estimate, estimate

FREE, COSTS, OPEN = "free", "costs", "not decided"
BEYOND = 0.5  # our choice, by simulation: more of the posterior than this beyond the learning rates trained, and nothing bounds the gain
MORE = (1, 2, 4, 7, 12, 20, 35, 60, 98)  # seeds to add, to look for the number that decides
MOST_SEEDS = 100  # our choice: more than that is another study
POWER = 0.84  # standard errors: with a power of 80 %


class Point(NamedTuple):
    """What is known of one batch size, lower being better: draws (D,) of the metric at the optimum and at learning rates trained.

    They differ only where the optimum may lie beyond: `value` is lower by what may be gained there, `trained` is surely reached.
    """

    known: Estimate
    value: np.ndarray
    trained: np.ndarray

    @property
    def unbounded(self) -> bool:
        """Tell whether nothing bounds how much better it is at its optimum."""
        return max(self.known.below, self.known.above) > BEYOND


class Loss(NamedTuple):
    """A loss against the best batch size measured, its interval, and the word: FREE, COSTS or OPEN. `best`: it may be the best.

    `high` is infinite where another that may be the best is unbounded.
    """

    loss: float
    low: float
    high: float
    word: str
    best: bool


def point(runs: pd.DataFrame, metric: str, direction: str, more: int = 0) -> Point | None:
    """Estimate the optimum of one batch size from its runs, rows of cells.csv; None where nothing can be said.

    With `more`, foresee what so many further runs at each learning rate would lead to.
    """
    known = estimate(runs, metric, direction, metric, more)
    if known is None:
        return None
    sign = 1 if direction == "min" else -1
    value = sign * known.value
    return Point(known, value, np.maximum(value, sign * known.train) if known.edge else value)


def stacked(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Return `value` and `trained` of some points, (D, P) each."""
    return np.stack([one.value for one in points], axis=1), np.stack([one.trained for one in points], axis=1)


def simultaneous(lower: np.ndarray, upper: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Return lower ends of the draws `lower` and upper ends of the draws `upper`, (D, M), that hold together in `level` of them.

    All ends are the same quantile, so that one number that is badly known widens no other's interval (Besag et al. 1995,
    doi:10.1214/ss/1177010123).
    """
    below, above = (np.empty(lower.shape) for _ in range(2))
    for draws, share in ((lower, below), (upper, above)):
        np.put_along_axis(share, np.argsort(draws, axis=0), np.arange(len(draws))[:, None] / len(draws), axis=0)
    tail = np.quantile(np.minimum(below, 1 - above).min(axis=1), 1 - level)
    return np.quantile(lower, tail, axis=0), np.quantile(upper, 1 - tail, axis=0)


def losses(points: Sequence[Point], margin: float, level: float = LEVEL, surely: float = 0.0) -> list[Loss]:
    """Return the losses of at least two batch sizes, with intervals that hold together in `level` of studies.

    *free*: the whole interval is within the margin; *costs*: it excludes 0; both by `surely` standard errors.
    """
    value, trained = stacked(points)
    num = len(points)
    low, high, best = np.full(num, np.inf), np.zeros(num), np.zeros(num, bool)
    for arm in range(num):
        others = np.delete(np.arange(num), arm)
        below, above = simultaneous(value[:, others] - trained[:, [arm]], trained[:, others] - value[:, [arm]], level)
        if (above >= 0).all():
            best[arm] = True
            low[others] = np.minimum(low[others], below)
            high[others] = np.inf if points[arm].unbounded else np.maximum(high[others], above)
    first, second = np.argsort(np.median(trained, axis=0), kind="stable")[:2]
    found = []
    for index, one in enumerate(points):
        difference = trained[:, index] - trained[:, second if index == first else first]
        loss = 0.0 if index == first else float(max(np.median(difference), 0))
        error = surely * float(np.diff(np.quantile(difference, [0.16, 0.84]))[0]) / 2
        least = 0.0 if best[index] or one.unbounded else max(float(low[index]), 0.0)
        word = FREE if high[index] + error <= margin else COSTS if least > error else OPEN
        found.append(Loss(loss, min(least, loss), max(float(high[index]), loss), word, bool(best[index])))
    return found


def deciding_seeds(
    runs: Sequence[pd.DataFrame], metric: str, direction: str, margin: float, level: float, num_seeds: int
) -> list[int | None]:
    """Return for each batch size how many more seeds than `num_seeds` would probably decide it, were means and spreads as measured.

    Probably: with a power of 80 %. None where no number up to MOST_SEEDS in all would.
    """

    def decided(more: int) -> list[bool]:
        points = [point(some, metric, direction, more) for some in runs]
        return [one.word != OPEN for one in losses([one for one in points if one], margin, level, POWER)]

    found: list[int | None] = [None] * len(runs)
    tried = [more for more in MORE if more + num_seeds <= MOST_SEEDS]
    hopeful = decided(tried[-1]) if tried else []
    for more in tried:
        if all(one or not hope for one, hope in zip(found, hopeful, strict=True)):
            break
        now = decided(more)
        found = [one or (more if hope and ok else None) for one, hope, ok in zip(found, hopeful, now, strict=True)]
    return found
