"""Read a table of results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sgdnoise.study import remedy

NAMES = ("benchmark", "optimizer", "budget", "mode", "modes", "metric", "status")


def read_table(path: Path) -> pd.DataFrame:
    """Read one table. Only an empty field is a missing value, and a name is text, be it `nan`, `null`, `inf` or `true`."""
    if not path.exists():
        raise ValueError(f"{path} is missing; make it with: {remedy.command(path)}")
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(NAMES, str), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a table of results ({error}); make it with: {remedy.command(path, force=True)}"
        ) from error
