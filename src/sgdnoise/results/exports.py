"""Tables of runs as other tools export them: which column is what."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sgdnoise.results.tables import read_csv

log = logging.getLogger("sgdnoise")

# What a column can be; besides these any test_NAME or train_NAME, a metric at the end of a run.
ROLES = {
    "lr": "learning rate as torch is told it",
    "batch_size": "examples per update",
    "seed": "of the run; left out: the runs of a learning rate are numbered",
    "epochs": "passes over the training examples",
    "optimizer": "its name; left out: sgd",
    "status": "how a run ended",
    "seconds": "that a run took",
    "steps_to_target": "updates until a target was reached, in place of metrics",
    "study": "which of several curves of steps_to_target a row belongs to",
}
TEXT = ("optimizer", "status", "study")
METRIC = r"(test|train)_[A-Za-z0-9_]+"

# The tables that other tools export: what they put before the names of what was set, the surest first, and their own columns.
FORMATS: dict[str, dict[str, Any]] = {
    "wandb": {
        "before": ("config.", ""),
        "status": ("State",),
        "seconds": ("Runtime", "_runtime", "summary._runtime"),
    },
    "optuna": {"before": ("params_", "user_attrs_"), "status": ("state",), "seconds": ("duration",), "test_metric": ("value",)},
    "mlflow": {"before": ("params.", "tags.", ""), "status": ("status", "Status"), "seconds": ("Duration",)},
}
NAMES = {  # our choice: usual names, in this order
    "lr": ("lr", "learning_rate", "learning-rate"),
    "batch_size": ("batch_size", "batch-size", "bs", "train_batch_size"),
    "seed": ("seed", "random_seed"),
    "epochs": ("epochs", "num_epochs", "max_epochs"),
    "optimizer": ("optimizer", "optim"),
}


def read_export(path: Path, columns: Mapping[str, str], made_by: str | None = None) -> pd.DataFrame:
    """Read a table of runs and return its columns by their roles; `columns` are {role: name in the table}.

    For a table that one of FORMATS has made, the roles that are not named are looked for under their usual names. A ValueError
    names the column that is missing.
    """
    try:
        table, words = read_csv(path), read_csv(path, keep_default_na=False, na_values=[""], dtype=str)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; name a table of runs, a CSV file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a table in CSV ({error})") from error
    if table.empty:
        raise ValueError(f"{path} has no rows; a row is a run")
    for role in columns:
        if role not in ROLES and not re.fullmatch(METRIC, role):
            raise ValueError(f"--columns {role}: a column is one of {', '.join(ROLES)}, or a metric, test_NAME or train_NAME")
    known = {role: name for role, name in usual(list(map(str, table.columns)), made_by).items() if role not in columns}
    found = dict(columns) | known
    if unknown := [name for name in found.values() if name not in table]:
        raise ValueError(f"{path} has no column {unknown[0]!r}; it has: {', '.join(map(str, table.columns))}")
    needed = ["batch_size", "steps_to_target"] if "steps_to_target" in found else ["lr", "batch_size"]
    if missing := [role for role in needed if role not in found]:
        names = ", ".join(map(str, table.columns))
        raise ValueError(f"which column of {path} is the {missing[0]}? Write --columns {missing[0]}=NAME; it has: {names}")
    if known:
        log.warning("columns: %s; or say --columns", ", ".join(f"{role} is {name!r}" for role, name in known.items()))
    runs = pd.DataFrame({role: (words if role in TEXT else table)[name] for role, name in found.items()})
    for role in (one for one in map(str, runs) if one not in TEXT):
        numbers = pd.to_numeric(runs[role], errors="coerce")
        if role == "seconds":
            numbers = numbers.fillna(pd.to_timedelta(runs[role][numbers.isna()], errors="coerce").dt.total_seconds())
        if (bad := runs[role][numbers.isna() & runs[role].notna()]).size:
            what = "neither a number nor a time as 1h 2m or 0:59:00" if role == "seconds" else "not a number"
            raise ValueError(f"{path}: the column {found[role]!r}, {role}, has {bad.iloc[0]!r}, which is {what}")
        runs[role] = numbers
    return runs


def usual(names: list[str], made_by: str | None) -> dict[str, str]:
    """Return the columns that a table of one of FORMATS has under their usual names, by role.

    >>> usual(["number", "value", "params_lr", "params_batch_size", "state"], "optuna")
    {'lr': 'params_lr', 'batch_size': 'params_batch_size', 'status': 'state', 'test_metric': 'value'}
    """
    if made_by is None:
        return {}
    said = FORMATS[made_by]
    tried = {role: [before + one for before in said["before"] for one in known] for role, known in NAMES.items()}
    tried |= {role: list(known) for role, known in said.items() if role != "before"}
    return {role: next(name for name in known if name in names) for role, known in tried.items() if set(known) & set(names)}
