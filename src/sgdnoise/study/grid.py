"""Expand a study's config into cells. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace

from sgdnoise import benchmarks
from sgdnoise.study import feasible, optimizers
from sgdnoise.study.cell import Cell, Point, check_optimizer, lr_string, lr_window, make_cell, seed_range, updates_of
from sgdnoise.study.config import Config
from sgdnoise.study.data import check_shared
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.study.settings import resolve

MODES = {"constant_epoch": "epochs", "constant_step": "steps", "unlimited": "batch_size"}


def cells(config: Config) -> list[Cell]:
    """Expand a validated config into its cells; a cell that several modes or windows share is listed once.

    Seeds that an override adds are a cell of their own; where optima are bracketed with few seeds first, so are these.
    """
    num_first = config["bracket_seeds"] if config["extend_grid"] else 0
    return [part for cell in whole_cells(config) for part in split(cell, num_first)]


def whole_cells(config: Config) -> list[Cell]:
    """Expand a validated config into its learning rates, each with all of its seeds.

    Modes that share a point of the grid share its learning rates, whichever window they are from.
    """
    found: dict[tuple[Point, str], Cell] = {}
    modes: dict[Point, dict[str, None]] = {}  # of each point, in order
    for name in config["optimizers"]:
        try:
            optimizers.of(config, name)
        except ValueError as error:
            raise ValueError(f"config: optimizers.{name}: {error}") from None
    for name, entry in config["benchmarks"].items():
        for cell in _benchmark_cells(name, entry, config["evaluations"], config["optimizers"]):
            found[cell.point, cell.lr] = cell
            modes.setdefault(cell.point, {}).update(dict.fromkeys(cell.modes))
    check_shared(config)
    feasible.check(config, found.values())
    expanded = [replace(cell, modes=tuple(modes[cell.point])) for cell in found.values()]
    for index, override in enumerate(config["overrides"]):
        expanded = _override(expanded, override, f"overrides.{index}", config["extend_grid"])
    if config["decide"] is not None:
        _check_room(expanded, config)
    for index, override in enumerate(itertools.chain(*config["looks"])):
        expanded = _override(expanded, override, f"looks.{index}", config["extend_grid"])
    return expanded


def _check_room(expanded: list[Cell], config: Config) -> None:
    """Refuse overrides that leave a look of `decide` no seeds to add: claims would stay at the strict level of the looks before."""
    most = config["decide"]["max_seeds"]
    for cell in expanded:
        if config["benchmarks"][cell.benchmark]["seeds"]["num"] < most <= (num := len(seed_range(cell.seeds))):
            where = f"{cell.benchmark}, {cell.optimizer}, {cell.budget}, batch size {cell.batch_size}, lr {cell.lr}"
            raise ValueError(
                f"config: decide.max_seeds: {most} adds none to the {num} that `overrides` give {where}; choose more, or give fewer there"
            )


def points(config: Config) -> set[tuple[str, str, int, int]]:
    """Return the points of a study: benchmark, optimizer, batch size, updates.

    By them it is told whose a table is, since the learning rates of imported runs lie on no grid.
    """
    found = set()
    for name, entry in config["benchmarks"].items():
        protocol = benchmarks.in_study(name, entry)
        protocol = benchmarks.sized(protocol, resolve(entry.get("settings", {}), protocol, "settings"))
        for mode in (mode for mode in MODES if mode in entry):
            for optimizer, budget, size, *_ in _points(entry[mode], mode, f"benchmarks.{name}.{mode}", config["optimizers"]):
                _, steps = updates_of(optimizers.of(config, optimizer), budget, size, protocol)
                found.add((name, optimizer, size, steps))
    return found


def own_seeds(cell: Cell) -> int:
    """Count the seeds of a whole cell that no override has added."""
    return len(seed_range(cell.seeds)) - sum(cell.added)


def split(cell: Cell, num_first: int) -> list[Cell]:
    """Cut a whole cell where overrides have added seeds, and its own block after the first `num_first`, if that cuts it.

    Of all its runs the same share counts as of its own, rounded down.
    """
    num_own = own_seeds(cell)
    firsts = [num_first, num_own - num_first] if 0 < num_first < num_own else [num_own]
    if len(sizes := [*firsts, *cell.added]) == 1:
        return [cell]
    seeds = seed_range(cell.seeds)
    keep = cell.keep * len(seeds) // num_own
    blocks = [seeds[end - size : end] for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]
    return [replace(cell, seeds=f"{block[0]}-{block[-1]}", keep=keep, added=()) for block in blocks]


def noise_cells(config: Config) -> dict[str, Cell]:
    """Make the run of each benchmark whose gradient noise the config asks for: one seed, evaluated once."""
    found = {}
    for name, entry in config["noise_scale"].items():
        benchmark = config["benchmarks"][name]
        first = benchmark["seeds"].get("first", 0)
        run = {key: entry[key] for key in ("optimizer", "budget", "batch_size", "lr")}
        run["definition"] = optimizers.definition(entry["optimizer"], config["optimizers"])
        settings = json.dumps(benchmark.get("settings", {}))
        try:
            optimizers.check_measurable(entry["optimizer"], optimizers.optimizer(entry["optimizer"], run["definition"]))
            found[name] = make_cell(
                name, **run, seeds=f"{first}-{first}", settings=settings, evaluations=1, file=benchmark.get("file")
            )
        except ValueError as error:
            raise ValueError(f"config: noise_scale.{name}: {error}") from None
    return found


def two_rate_cells(config: Config, benchmark: str | None = None) -> list[Cell]:
    """Expand what the config asks for under `two_rates`, of all benchmarks or one: every initial learning rate with every final one up to it."""
    found = []
    for name, entry in config["two_rates"].items():
        if benchmark not in (None, name):
            continue
        where, own = f"two_rates.{name}", config["benchmarks"][name]
        seeds, keep = _seed_block(entry["seeds"], f"{where}.seeds")
        settings, file = json.dumps(own.get("settings", {})), own.get("file")
        lr_grid = benchmarks.in_study(name, own)["lr_grid"]
        for epochs, windows in entry["epochs"].items():
            key = f"{where}.epochs.{epochs}"
            initial, final = (lr_window(*windows[end], **lr_grid) for end in ("initial", "final"))
            for end, (low, high) in windows.items():
                if low > high:
                    raise ValueError(f"config: {key}.{end}: no learning rate lies in {[low, high]}; the lowest comes first")
            try:
                pairs = [(float(lr), float(last)) for lr in initial for last in final if float(last) <= float(lr)]
                if not pairs:
                    raise ValueError("no final rate of the grid {anchor} * {ratio}^k is up to an initial one".format(**lr_grid))
                fixed = {"budget": f"epochs{epochs}", "batch_size": entry["batch_size"], "seeds": seeds, "settings": settings}
                fixed |= {"optimizer": entry["optimizer"], "evaluations": config["evaluations"], "file": file}
                fixed |= {"definition": optimizers.definition(entry["optimizer"], config["optimizers"])}
                some = [make_cell(name, lr=lr, final_lr=last, **fixed) for lr, last in pairs]
            except ValueError as error:
                raise ValueError(f"config: {key}: {error}") from None
            found += [replace(one, modes=("two_rates",), keep=keep) for one in some]
    feasible.check(config, found)
    return found


def curve_cells(config: Config, benchmark: str, wanted: Config, listed: list[Cell] | None = None) -> list[Cell]:
    """List the cells whose learning curves the config asks for, {optimizer, budget, batch_size, lr: [learning rates]}.

    Of batch sizes there is one or a list; without learning rates all are meant.
    """
    found, listed = [], cells(config) if listed is None else listed
    rates = [{"lr": lr} for lr in wanted.get("lr") or []] or [{}]
    for size, rate in itertools.product(curve_sizes(wanted), rates):
        one = {"benchmark": benchmark, "optimizer": wanted["optimizer"], "budget": wanted["budget"], "batch_size": size} | rate
        if not (some := [cell for cell in listed if matches(cell, one)]):
            raise ValueError(f"config: figures.curves.{benchmark}: no cell of the grid matches {one}; `sgdnoise grid` lists them")
        found += some
    return list(dict.fromkeys(found))  # what is named twice is drawn once


def curve_sizes(wanted: Config) -> list[int]:
    """List the batch sizes whose learning curves are asked for."""
    return wanted["batch_size"] if isinstance(wanted["batch_size"], list) else [wanted["batch_size"]]


def target_cells(config: Config, benchmark: str, listed: list[Cell] | None = None) -> list[Cell]:
    """List the cells of a benchmark that show when a target is reached at which batch size."""
    listed = cells(config) if listed is None else listed
    return [cell for cell in listed if cell.benchmark == benchmark and {"constant_epoch", "constant_step"} & set(cell.modes)]


def trained(config: Config) -> list[Cell]:
    """List all cells that a study trains: those of its budget modes, and those with two learning rates."""
    return cells(config) + two_rate_cells(config)


def _benchmark_cells(name: str, entry: Config, evaluations: int, own: Config) -> Iterator[Cell]:
    where = f"benchmarks.{name}"
    try:
        protocol = benchmarks.in_study(name, entry)
        benchmarks.depends_on(name, entry.get("file"))  # a file that cannot be read is refused here
    except ValueError as error:
        raise ValueError(f"config: {where}: {error}") from None
    try:
        chosen = resolve(entry.get("settings", {}), protocol, "settings")
        settings, protocol = json.dumps(chosen, sort_keys=True), benchmarks.sized(protocol, chosen)
    except ValueError as error:
        raise ValueError(f"config: {where}.{error}") from None
    seeds, keep = _seed_block(entry["seeds"], f"{where}.seeds")
    if not any(mode in entry for mode in MODES):
        raise ValueError(f"config: {where}: no cells; add at least one of {', '.join(MODES)}")
    for mode in (mode for mode in MODES if mode in entry):
        for optimizer, budget, batch_size, window, key in _points(entry[mode], mode, f"{where}.{mode}", own):
            definition = optimizers.definition(optimizer, own)
            try:
                one = check_optimizer(optimizer, definition, name, entry.get("file"))
            except ValueError as error:
                raise ValueError(f"config: optimizers.{optimizer}: {error}") from None
            lrs = lr_window(*window, **protocol["lr_grid"]) if window[0] <= window[1] else []
            if not lrs:
                grid = "{anchor} * {ratio}^k".format(**protocol["lr_grid"])
                how = "widen the window" if window[0] <= window[1] else "the lowest comes first"
                raise ValueError(f"config: {key}: no learning rate of the grid {grid} lies in {window}; {how}")
            try:
                budget, steps = updates_of(one, budget, batch_size, protocol)
            except ValueError as error:
                raise ValueError(f"config: {key}: {error}") from None
            for lr in lrs:
                point = (name, optimizer, budget, batch_size, lr, seeds, (mode,), keep, steps, settings, evaluations)
                yield Cell(*point, entry.get("file"), definition=definition)


def _points(mode_entry: Config, mode: str, where: str, own: Config) -> Iterator[tuple[str, str, int, list[float], str]]:
    """Yield (optimizer, budget, batch size, learning-rate window, config key) of a budget mode."""
    fixed = MODES[mode]
    if fixed not in mode_entry:
        raise ValueError(f"config: {where}: the key {fixed!r} is missing")
    for optimizer, windows in mode_entry.items():
        if optimizer == fixed:
            continue
        if optimizers.defined_name(optimizer) not in (known := {**OPTIMIZERS, **own}):
            words = [fixed, *known]
            raise ValueError(
                f"config: {where}: unknown key {optimizer!r}; {benchmarks.hint(optimizer, words)}known: {', '.join(words)}"
            )
        for swept, window in windows.items():
            if mode == "unlimited":
                budget, batch_size = f"epochs{swept}", mode_entry["batch_size"]
            else:
                budget, batch_size = f"{fixed}{mode_entry[fixed]}", int(swept)
            yield optimizer, budget, batch_size, window, f"{where}.{optimizer}.{swept}"


def _seed_block(entry: Config, where: str) -> tuple[str, int]:
    first, num, keep = entry.get("first", 0), entry["num"], entry["keep"]
    if keep > num:
        raise ValueError(f"config: {where}: keep {keep} is more than num {num}; the best `keep` of `num` runs count")
    return f"{first}-{first + num - 1}", keep


def window_key(mode: str, budget: str, batch_size: int) -> str:
    """Return the key under which a budget mode of the config has the window of a point.

    >>> window_key("unlimited", "epochs200", 64), window_key("constant_epoch", "epochs200", 64)
    ('200', '64')
    """
    return budget.removeprefix("epochs") if mode == "unlimited" else str(batch_size)


def matches(cell: Cell, override: Config) -> bool:
    """Say whether an override of the config is about a cell."""
    wanted = {key: value for key, value in override.items() if key not in ("seeds", "add_seeds", "lr")}
    low, high = _lr_range(override["lr"]) if "lr" in override else (0, math.inf)
    return low <= float(cell.lr) <= high and all(getattr(cell, key) == value for key, value in wanted.items())


def _lr_range(wanted: float | list[float]) -> tuple[float, float]:
    """Read a learning rate, or the lowest and the highest, as the paths of cells have them."""
    low, high = wanted if isinstance(wanted, list) else (wanted, wanted)
    return float(lr_string(low)), float(lr_string(high))


def _override(expanded: list[Cell], override: Config, where: str, extends: bool) -> list[Cell]:
    """Give the cells that an override names its block of seeds, or so many seeds more.

    Where windows are extended, its learning rates may be such as they have not reached.
    """
    if ("seeds" in override) == ("add_seeds" in override):
        raise ValueError(f"config: {where}: give either seeds, in place of the benchmark's, or add_seeds, so many more")
    chosen = [matches(cell, override) for cell in expanded]
    at_any_lr = {key: value for key, value in override.items() if key != "lr"}
    if not any(chosen) and not (extends and any(matches(cell, at_any_lr) for cell in expanded)):
        wanted = {key: value for key, value in override.items() if key not in ("seeds", "add_seeds")}
        raise ValueError(f"config: {where}: no cell of the grid matches {wanted}; `sgdnoise grid` lists them")
    if "seeds" in override:
        seeds, keep = _seed_block(override["seeds"], f"{where}.seeds")
        return [
            replace(cell, seeds=seeds, keep=keep, added=()) if hit else cell for cell, hit in zip(expanded, chosen, strict=True)
        ]
    return [_with_more(cell, override["add_seeds"]) if hit else cell for cell, hit in zip(expanded, chosen, strict=True)]


def _with_more(cell: Cell, num: int) -> Cell:
    seeds = seed_range(cell.seeds)
    return replace(cell, seeds=f"{seeds[0]}-{seeds[-1] + num}", added=(*cell.added, num))
