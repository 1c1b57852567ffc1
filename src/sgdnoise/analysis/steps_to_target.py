"""The critical batch size of a curve of steps to a target: updates = a + b / batch size.

`a` updates are needed however large the batch, `b` examples however small. Words for the same curve differ: McCandlish et al. (2018)
call b / a critical, where twice the fewest updates and twice the fewest examples are needed. Zhang et al. (2024, "How does critical
batch size scale in pre-training?") take the batch size that needs 20 % more examples than one of 256, which is a third to a quarter of
it. Say which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from sgdnoise.results.columns import named, positive, whole
from sgdnoise.results.run import DIVERGED


@dataclass(frozen=True)
class StepsToTarget:
    """A curve: `a` updates, `b` examples."""

    a: float
    b: float

    @property
    def critical_batch_size(self) -> float:
        """The batch size b / a, at which either cost is twice its least."""
        return self.b / self.a

    def at_overhead(self, share: float = 0.2, reference: float = 256) -> float:
        """Return the batch size that needs `share` more examples, a B + b, than the batch size `reference`."""
        return (1 + share) * reference + share * self.b / self.a


def fit(batch_sizes: np.ndarray, steps: np.ndarray) -> StepsToTarget:
    """Fit a curve by least squares of log steps. A ValueError if there are fewer than three batch sizes, or no steps.

    >>> sizes = np.array([1.0, 10.0, 100.0])
    >>> curve = fit(sizes, 50 + 1000 / sizes)
    >>> round(curve.a, 6), round(curve.b, 6)
    (50.0, 1000.0)
    """
    if len(set(batch_sizes)) < 3:
        raise ValueError(f"steps to a target at {len(set(batch_sizes))} batch sizes; a curve takes three")
    if not (np.isfinite(steps).all() and (steps > 0).all() and (batch_sizes > 0).all()):
        raise ValueError("steps to a target and batch sizes are positive numbers")

    def residuals(logs: np.ndarray) -> np.ndarray:
        return np.logaddexp(logs[0], logs[1] - np.log(batch_sizes)) - np.log(steps)

    start = np.log([steps.min(), float(np.max(steps * batch_sizes))])
    a, b = np.exp(least_squares(residuals, start, xtol=1e-12, ftol=1e-12, gtol=1e-12).x).tolist()
    return StepsToTarget(a, b)


def beyond(size: float, least: float, most: float) -> str:
    """Say that a batch size is beyond those of its curve, and so not measured; nothing if it is not.

    >>> beyond(300.0, 1, 100), beyond(30.0, 1, 100)
    ('above 100', '')
    """
    return f"below {least}" if size < least else f"above {most}" if size > most else ""


def fit_reached(steps: pd.Series) -> StepsToTarget:
    """Fit a curve through steps by batch size, but for those that are infinite."""
    reached = steps[np.isfinite(steps)]
    return fit(reached.index.to_numpy(float), reached.to_numpy(float))


def fewest(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the steps by batch size of each curve of a table: batch_size, steps_to_target, perhaps study, optimizer, lr, status.

    Of learning rates the fastest counts, by its mean; one that a run does not reach the target at (no steps, or diverged) is not there
    in any number of steps: inf. A ValueError names what is no number of steps or no batch size.
    """
    steps = runs["steps_to_target"].fillna(np.inf)
    if "status" in runs:
        steps = steps.mask(runs["status"] == DIVERGED, np.inf)
    positive(steps[steps != np.inf], "steps_to_target")
    names = [named(runs, role, "") for role in ("study", "optimizer") if role in runs]
    runs = runs.assign(
        steps_to_target=steps,
        batch_size=whole(runs["batch_size"], "batch_size"),
        curve=[" ".join(filter(None, words)) or "all" for words in zip(*names, strict=True)] if names else "all",
    )
    rates = ["lr"] if "lr" in runs else []
    means = runs.groupby(["curve", "batch_size", *rates], sort=False, dropna=False)["steps_to_target"].mean()
    best = means.groupby(["curve", "batch_size"], sort=False).min()
    return {str(name): some.droplevel("curve").sort_index() for name, some in best.groupby("curve", sort=False)}
