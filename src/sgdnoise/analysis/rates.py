"""The learning rates of one point of the grid: which of them count, and how far they are apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sgdnoise.results.run import COMPLETED, DIVERGED, MISSING

CLOSE = 0.4  # our choice: of the typical gap between learning rates; closer ones are no step of the grid, half a step between is
FAR = 1e3  # our choice: by so many times the median run's distance from the best mean are runs worse that exploded
HUGE = 1e100  # our choice: a metric beyond it has exploded, too, however many have; its square is hardly a number any more


def is_settled(runs: pd.DataFrame) -> pd.Series:
    """Say of each run whether it is known if enough runs complete at its learning rate, or batch size and learning rate.

    Where that depends on runs that are missing, nothing is said of the learning rate: neither does it count nor did runs diverge there.
    """
    if not (runs["status"] == MISSING).any():
        return pd.Series(True, runs.index)
    at = [runs["batch_size"], runs["lr"]]
    completed, missing = ((runs["status"] == status).groupby(at).transform("sum") for status in (COMPLETED, MISSING))
    return (completed >= runs["keep"]) | (completed + missing < runs["keep"])


def without_huge(runs: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Return runs of which those with a HUGE metric have diverged."""
    if not (huge := (runs[metrics].abs() > HUGE).any(axis=1)).any():
        return runs
    return runs.assign(status=runs["status"].mask(huge, DIVERGED), **{name: runs[name].mask(huge) for name in metrics})


def exploded(values: list[np.ndarray]) -> np.ndarray:
    """Say at which learning rates all runs are FAR worse than the best mean, from the values of each, lower being better.

    They are surely worse, too: if no run is better than the best mean by more than the median run is off it, then where the mean is
    as good at most one run in FAR is as bad (Markov's inequality).

    >>> exploded([np.array([80.0, 81.0]), np.array([79.0, 78.0]), np.array([300.0, 1e9]), np.array([1e6, 1e9])]).tolist()
    [False, False, False, True]
    """
    best = min(map(np.mean, values))
    distance = np.median(np.abs(np.concatenate(values) - best))
    return np.array([0 < FAR * distance < some.min() - best for some in values])


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
