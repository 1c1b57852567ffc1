"""Gather the cells of a study into one table, a row per seed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.results.run import MISSING, Run, read_run
from sgdnoise.study import budgets, remedy
from sgdnoise.study.cell import Cell, seed_range
from sgdnoise.study.config import Config
from sgdnoise.study.grid import cells
from sgdnoise.study.optimizers import optimizer

FIRST = "the first or unknown"  # version, where a result does not say
ROUNDING = 1e-6  # of an accuracy
CHUNK = 500  # cells that a process reads at a time


def collect_cells(
    config: Config, roots: list[str] | None = None, workers: int = 1, listed: list[Cell] | None = None
) -> pd.DataFrame:
    """Read every cell that the config expands to, or those `listed`; return a row per seed with the metrics at the end of training.

    Accuracies are fractions; losses are nats per example (per token for text). Metrics of a diverged run are NaN; so are
    the metrics that a benchmark does not have. Files of other studies in the folder are not looked at. A cell's file is
    that of the first of the `roots`, by default the config's results folder, that has it. A ValueError names the first
    cell whose file is missing, unreadable or from other settings, and the command that rebuilds it; with `allow_missing`
    in the config a missing one has rows with the status "missing". `workers` processes read the files.
    """
    listed = cells(config) if listed is None else listed
    folders = [Path(root) for root in roots or [config["results"]]]
    chunks = [listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK)]
    read = partial(read_cells, folders=folders, allow_missing=config["allow_missing"], elsewhere=is_elsewhere(config, folders))
    if workers > 1 and len(chunks) > 1:
        with ProcessPoolExecutor(min(workers, len(chunks))) as pool:
            table = pd.concat(pool.map(read, chunks), ignore_index=True)
    else:
        table = pd.concat(map(read, chunks), ignore_index=True)
    if (table["status"] == MISSING).all():
        raise ValueError(f"not one of the {len(listed)} cells has been trained; make them with: {remedy.command(cores='all')}")
    return table


def is_elsewhere(config: Config, folders: list[Path]) -> bool:
    """Tell whether cells are looked for where a study does not train them, so that its workflow makes none there."""
    return folders != [Path(config["results"])]


def read_cells(
    some: list[Cell], folders: list[Path], allow_missing: bool, read: Callable[[Path], Run] = read_run, elsewhere: bool = False
) -> pd.DataFrame:
    """Return the rows of some cells, whose files `read` opens."""
    rows: list[dict[str, Any]] = []
    for cell in some:
        path = path_of(cell, folders)
        if allow_missing and not path.exists():
            rows.extend(missing_rows(cell))
        else:
            rows.extend(cell_rows(cell, run_of(cell, folders, elsewhere, read)))
    return pd.DataFrame(rows)


def path_of(cell: Cell, folders: list[Path]) -> Path:
    """Return the file of a cell: that of the first of the folders that has it."""
    return next((folder / cell.path for folder in folders if (folder / cell.path).exists()), folders[0] / cell.path)


def run_of(cell: Cell, folders: list[Path], elsewhere: bool, read: Callable[[Path], Run] = read_run) -> Run:
    """Read the file of a cell, which has to be of this very cell."""
    path = path_of(cell, folders)
    if elsewhere and not path.exists():
        where = f"{'each of ' * (len(folders) > 1)}{', '.join(map(str, folders))}"
        raise ValueError(f"{cell.path} is missing in {where}; train it, or add a folder that has it")
    try:
        run = read(path)
        check_spec(run, cell, path)
    except ValueError as error:
        how = "train it again where it is from" if elsewhere else f"to rebuild this cell: {remedy.command(path, force=True)}"
        raise ValueError(f"{error}; {how}") from None
    return run


def collect_curves(config: Config, listed: list[Cell], roots: list[str] | None = None) -> pd.DataFrame:
    """Read whole curves: a row per cell, seed and evaluation, as in `collect_cells` but for `step` and `num_epochs`, those until then.

    Of a cell that is missing, where the config has `allow_missing`, there is no row.
    """
    folders, rows = [Path(root) for root in roots or [config["results"]]], []
    for cell in listed:
        path = path_of(cell, folders)
        if config["allow_missing"] and not path.exists():
            continue
        run, common = run_of(cell, folders, is_elsewhere(config, folders)), identity(cell)
        epochs = run.step / cell.num_steps * common["num_epochs"]
        for row, (seed, status) in enumerate(zip(run.seed, run.status, strict=True)):
            for column, (step, epoch) in enumerate(zip(run.step, epochs, strict=True)):
                values = {metric: curve[row, column] for metric, curve in run.curves.items()}
                at = {"step": int(step), "num_epochs": round(float(epoch), 6)}
                rows.append(common | {"seed": int(seed), "status": status} | at | values)
    if not rows:
        raise ValueError(
            f"not one of the cells whose curves are to be drawn has been trained; make them with: {remedy.command(cores='all')}"
        )
    return pd.DataFrame(rows)


def check_spec(run: Run, cell: Cell, path: Path) -> None:
    """Refuse a file that was not trained as the config, the user's files and the package say now."""
    then, now = (spec.get("depends_on", {}) for spec in (run.spec, cell.spec))
    if changed := [name for name in sorted(then | now) if then.get(name) != now.get(name)]:
        was, is_now = (", ".join(f"{name}: {made.get(name, FIRST)}" for name in changed) for made in (then, now))
        raise ValueError(
            f"{path} was trained with another version of {', '.join(changed)} than there is now ({was}; now {is_now})"
        )
    for name, wanted in cell.spec.items():
        if run.spec.get(name) != wanted:
            raise ValueError(f"{path} was trained with {name} {run.spec.get(name)!r}, but the config says {wanted!r}")


