"""What several points of a study tell together: the best coefficient of a regulariser, the share of a gap that it closes, critical batch sizes.

All by draws from what is known of each point, in a metric where lower is better.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sgdnoise.analysis.estimate import BEYOND, NUM_DRAWS, WIDER, draw_optimum, interval
from sgdnoise.analysis.rates import step_of

RISE = 0.1  # our choice: a metric that is 10 % above the smallest batch's has left its plateau
BEYOND_OCTAVES = 3.0  # our choice: where a critical batch size may be that is beyond the batch sizes trained
NONE = 0.05  # our choice: a change of the metric by less than 5 % is none
KNOWN = 1000  # degrees of freedom of variances that are those of draws
FINE = 8  # places for the best coefficient in a step of the sweep
SURE = 0.05


class Best(NamedTuple):
    """A regularised optimizer at its best coefficient: draws (NUM_DRAWS,) of log2 of it and of the metric there.

    `edge` names the ends beyond which it may be, and "lr" if the learning rate's is not enclosed.
    """

    log_coefficient: np.ndarray
    value: np.ndarray
    edge: str


def best_coefficient(values: Mapping[float, np.ndarray], plain: np.ndarray, key: str) -> Best:
    """Select a coefficient as a learning rate is selected, by a curve of its logarithm through the metric at each.

    `values` has draws (NUM_DRAWS,) of the metric at each coefficient, `plain` those without. Below the lowest coefficient lies the
    plain run: where the lowest is as good as that, to 5 % of a metric above 0, the best is not searched for further down.
    """
    x = np.log2(np.array(sorted(values)))
    draws = np.stack([values[coefficient] for coefficient in sorted(values)])
    if len(x) == 1:
        return Best(np.full(NUM_DRAWS, x[0]), draws[0], "low high")
    difference = interval((draws[0] - plain) / abs(np.median(plain)), 1 - 2 * SURE)
    as_plain = np.median(plain) > 0 and max(map(abs, difference)) < NONE
    step = step_of(x)
    low, high = x[0] - (0 if as_plain else step), x[-1] + step
    places = np.linspace(low, high, int(np.ceil((high - low) / step * FINE)) + 1)
    random = np.random.default_rng(zlib.crc32(key.encode()))
    log_coefficient, value = draw_optimum(x, np.median(draws, axis=1), draws.var(axis=1), KNOWN, places, random)
    middle = np.median(value)
    below, above = (log_coefficient < x[0]).mean(), (log_coefficient > x[-1]).mean()
    edge = " ".join(name for name, share in (("low", below), ("high", above)) if share > BEYOND)
    return Best(log_coefficient, middle + WIDER * (value - middle), edge)


def share_recovered(small: np.ndarray, large: np.ndarray, arm: np.ndarray) -> np.ndarray | None:
    """Return draws of the share of the gap between small and large batch that an arm at the large batch recovers.

    None where the gap itself is not decided: then it has no shares.
    """
    gap = large - small
    if interval(gap, 1 - 2 * SURE)[0] <= 0:
        return None
    return (large - arm) / gap


def critical_batch(values: Mapping[int, np.ndarray], key: str) -> np.ndarray:
    """Return draws of log2 of the critical batch size (`leaves_plateau`), (NUM_DRAWS,).

    Where it is beyond the batch sizes trained, anywhere within BEYOND_OCTAVES of the largest: compare those of the same batch sizes.
    """
    sizes = np.array(sorted(values))
    found = leaves_plateau(sizes, np.stack([values[size] for size in sizes]))
    random = np.random.default_rng(zlib.crc32(f"critical/{key}".encode()))
    beyond = np.log2(sizes[-1]) + random.uniform(0, BEYOND_OCTAVES, len(found))
    return np.where(np.isfinite(found), found, beyond)


def leaves_plateau(sizes: np.ndarray, values: np.ndarray, rise: float = RISE) -> np.ndarray:
    """Return log2 of the batch size at which values (sizes, N) are a share `rise` above those of the smallest, (N,); infinite where none is.

    Lines of log2 batch size join the points.

    >>> leaves_plateau(np.array([1, 2, 4]), np.array([[1.0, 1.0], [1.0, 1.0], [1.2, 1.0]])).round(6).tolist()
    [1.5, inf]
    """
    x, column = np.log2(sizes), np.arange(values.shape[1])
    limit = values[0] + rise * np.abs(values[0])
    above = values > limit
    first, reached = above.argmax(axis=0), above.any(axis=0)
    before = np.maximum(first - 1, 0)
    low, high = values[before, column], values[first, column]
    share = (limit - low) / np.where(reached, high - low, 1)
    return np.where(reached, x[before] + share * (x[first] - x[before]), np.inf)
