"""Say what a study costs before it is run. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.study import budgets
from sgdnoise.study.cell import Cell, seed_range
from sgdnoise.study.config import Config
from sgdnoise.study.grid import trained
from sgdnoise.study.optimizers import optimizer

# Of a result file: its fixed part, and per seed and evaluation (six metrics, the usual number, of 8 bytes, and a little more).
FILE_BYTES, EVALUATION_BYTES = 9_400, 50
UNKNOWN_FLOPS = 1e6  # of an example, where a benchmark does not say: between those of the small networks here


@dataclass(frozen=True)
class Throughput:
    """What `calibrate` measures of a benchmark at a batch size: a row of its table.

    The examples are those whose gradients are taken: where an update takes several of each, an example counts as often.
    """

    benchmark: str
    batch_size: int
    examples_per_second: float
    evaluation_seconds: float
    device: str


@dataclass
class Cost:
    """What the cells of one benchmark and budget mode add up to; `flops` are those of training, `hours` of one device."""

    cells: int = 0
    runs: int = 0
    updates: int = 0
    epochs: float = 0.0
    flops: float = 0.0
    bytes: int = 0
    hours: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Cost)))


def read_throughput(path: Path) -> dict[tuple[str, int], Throughput]:
    """Read the table that `calibrate` writes (CSV; lines that start with # are comments)."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip() and not line.startswith("#")]
        rows = [
            Throughput(
                row["benchmark"],
                int(row["batch_size"]),
                float(row["examples_per_second"]),
                float(row["evaluation_seconds"]),
                row["device"],
            )
            for row in csv.DictReader(lines)
        ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a table of throughputs ({error!r}); make one with: sgdnoise calibrate") from error
    return {(row.benchmark, row.batch_size): row for row in rows}


def rank(cell: Cell) -> float:
    """Rank a cell, from 0 to 30 or so, by how long it takes: longer ones are higher, roughly, at every batch size alike."""
    spent = cost(cell, None)
    return math.log10(1 + (spent.updates * cell.batch_size * UNKNOWN_FLOPS if math.isnan(spent.flops) else spent.flops))


def costs(config: Config, throughput: dict[tuple[str, int], Throughput] | None) -> dict[tuple[str, str], Cost]:
    """Add up the cells of a study per benchmark and budget mode; without a throughput, hours are NaN.

    A cell that modes share counts in the first of them.
    """
    total: dict[tuple[str, str], Cost] = {}
    for cell in trained(config):
        key = (cell.benchmark, cell.modes[0])
        total[key] = total.get(key, Cost()) + cost(cell, throughput)
    return total


def cost(cell: Cell, throughput: dict[tuple[str, int], Throughput] | None) -> Cost:
    """Return what one cell costs. Training that is stopped because it diverges costs less."""
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), cell.spec["settings"])
    runs = len(seed_range(cell.seeds))
    updates = runs * cell.num_steps
    examples = updates * cell.batch_size * optimizer(cell.optimizer, cell.definition).evaluations
    hours = float("nan")
    if throughput is not None:
        keys = [(cell.benchmark, cell.batch_size), (cell.file, cell.batch_size)]  # a variant takes as long as what it is one of
        if not (known := [throughput[key] for key in keys if key in throughput]):
            raise ValueError(
                f"the throughput of {cell.benchmark} at batch size {cell.batch_size} is missing; measure it with: sgdnoise calibrate"
            )
        evaluations = runs * cell.evaluations * known[0].evaluation_seconds
        hours = (examples / known[0].examples_per_second + evaluations) / 3600
    return Cost(
        cells=1,
        runs=runs,
        updates=updates,
        epochs=runs * budgets.num_epochs(cell.num_steps, cell.batch_size, protocol),
        flops=examples * protocol.get("unroll", 1) * protocol.get("train_flops", float("nan")),
        bytes=FILE_BYTES + EVALUATION_BYTES * runs * cell.evaluations,
        hours=hours,
    )
