"""Gather the cells of a study into one table, a row per seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise import benchmarks, budgets
from sgdnoise.config import Config
from sgdnoise.grid import Cell, cells
from sgdnoise.run import Run, read_run


def collect_cells(config: Config) -> pd.DataFrame:
    """Read every cell that the config expands to, as `read_cells` does; files of other studies are not looked at."""
    return read_cells(cells(config), Path(config["results"]))


def read_cells(cells: list[Cell], results: Path) -> pd.DataFrame:
    """Read the files of cells; return a row per seed with the metrics at the end of training.

    Accuracies are fractions; losses are nats per example (per token for text). Metrics of a diverged run are NaN; so are
    the metrics that a benchmark does not have. A ValueError names the first cell whose file is missing, unreadable or from
    other settings, and the command that rebuilds it.
    """
    rows: list[dict[str, Any]] = []
    for cell in cells:
        path = results / cell.path
        try:
            run = read_run(path)
            check_spec(run, cell, path)
        except ValueError as error:
            raise ValueError(f"{error}; to rebuild this cell: snakemake --cores 1 --force {path}") from None
        rows.extend(cell_rows(cell, run))
    return pd.DataFrame(rows)


def check_spec(run: Run, cell: Cell, path: Path) -> None:
    """Refuse a file that was not trained as the config says now."""
    for name, wanted in cell.spec.items():
        if run.spec.get(name) != wanted:
            raise ValueError(f"{path} was trained with {name} {run.spec.get(name)!r}, but the config says {wanted!r}")


def cell_rows(cell: Cell, run: Run) -> list[dict[str, Any]]:
    """Return the rows of one cell."""
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), cell.spec["settings"])
    test_metric = next(iter(protocol["metrics"]))
    common = {
        "benchmark": cell.benchmark,
        "optimizer": cell.optimizer,
        "budget": cell.budget,
        "batch_size": cell.batch_size,
        "lr": float(cell.lr),
        "num_train": protocol["num_train"],
        "num_steps": cell.num_steps,
        "num_epochs": round(budgets.num_epochs(cell.num_steps, cell.batch_size, protocol), 6),
        "modes": " ".join(cell.modes),
        "keep": cell.keep,
        "bound": run.provenance["bounds"].get(test_metric, np.nan),
        "examples_per_second": run.provenance["examples_per_second"],
    }
    final = {metric: curve[:, -1] for metric, curve in run.curves.items()}
    return [
        common | {"seed": int(seed), "status": status} | {metric: values[row] for metric, values in final.items()}
        for row, (seed, status) in enumerate(zip(run.seed, run.status, strict=True))
    ]
