"""Measure what the packed engine saves the default study on this CPU: python performance/engines.py (make bench-cpu).

Its cells come in few shapes: benchmark, optimizer, batch size and number of seeds. One cell of each shape is trained for its first
LONGEST updates by `plain` and by `auto`, in turns, each in a fork of this process; its updates and evaluations are counted at
their mean for all cells of the shape. All in CPU time, which is the time on an idle core. What starting a cell and the figures take
is not counted. Both engines train the same networks on the same batches. The samples are written to results/bench_engines.json.
"""

import json
import os
import statistics
import tempfile
from collections import defaultdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from parts import ROOT, Chosen, parts_of

from sgdnoise.machine import provenance
from sgdnoise.study import grid
from sgdnoise.study.cell import Cell, seed_range
from sgdnoise.study.config import load_config
from sgdnoise.training.cell import use_device

SAMPLES, LONGEST, ENGINES = 3, 60, ("plain", "auto")


def shapes() -> dict[tuple[Any, ...], list[Cell]]:
    """Return the cells of the default study by what their cost depends on; of each the lowest learning rates first."""
    found = defaultdict(list)
    for cell in grid.cells(load_config(str(ROOT / "config.yaml"))):
        found[cell.benchmark, cell.batch_size, len(seed_range(cell.seeds)), cell.optimizer].append(cell)
    return {shape: sorted(cells, key=lambda cell: float(cell.lr)) for shape, cells in sorted(found.items())}


def seconds_of(cells: list[Cell], engine: str, folder: Path) -> float:
    """Train the shortened first one of cells of one shape; return the CPU seconds that all of them take."""
    steps = min(cells[0].num_steps, LONGEST)
    shortened = Chosen("config.yaml", cells[0], steps, 1).shortened()
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        parts = pool.apply(parts_of, (shortened, folder, engine))
    once = parts["reading"] + parts["writing"] + parts["other"]
    return sum(cell.num_steps * parts["update"] + cell.evaluations * parts["evaluation"] + once for cell in cells)


def main() -> None:
    """Measure, print the table and write the samples."""
    samples, total, study = [], dict.fromkeys(ENGINES, 0.0), shapes()
    print("| benchmark | batch size | seeds | optimizer | cells | plain, core-seconds | auto | plain / auto |")
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for shape, cells in study.items():
            seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
            for _ in range(SAMPLES):
                for engine in ENGINES:
                    seconds[engine].append(seconds_of(cells, engine, Path(folder)))
            samples.append({"shape": shape, "cells": len(cells), "seconds": seconds})
            plain, auto = (statistics.median(seconds[engine]) for engine in ENGINES)
            total["plain"] += plain
            total["auto"] += auto
            print(f"| {' | '.join(map(str, [*shape, len(cells)]))} | {plain:.1f} | {auto:.1f} | {plain / auto:.1f} |", flush=True)
    runs = sum(shape[2] * len(cells) for shape, cells in study.items())
    per_hour = {engine: runs / seconds * 3600 for engine, seconds in total.items()}
    print(f"\n{runs:,} runs: {per_hour['plain']:,.0f} per core-hour with plain, {per_hour['auto']:,.0f} with auto")
    made_by = provenance.collect(use_device("cpu", 1), {}) | {"cores": os.cpu_count(), "load": os.getloadavg()}
    print(f"medians of {SAMPLES}; {made_by['device']}, torch {made_by['torch']}, load {made_by['load'][0]:.1f}")
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/bench_engines.json").write_text(json.dumps({"made_by": made_by, "samples": samples}, indent=1))


if __name__ == "__main__":
    main()
