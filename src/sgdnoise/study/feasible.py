"""Refuse cells of which each part is right by itself, but not beside another. Light: importing this imports neither torch, numpy nor pandas.

What it takes a network to tell is refused in training/feasible.py, before the first cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sgdnoise.study import optimizers
from sgdnoise.study.cell import Cell
from sgdnoise.study.config import Config
from sgdnoise.study.regularisers import REGULARISERS


def processes(config: Config, benchmark: str, batch_size: int) -> int:
    """Return how many processes share every batch of a cell; its numbers do not depend on that, but for rounding."""
    return config["benchmarks"][benchmark].get("processes", {}).get(str(batch_size), 1)


def check(config: Config, cells: Iterable[Cell]) -> None:
    """Refuse batches that cannot be shared by the processes of a config, and two kinds of micro-batches at once."""
    for cell in {cell.point: cell for cell in cells}.values():
        one, where = optimizers.optimizer(cell.optimizer, cell.definition), f"benchmarks.{cell.benchmark}"
        if (number := processes(config, cell.benchmark, cell.batch_size)) > 1:
            key = f"config: {where}.processes.{cell.batch_size}"
            if cell.batch_size % number:
                raise ValueError(f"{key}: {number} do not divide the batch size; choose a number of processes that does")
            if one.source or one.active:
                raise ValueError(f"{key}: {number} processes cannot share the batches of {cell.optimizer}; leave them out")
        if one.active and REGULARISERS[one.active].micro and json.loads(cell.settings)["micro_batch"]:
            raise ValueError(
                f"config: {where}.settings.micro_batch: {cell.optimizer} has micro-batches of its own; leave the setting at 0"
            )