def identity(cell: Cell) -> dict[str, Any]:
    """Return what the table says of a cell before it is trained."""
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), cell.spec["settings"])
    evaluations = optimizer(cell.optimizer, cell.definition).evaluations  # of gradients; a column where any has more than one
    more = {"gradient_evaluations": evaluations * cell.num_steps * cell.batch_size} if evaluations > 1 else {}
    return (
        {
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
        }
        | more
        | ({"final_lr": float(cell.final_lr)} if cell.final_lr else {})
    )


def missing_rows(cell: Cell) -> list[dict[str, Any]]:
    """Return the rows of a cell that has no file."""
    return [identity(cell) | {"seed": seed, "status": MISSING} for seed in seed_range(cell.seeds)]


def cell_rows(cell: Cell, run: Run) -> list[dict[str, Any]]:
    """Return the rows of one cell. A ValueError names an accuracy in percent, of which advice and figures would say what is wrong."""
    test_metric = next(iter(benchmarks.protocol(cell.benchmark, cell.file)["metrics"]))
    common = identity(cell) | {
        "bound": run.provenance["bounds"].get(test_metric, np.nan),
        "examples_per_second": run.provenance["examples_per_second"],
        **origin(run),
    }
    final = {metric: curve[:, -1] for metric, curve in run.curves.items()}
    for metric, values in final.items():
        if metric.endswith("accuracy") and (strange := values[(values < 0) | (values > 1 + ROUNDING)]).size:
            raise ValueError(
                f"{cell.path}: {metric} is {strange[0]:g}, but accuracies are fractions; let `evaluate` return it from 0 to 1"
            )
    return [
        common | {"seed": int(seed), "status": status} | {metric: values[row] for metric, values in final.items()}
        for row, (seed, status) in enumerate(zip(run.seed, run.status, strict=True))
    ]


def origin(run: Run) -> dict[str, Any]:
    """Say what a run of a cell cost, in seconds of one device with all its overhead, and what made it."""
    made: dict[str, Any] = {"processes": 1, "continued": [], "commit": "unknown", "dirty": False} | run.provenance
    parts = [*made["continued"], made]  # the processes that trained the cell one after another
    seconds = made["processes"] * sum(part.get("seconds", np.nan) for part in parts)
    commit = made["commit"][:12] + " with uncommitted changes" * (made["dirty"] is True)
    versions = "; ".join(f"{name} {made.get(name, 'unknown')}" for name in ("torch", "numpy", "python"))
    return {
        "device_seconds": seconds / len(run.seed),
        "device": made.get("device", "unknown"),
        "started": parts[0].get("started", ""),
        "made_by": f"sgdnoise {made.get('version', 'unknown')}, commit {commit}; {versions}; {made.get('precision', 'unknown')}",
    }
