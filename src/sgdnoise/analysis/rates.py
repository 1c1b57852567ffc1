"""The learning rates of one point of the grid: which of them count."""

from __future__ import annotations

import pandas as pd

from sgdnoise.results.run import COMPLETED, MISSING


def is_settled(runs: pd.DataFrame) -> pd.Series:
    """Say of each run whether it is known if enough runs complete at its learning rate, or batch size and learning rate.

    Where that depends on runs that are missing, nothing is said of the learning rate: neither does it count nor did runs diverge there.
    """
    if not (runs["status"] == MISSING).any():
        return pd.Series(True, runs.index)
    at = [runs["batch_size"], runs["lr"]]
    completed, missing = ((runs["status"] == status).groupby(at).transform("sum") for status in (COMPLETED, MISSING))
    return (completed >= runs["keep"]) | (completed + missing < runs["keep"])
