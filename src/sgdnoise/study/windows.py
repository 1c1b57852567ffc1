"""The windows of learning rates that `extend_grid` moves. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.study import grid, optimizers, remedy
from sgdnoise.study.cell import Cell, Point
from sgdnoise.study.config import Config

PATH = "windows/{benchmark}/{optimizer}/{budget}/batch{batch_size}_lr{low}to{high}_{stage}.json"


@dataclass(frozen=True)
class Window:
    """The learning rates of a point of the grid, all from `low` to `high`; the budget modes that share the point share it.

    At stage "bracket" each is trained with the first few seeds, at stage "full" with all.
    """

    benchmark: str
    optimizer: str
    budget: str
    batch_size: int
    low: str
    high: str
    stage: str

    @property
    def point(self) -> Point:
        """The point of the grid."""
        return self.benchmark, self.optimizer, self.budget, self.batch_size

    @property
    def path(self) -> str:
        """The path, below the results folder, of the file that says which window comes after this one."""
        return PATH.format_map(vars(self))


def ladders(config: Config) -> dict[Point, list[Cell]]:
    """List the whole cells of each point by learning rate."""
    found: dict[Point, list[Cell]] = {}
    for cell in grid.whole_cells(config):
        found.setdefault(cell.point, []).append(cell)
    return {point: sorted(cells, key=lambda cell: float(cell.lr)) for point, cells in found.items()}


def starts(config: Config) -> list[Window]:
    """Return the window of each point as the config has it, from the lowest to the highest of its modes."""
    stage = "bracket" if config["bracket_seeds"] else "full"
    return [Window(*point, cells[0].lr, cells[-1].lr, stage) for point, cells in ladders(config).items()]


def last_window(window: Window, file_of: Callable[[Window], Path | str]) -> Window:
    """Follow the files of windows, each of which names the next window, to the one that names itself.

    A ValueError names the file that is missing or damaged.
    """
    while (after := read(file_of(window))) != window:
        window = after
    return window


def furthest(window: Window, results: Path) -> Window:
    """Follow the files of windows as far as they are there."""
    while (path := results / window.path).exists() and (after := read(path)) != window:
        window = after
    return window


def read(path: Path | str) -> Window:
    """Read which window comes after that of a file. A ValueError names a file that is missing or damaged."""
    try:
        return Window(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a window ({error}); make it with: {remedy.command(path, force=True)}") from error


def widest(config: Config) -> Config:
    """Return the config whose windows are as wide as they may become: `extend_limit` learning rates more at either end.

    A ValueError names an override whose learning rates lie beyond.
    """
    ends = {}
    for window in starts(config):
        entry = config["benchmarks"][window.benchmark]
        factor = benchmarks.in_study(window.benchmark, entry)["lr_grid"]["ratio"] ** config["extend_limit"]
        ends[window.point] = (float(window.low) / factor, float(window.high) * factor)
    wide = moved(config, ends)
    for index, one in enumerate(config["overrides"]):
        if one not in wide["overrides"]:
            raise ValueError(
                f"config: overrides.{index}: no cell of the grid has lr {one['lr']}, however far its windows are extended"
            )
    return wide


def studies(config: Config) -> dict[Point, Config]:
    """Return a study of each point alone: all that its window depends on, however far it moves."""
    found = {}
    for point, cells in ladders(widest(config)).items():
        benchmark, optimizer, budget, batch_size = point
        whole = config["benchmarks"][benchmark]
        entry = {name: whole[name] for name in ("seeds", "settings", "lr_ratio", "file") if name in whole}
        for mode in sorted({mode for cell in cells for mode in cell.modes}):
            key, fixed = grid.window_key(mode, budget, batch_size), grid.MODES[mode]
            entry[mode] = {fixed: whole[mode][fixed], optimizer: {key: whole[mode][optimizer][key]}}
        own = {name: one for name, one in config["optimizers"].items() if name == optimizers.defined_name(optimizer)}
        alone = {"benchmarks": {benchmark: entry}, "optimizers": own, "two_rates": {}}
        found[point] = config | alone | {"overrides": used_overrides(config, cells)}
    return found


def used_overrides(config: Config, cells: list[Cell]) -> list[Config]:
    """List the overrides that are about any of the cells."""
    return [one for one in config["overrides"] if any(grid.matches(cell, one) for cell in cells)]


def moved(config: Config, ends: Mapping[Point, tuple[float, float]]) -> Config:
    """Return the config with the given windows, and without the overrides that no cell is left for."""
    config = copy.deepcopy(config)
    for cell in grid.cells(config):
        for mode in cell.modes:
            key = grid.window_key(mode, cell.budget, cell.batch_size)
            config["benchmarks"][cell.benchmark][mode][cell.optimizer][key] = list(ends[cell.point])
    return config | {"overrides": used_overrides(config, grid.cells(config | {"overrides": []}))}


def cells_of(window: Window, ladder: list[Cell], bracket_seeds: int) -> list[Cell]:
    """List the cells that a window needs, out of the ladder of its point.

    Of the few runs of a bracket the same share counts as of all, rounded down, at least one.
    """
    within = [cell for cell in ladder if float(window.low) <= float(cell.lr) <= float(window.high)]
    if window.stage == "full":
        return [part for cell in within for part in grid.split(cell, bracket_seeds)]
    firsts = []
    for cell in within:
        first = grid.split(cell, bracket_seeds)[0]
        num_first = min(bracket_seeds, grid.own_seeds(cell))
        firsts.append(replace(first, keep=max(1, cell.keep * num_first // grid.own_seeds(cell))))
    return firsts
