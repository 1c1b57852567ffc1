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


def curves(runs: pd.DataFrame) -> dict[str, StepsToTarget]:
    """Fit the curves of a table with batch_size, steps_to_target and perhaps study, lr: of learning rates the fastest counts."""
    grouped = runs.assign(study=runs.get("study", "all")).groupby("study", sort=False)
    found = {}
    for name, rows in grouped:
        keys = ["batch_size", "lr"] if "lr" in rows else ["batch_size"]
        best = rows.groupby(keys)["steps_to_target"].mean().groupby("batch_size").min().dropna()
        found[str(name)] = fit(best.index.to_numpy(float), best.to_numpy(float))
    return found
