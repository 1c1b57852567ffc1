"""What must hold before optimizers are compared: that they were treated alike, and that a share of the metric means something."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sgdnoise.claims.contrasts import CRITICAL, Contrast
from sgdnoise.claims.measurements import swept_of
from sgdnoise.claims.verdicts import Outcome
from sgdnoise.results.run import MISSING
from sgdnoise.study.optimizers import defined_name

ENOUGH = 5  # our choice: learning rates; more count no more


def treatment(cells: pd.DataFrame, rows: pd.DataFrame) -> dict[tuple[str, int], tuple[int, int]]:
    """Return how each point was treated, by optimizer and batch size: the most seeds at a learning rate, and how many rates, up to ENOUGH.

    Runs that are missing do not count. Windows that were extended until they enclosed an optimum may be longer for one than for another.
    """
    treated, cells = {}, cells[cells["status"] != MISSING]
    for row in rows.drop_duplicates(["optimizer", "batch_size"]).to_dict("records"):
        some = cells[
            (cells[["optimizer", "budget", "batch_size"]] == [row["optimizer"], row["budget"], row["batch_size"]]).all(axis=1)
        ]
        treated[row["optimizer"], swept_of(row)] = (max(some["lr"].value_counts(), default=0), min(some["lr"].nunique(), ENOUGH))
    return treated


def fair(outcome: Outcome, treated: Mapping[tuple[str, int], tuple[int, int]]) -> bool:
    """Tell whether all arms of a contrast had as many seeds, and as many learning rates."""
    ways = {
        way
        for cell in outcome.contrast.terms
        for (name, size), way in treated.items()
        if cell.optimizer in (name, defined_name(name)) and size == cell.swept  # an arm at each coefficient, or at 0 alone
    }
    return len(ways) < 2


def of_shares(contrast: Contrast) -> bool:
    """Tell whether a contrast depends on where the metric has its zero, as one with a margin that is a share of it."""
    return abs(sum(contrast.terms.values())) > 1e-9 or any(cell.quantity.startswith(CRITICAL) for cell in contrast.terms)


def has_shares(optima: pd.Series, direction: str) -> bool:
    """Tell by a metric's optima whether its shares mean something: a loss that is never below 0, or a fraction, whose error counts."""
    return not ((optima < 0) | ((optima > 1) & (direction == "max"))).any()
