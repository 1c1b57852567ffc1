"""The looks of `decide`: a study is judged again with twice the seeds where these may decide something, a few times at most.

Light: importing this imports neither torch, numpy nor pandas.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sgdnoise.study import remedy
from sgdnoise.study.cell import Cell
from sgdnoise.study.config import Config

PATH = "looks/{number}.json"

Override = Config


def numbers(num: int, most: int) -> list[int]:
    """List the seeds of a learning rate at each look: from those of the config each time one more than double.

    >>> numbers(3, 31), numbers(5, 20), numbers(15, 31), numbers(40, 31)
    ([3, 7, 15, 31], [5, 11, 20], [15, 31], [40])
    """
    found = [num]
    while found[-1] < most:
        found.append(min(2 * found[-1] + 1, most))
    return found


def numbers_of(benchmark: str, config: Config) -> list[int]:
    """List the seeds of a benchmark at each look; a study without `decide` is looked at once, whatever is not in it too."""
    if config["decide"] is None or benchmark not in config["benchmarks"]:
        return [1]
    return numbers(config["benchmarks"][benchmark]["seeds"]["num"], config["decide"]["max_seeds"])


def most(config: Config) -> int:
    """Count the looks after which seeds may be added: after the last of a benchmark none are."""
    return max(len(numbers_of(name, config)) for name in config["benchmarks"]) - 1


def files(them: Iterable[str | Path]) -> Iterator[str | Path]:
    """Follow the files of the looks, each of which lists the overrides that add seeds, to the one that adds none: any after it is stale."""
    for file in them:
        yield file
        if not read(file):
            break


def any_seeds(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Return a cell of each learning rate, by its path without the seeds: those of a cell that a look adds are not known before."""
    return {cell.path.rpartition("_")[0]: cell for cell in cells}


def with_seeds(path: str, known: dict[str, Cell]) -> Cell:
    """Return the cell of a path whose seeds may be others than those of `known`, which `any_seeds` has made."""
    name, _, seeds = path.rpartition("_")
    return replace(known[name], seeds=seeds.removeprefix("seeds").removesuffix(".h5"))


def read(path: str | Path) -> list[Override]:
    """Read what a look has added. A ValueError names a file that is missing or damaged."""
    try:
        added: list[Override] = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a look ({error}); make it with: {remedy.command(path, force=True)}") from error
    return added
