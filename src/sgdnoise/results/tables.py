"""Read a table of results."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sgdnoise.study import grid, remedy
from sgdnoise.study.config import Config

NAMES = ("benchmark", "optimizer", "budget", "mode", "modes", "metric", "status")
POINT = ["benchmark", "optimizer", "batch_size", "num_steps"]

# What each kind of table has, by which it is told from the others; and the verb that makes it.
COLUMNS = {
    "cells": [*POINT, "budget", "lr", "num_epochs", "modes", "keep", "seed", "status"],
    "optimum": [*POINT, "budget", "mode", "metric", "direction", "lr", "mean"],
    "claims": ["claim", "role", "benchmark", "statement", "verdict"],
    "regimes": ["benchmark", "optimizer", "budget", "metric", "model"],
    "noise": ["benchmark", "seed", "step", "initial_lr"],
    "two_rates": ["benchmark", "metric", "lr", "final_lr"],
    "curves": [*POINT, "lr", "seed", "step"],
    "time_to_target": ["benchmark", "mode", "optimizer", "batch_size", "target"],
    "gap": ["benchmark", "arm", "kind", "batch_size", "value"],
}
VERBS = {"cells": "collect", "noise": "noise-scale", "two_rates": "two-rates", "time_to_target": "time-to-target"}
MAY_BE_EMPTY = ("regimes", "gap")  # where a study has nothing to say of them


def read_table(path: Path, kind: str = "") -> pd.DataFrame:
    """Read one table. Only an empty field is a missing value, and a name is text, be it `nan`, `null`, `inf` or `true`.

    A ValueError if it is not of the `kind`, one of COLUMNS, if one is given, or has no rows.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing; make it with: {remedy.command(path)}")
    try:
        table = read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(NAMES, str))
        if lacking := [name for name in COLUMNS.get(kind, []) if name not in table]:
            raise ValueError(f"it has no column {lacking[0]!r}")
        if table.empty and kind and kind not in MAY_BE_EMPTY:
            raise ValueError("it has no rows")
    except (OSError, ValueError) as error:
        verb, how = VERBS.get(kind, kind), f"make it with: {remedy.command(path, force=True)}"
        if kind and kind not in (path.stem, path.parent.name):  # no file of the workflow
            how = f"make one with: sgdnoise {verb}"
        what = f"the table of `{verb}`" if kind else "a table of results"
        raise ValueError(f"{path} is not {what} ({error}); {how}") from error
    return table


def read_csv(path: Path, **how: Any) -> pd.DataFrame:
    """Read a CSV file as pandas does.

    A ValueError if no comma separates its columns, two of them have one name, or a row has more fields than the header.
    """
    head: Any = partial(pd.read_csv, path, header=None, dtype=str, encoding="utf-8")
    names = head(nrows=1).iloc[0].dropna()
    if len(names) == 1 and (other := [one for one in ";\t|" if one in names.iloc[0]]):
        raise ValueError(f"its columns are separated by {other[0]!r}; write it with commas, and with points in numbers")
    head(nrows=2)  # raises where pandas would make an index of what is too much
    if (twice := names[names.duplicated()]).size:
        raise ValueError(f"two columns are called {twice.iloc[0]!r}; rename one")
    return pd.read_csv(path, encoding="utf-8", **how)


def read_study(config: Config, where: Path, **paths: Path) -> list[pd.DataFrame]:
    """Read the cells, and perhaps the optima, of the study that `where` has. A ValueError if they are another's."""
    tables = {kind: read_table(path, kind) for kind, path in paths.items()}
    for kind, table in tables.items():
        same_points(points_of(table), grid.points(config), paths[kind], where)
    return list(tables.values())


def points_of(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Return the points that a table is about, by their updates: a budget may have two names."""
    return set(map(tuple, table[POINT].drop_duplicates().to_numpy().tolist()))


def same_points(found: set[tuple[Any, ...]], wanted: set[tuple[Any, ...]], path: Path, where: Path) -> None:
    """Refuse a table that has not the points of the grid that another file has."""
    if other := sorted(found ^ wanted, key=str):
        benchmark, optimizer, size, steps = other[0]
        of = f"{benchmark}, {optimizer}, batch size {size}, {steps} updates"
        which = f"{of} is in {path if other[0] in found else where} alone"
        raise ValueError(f"{path} and {where} are of two studies, or one is older: {which}; give tables and config of one study")
