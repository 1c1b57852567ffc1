"""The learning rates of one point of the grid: which of them count, and how far they are apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdnoise.results.run import COMPLETED, MISSING

CLOSE = 0.4  # our choice: of the typical gap between learning rates; closer ones are no step of the grid, half a step between is


def is_settled(runs: pd.DataFrame) -> pd.Series:
    """Say of each run whether it is known if enough runs complete at its learning rate, or batch size and learning rate.

    Where that depends on runs that are missing, nothing is said of the learning rate: neither does it count nor did runs diverge there.
    """
    if not (runs["status"] == MISSING).any():
        return pd.Series(True, runs.index)
    at = [runs["batch_size"], runs["lr"]]
    completed, missing = ((runs["status"] == status).groupby(at).transform("sum") for status in (COMPLETED, MISSING))
    return (completed >= runs["keep"]) | (completed + missing < runs["keep"])


def step_of(x: np.ndarray) -> float:
    """Return a step of the grid: the least gap between log2 learning rates but those that are CLOSE.

    Half of the range lies in gaps up to the typical one, so that close pairs do not make it small, however many they are; of a gap half
    an octave counts at most, so that a rate which lies far away does not make it large.

    >>> step_of(np.array([0.0, 1.0, 2.0, 2.5, 3.0])), step_of(np.array([0.0, 1.0, 2.0, 2.01]))
    (0.5, 1.0)
    """
    gaps = np.sort(np.diff(x))
    weight = np.cumsum(np.minimum(gaps, 0.5))
    typical = gaps[np.searchsorted(weight, weight[-1] / 2)]
    return float(gaps[gaps > CLOSE * typical][0])


def list_apart(x: np.ndarray, step: float) -> list[int]:
    """List log2 learning rates none of which is CLOSE to another: a parabola through those magnifies their noise.

    >>> list_apart(np.array([0.0, 1.0, 1.01, 1.5]), 1.0)
    [0, 1, 3]
    """
    found = [0]
    for index in range(1, len(x)):
        if x[index] - x[found[-1]] > CLOSE * step:
            found.append(index)
    return found
