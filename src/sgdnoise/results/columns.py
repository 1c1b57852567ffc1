"""What the columns of imported runs say: how runs ended, which metrics are better where larger, whose epochs they are, numbers."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pandas as pd

from sgdnoise.benchmarks import usual_direction
from sgdnoise.results.run import DIVERGED

# Of a status, in whatever case. Other runs are left out: where one that crashed, was killed or still runs would have ended, is unknown.
ENDED = ("finished", "complete", "completed", DIVERGED)


def ended(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out runs that did not end, and say how many; the status of the others is in lower case."""
    if "status" not in runs:
        return runs, []
    status = runs["status"].fillna("without a status").astype(str).str.strip().str.lower()
    kept, out = status.isin(ENDED), status[~status.isin(ENDED)].value_counts()
    if not kept.any():
        raise ValueError(f"none of the {len(runs)} runs has ended; their status is {', '.join(sorted(set(status)))}")
    return runs[kept].assign(status=status[kept]), [
        f"{number} runs are left out, which are {word}" for word, number in out.items()
    ]


def diverged(runs: pd.DataFrame, metrics: list[str]) -> tuple[pd.Series, list[str]]:
    """Tell which runs diverged: whose status says so, and, which are counted in words, those without a finite metric."""
    said = runs.get("status", pd.Series("", runs.index)) == DIVERGED
    infinite = runs[metrics].isin([np.inf, -np.inf]).any(axis=1) & ~said
    none = runs[metrics[0]].isna() & ~said & ~infinite
    counted = {f"no {metrics[0]}": none.sum(), "an infinite metric": infinite.sum()}
    if (lost := said | infinite | none).all():
        raise ValueError("all runs diverged, so that no learning rate can be the best; import some that did not")
    return lost, [f"{number} runs that ended have {what}: they count as diverged" for what, number in counted.items() if number]


def directed(metrics: list[str], maximize: Collection[str], minimize: Collection[str]) -> dict[str, str]:
    """Return whether metrics are better where larger, "max", or smaller, "min": as is said, or as their names have it.

    >>> directed(["test_f1", "test_top1_error", "test_mape", "train_loss", "train_my_score"], ["train_my_score"], [])
    {'test_f1': 'max', 'test_top1_error': 'min', 'test_mape': 'min', 'train_loss': 'min', 'train_my_score': 'max'}
    """
    for option, named in {"--maximize": maximize, "--minimize": minimize}.items():
        if unknown := set(named) - set(metrics):
            raise ValueError(f"{option} {min(unknown)}: no such metric; there are: {', '.join(metrics)}")
    if both := set(maximize) & set(minimize):
        raise ValueError(f"{min(both)} is to --maximize and to --minimize; say one")
    found = {}
    for metric in metrics:
        larger = usual_direction(metric) == "max"
        found[metric] = "max" if metric in maximize or (larger and metric not in minimize) else "min"
    return found


def fractions(values: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return metrics with accuracies as fractions: where they are in percent they are divided by 100, and it is said."""
    notes = []
    for metric in (one for one in map(str, values) if one.endswith("accuracy")):
        least, most = values[metric].min(), values[metric].max()
        if least < 0 or most > 100:
            raise ValueError(f"{metric}: accuracies are from 0 to 1, or in percent; there are {least:g} to {most:g}")
        if most > 1 + 1e-6:  # else rounded
            values = values.assign(**{metric: values[metric] / 100})
            notes.append(f"{metric}: up to {most:g}, so taken as percent")
    return values, notes


def named(runs: pd.DataFrame, role: str, otherwise: str) -> pd.Series:
    """Return a column of names: `otherwise` if no row has one; a ValueError if only some have."""
    said = runs.get(role, pd.Series(np.nan, runs.index))
    if said.isna().all():
        return pd.Series(otherwise, runs.index)
    if lacking := said.isna().sum():
        raise ValueError(f"{role}: {lacking} runs have none, others {said.dropna().iloc[0]!r}; write one in every row")
    return said.astype(str)


def optimizer_words(said: pd.Series) -> dict[str, str]:
    """Write the names of optimizers in letters and _, in lower case names of a study's own. A ValueError if two become one, or none.

    >>> optimizer_words(pd.Series(["AdamW", "sgd-0.9"]))
    {'AdamW': 'AdamW', 'sgd-0.9': 'sgd'}
    """
    words = {one: re.sub(r"[^A-Za-z]+", "_", one).strip("_") for one in said.unique()}
    first: dict[str, str] = {}
    for one, word in words.items():
        if not word:
            raise ValueError(f"optimizer: {one!r} is no name; write letters and _")
        if first.setdefault(word.lower(), one) != one:
            both = f"{first[word.lower()]!r} and {one!r}"
            raise ValueError(
                f"optimizer: {both} would both be called {word.lower()}; give them names that differ in their letters"
            )
    return words


def one_budget(runs: pd.DataFrame, epochs: int | None) -> int:
    """Return the epochs that every run has: as a column says, or where none does, `epochs`."""
    said = runs.get("epochs", pd.Series(np.nan, runs.index))
    if epochs is None and said.isna().any():
        raise ValueError("after how many epochs? Give --epochs N, or --columns epochs=NAME")
    found = whole(said if epochs is None else said.fillna(epochs), "epochs").unique()
    if len(found) > 1:
        raise ValueError(
            f"runs of {', '.join(map(str, sorted(found)))} epochs: batch sizes compare under one; import them one by one"
        )
    if epochs not in (None, found[0]):
        raise ValueError(f"--epochs {epochs}: the column of epochs says {found[0]}; leave --epochs out, or the column")
    return int(found[0])


def positive(values: pd.Series, role: str) -> pd.Series:
    """Return numbers; a ValueError if one is not above 0, or is infinite."""
    if (bad := values[~((values > 0) & np.isfinite(values))]).size:
        raise ValueError(f"{role}: {bad.iloc[0]} is not a positive number")
    return values


def whole(values: pd.Series, role: str, least: int = 1) -> pd.Series:
    """Return whole numbers; a ValueError if one is none, or below the `least`."""
    if (bad := values[~((values >= least) & (values < 2**63)) | (values % 1 != 0)]).size:
        below = " below 2^63" * bool(bad.iloc[0] >= 2**63)
        raise ValueError(f"{role}: {bad.iloc[0]} is not a whole number from {least}{below}")
    return values.astype(int)
