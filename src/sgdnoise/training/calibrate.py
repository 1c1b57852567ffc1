"""Measure how fast this device trains and evaluates the benchmarks of a study, for `plan`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from sgdnoise import benchmarks
from sgdnoise.machine.provenance import device_name
from sgdnoise.study.cell import Cell, seed_range
from sgdnoise.study.config import Config
from sgdnoise.study.cost import Throughput
from sgdnoise.study.grid import trained
from sgdnoise.study.optimizers import optimizer
from sgdnoise.training.cell import choose_engine, groups_of, load_data, plan_of
from sgdnoise.training.loop import placed
from sgdnoise.training.state import State
from sgdnoise.training.together import steps_done

WARM_UP = 2  # updates, at least, before the first that is timed


class Enough(Exception):
    """Stop training: it was timed for long enough."""


def calibrate(config: Config, data: Path, device: torch.device, seconds: float) -> Iterator[Throughput]:
    """Yield a row per benchmark and batch size of a study, each timed for about `seconds`, in one process.

    Timed is its first optimizer there; an example counts once for each gradient that an update of that takes of it.
    """
    evaluation: dict[str, float] = {}
    first_cells = {(cell.benchmark, cell.batch_size): cell for cell in reversed(trained(config))}
    for (name, batch_size), cell in sorted(first_cells.items()):
        if name not in evaluation:
            evaluation[name] = evaluation_seconds(cell, data, device)
        yield Throughput(
            name,
            batch_size,
            examples_per_second(cell, data, device, seconds, config["engine"])
            * optimizer(cell.optimizer, cell.definition).evaluations,
            evaluation[name],
            device_name(device),
        )


def examples_per_second(cell: Cell, folder: Path, device: torch.device, seconds: float, engine: str = "auto") -> float:
    """Time whole updates of a cell by the engine that trains it, at a learning rate at which it does not diverge."""
    benchmark, data = load_data(cell, folder, device)
    endless = replace(plan_of(cell, benchmark), lr=1e-6, num_steps=10**9)
    chosen = choose_engine(engine, benchmark, endless, device)
    train_group, (group, *_) = groups_of(chosen, benchmark, seed_range(cell.seeds), cell.batch_size)
    stamps: list[tuple[float, int]] = []  # with the updates done: an engine may make several between two

    def stamp(states: list[State]) -> None:
        if (done := steps_done(states)) > WARM_UP:
            stamps.append((time.perf_counter(), done))
        if len(stamps) > 1 and stamps[-1][0] - stamps[0][0] > seconds:
            raise Enough

    with suppress(Enough):
        train_group(benchmark, data, endless, group, device, stamp, None)
    (started, before), (ended, after) = stamps[0], stamps[-1]
    return len(group) * cell.batch_size * (after - before) / (ended - started)


def evaluation_seconds(cell: Cell, folder: Path, device: torch.device) -> float:
    """Time the evaluation of the test split, and scale it to both splits."""
    benchmark, data = load_data(cell, folder, device)
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), cell.spec["settings"])
    model = placed(benchmark.build(), device).eval()
    with torch.no_grad():
        started = time.perf_counter()
        benchmark.evaluate(model, data, "test")
        elapsed = time.perf_counter() - started
    return elapsed * (1 + protocol["num_train"] / protocol["num_test"])
