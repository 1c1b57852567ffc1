"""Expand a study's config into cells. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sgdnoise import benchmarks
from sgdnoise.study import budgets, optimizers
from sgdnoise.study.config import Config
from sgdnoise.study.data import check_shared
from sgdnoise.study.optimizers import OPTIMIZERS, Optimizer
from sgdnoise.study.schedule import SHAPES
from sgdnoise.study.settings import read, resolve

MODES = {"constant_epoch": "epochs", "constant_step": "steps", "unlimited": "batch_size"}
IDENTITY = ("benchmark", "optimizer", "budget", "batch_size", "lr", "seeds")
CELL_OPTIONS = (*IDENTITY, "settings", "evaluations", "file", "final_lr", "definition")
PATH = "cells/{benchmark}/{optimizer}/{budget}/batch{batch_size}_lr{lr}_seeds{seeds}.h5"


@dataclass(frozen=True)
class Cell:
    """One point of the grid with a block of seeds: one process, one HDF5 file.

    The first six fields are its identity and its path. `lr` is a canonical string, of SGD the effective learning rate
    eps / (1 - m), of another optimizer torch's own; `seeds` is "first-last". `final_lr` too is part of both, where it is free: else
    it is lr 2^-10. Of an optimizer that the study defines the `definition` (JSON) is part of the identity. Before it is `split`, a
    cell has all seeds of its learning rate: its own block, of which `keep` count, and then blocks `added` by overrides, so many
    seeds each.
    """

    benchmark: str
    optimizer: str
    budget: str
    batch_size: int
    lr: str
    seeds: str
    modes: tuple[str, ...]
    keep: int
    num_steps: int
    settings: str
    evaluations: int
    file: str | None = None
    added: tuple[int, ...] = ()
    final_lr: str | None = None
    definition: str | None = None

    @property
    def path(self) -> str:
        """The path of the cell's file below the results folder."""
        if self.final_lr is None:
            return PATH.format_map(vars(self))
        return PATH.format_map(vars(self) | {"lr": f"{self.lr}to{self.final_lr}"})

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that the cell's numbers depend on; stored in its file and compared when results are collected."""
        names = (*IDENTITY, "num_steps", "evaluations")
        depends_on = {"depends_on": self.depends_on} if self.depends_on else {}
        more: dict[str, Any] = {"final_lr": self.final_lr} if self.final_lr else {}
        more |= {"definition": json.loads(self.definition)} if self.definition else {}
        return {name: getattr(self, name) for name in names} | more | {"settings": json.loads(self.settings)} | depends_on

    @property
    def depends_on(self) -> dict[str, str]:
        """What else the numbers depend on, as {name: version}: the user's own files, versions, options of an optimizer."""
        return benchmarks.depends_on(self.benchmark, self.file) | optimizers.depends_on(self.optimizer, self.definition)

    @property
    def arguments(self) -> str:
        """The arguments of `sgdnoise train` that train this cell; Snakemake re-runs a cell when they change."""
        words = [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in (*IDENTITY, "evaluations")]
        words += [f"--final-lr={self.final_lr}"] * bool(self.final_lr)
        words += [f"--definition={self.definition}"] * bool(self.definition)
        words += [f"--settings={self.settings}"] + ([f"--file={self.file}"] if self.file else [])
        return shlex.join(words)


def lr_string(lr: float) -> str:
    """Write a learning rate canonically; the value that is trained with is `float` of this string.

    >>> lr_string(0.00125), lr_string(2**0.5), lr_string(16)
    ('0.00125', '1.414', '16')
    """
    return f"{lr:.4g}"


def lr_window(low: float, high: float, anchor: float, ratio: float) -> list[str]:
    """List the learning rates anchor * ratio^k within [low, high].

    >>> lr_window(0.02, 0.1, anchor=0.08, ratio=2)
    ['0.02', '0.04', '0.08']
    """
    slack = 0.1  # of a grid step: what the user writes is rounded
    first = math.ceil(math.log(low / anchor, ratio) - slack)
    last = math.floor(math.log(high / anchor, ratio) + slack)
    return [lr_string(anchor * ratio**k) for k in range(first, last + 1)]


def seed_range(seeds: str) -> range:
    """Read a seed block.

    >>> list(seed_range("3-5"))
    [3, 4, 5]
    """
    match = re.fullmatch(r"(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})", seeds)
    if not match or not int(match[1]) <= int(match[2]) < 2**63:
        raise ValueError(f"seeds {seeds!r}: write first-last, for example 0-2, below 2^63")
    return range(int(match[1]), int(match[2]) + 1)


def cells(config: Config) -> list[Cell]:
    """Expand a validated config into its cells; a cell that several modes or windows share is listed once.

    Seeds that an override adds are a cell of their own; where optima are bracketed with few seeds first, so are these.
    """
    num_first = config["bracket_seeds"] if config["extend_grid"] else 0
    return [part for cell in whole_cells(config) for part in split(cell, num_first)]


def whole_cells(config: Config) -> list[Cell]:
    """Expand a validated config into its learning rates, each with all of its seeds."""
    found: dict[tuple, Cell] = {}
    for name in config["optimizers"]:
        try:
            optimizers.of(config, name)
        except ValueError as error:
            raise ValueError(f"config: optimizers.{name}: {error}") from None
    for name, entry in config["benchmarks"].items():
        for cell in _benchmark_cells(name, entry, config["evaluations"], config["optimizers"]):
            key = (cell.benchmark, cell.optimizer, cell.budget, cell.batch_size, cell.lr)
            if key in found and cell.modes[0] not in found[key].modes:
                cell = replace(cell, modes=found[key].modes + cell.modes)
            found[key] = cell
    check_shared(config)
    expanded = list(found.values())
    for index, override in enumerate(itertools.chain(config["overrides"], *config["looks"])):
        expanded = _override(expanded, override, f"overrides.{index}")
    return expanded


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


def cell(
    benchmark: str,
    optimizer: str,
    budget: str,
    batch_size: int,
    lr: float,
    seeds: str,
    settings: str,
    evaluations: int,
    file: str | None,
    final_lr: float | None = None,
    definition: str | None = None,
) -> Cell:
    """Make one cell from the options of `sgdnoise train`."""
    protocol = benchmarks.protocol(benchmark, file)
    benchmarks.depends_on(benchmark, file)  # as it is now
    one = check_optimizer(optimizer, definition, benchmark, file, final_lr)
    if not 1e-30 <= lr <= 1e30:
        raise ValueError(f"lr {lr} is not a positive number from 1e-30 to 1e30")
    if final_lr is not None and not 1e-30 <= final_lr <= lr:
        raise ValueError(f"final-lr {final_lr} is not a positive number up to lr {lr}")
    if batch_size < 1 or evaluations < 1:
        raise ValueError("batch-size and evaluations are whole numbers from 1")
    num_seeds = len(seed_range(seeds))
    chosen = resolve(read(settings), protocol, "settings")
    protocol = benchmarks.sized(protocol, chosen)
    budget, steps = updates_of(one, budget, batch_size, protocol)
    resolved = json.dumps(chosen, sort_keys=True)
    return Cell(
        benchmark,
        optimizer,
        budget,
        batch_size,
        lr_string(lr),
        seeds,
        (),
        num_seeds,
        steps,
        resolved,
        evaluations,
        file,
        final_lr=None if final_lr is None else lr_string(final_lr),
        definition=definition and json.dumps(json.loads(definition), sort_keys=True),
    )


def updates_of(optimizer: Optimizer, budget: str, batch_size: int, protocol: dict[str, Any]) -> tuple[str, int]:
    """Return a budget, written canonically, and the updates that an optimizer has by it at a batch size."""
    if batch_size % (micro_batch := optimizer.micro_batch or batch_size):
        raise ValueError(
            f"micro_batch {micro_batch} of {optimizer.label} does not divide the batch size {batch_size}; choose one that does"
        )
    budget = budgets.canonical(budget, batch_size, protocol)
    steps = budgets.num_steps(budget, batch_size, protocol)
    share = optimizer.evaluations if optimizer.equal else 1
    if steps < share:
        raise ValueError(
            f"{optimizer.label} takes {share} gradients an update, and budget {budget} at batch size {batch_size} has {steps}"
        )
    return budget, steps // share


def check_optimizer(name: str, definition: str | None, benchmark: str, file: str | None, final_lr: object = None) -> Optimizer:
    """Return an optimizer; refuse one that is unknown, or wrong, or needs a function that the benchmark's own file does not define."""
    try:
        one = optimizers.optimizer(name, definition)
    except json.JSONDecodeError as error:
        raise ValueError(f"definition {definition!r} is not JSON ({error})") from None
    if one.regulariser and one.coefficient is None:
        raise ValueError(
            f"{name} has a regulariser, whose coefficient belongs to its name in the grid; write for example {name}@0.01"
        )
    if final_lr is not None and one.schedule != "paper":
        raise ValueError(f"optimizer {name}: a final learning rate of its own goes with the paper's schedule only")
    for what, function in optimizers.functions(one).items():
        if function not in benchmarks.functions(benchmark, file):
            known = f"one of {', '.join(('paper', *SHAPES))}, or " * (what == "schedule")
            raise ValueError(
                f"optimizer {name}: its {what} {function!r} is not {known}a function of the file of {benchmark}"
                f"{f' ({file})' if file else ', which is not your own'}"
            )
    return one


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
            found[name] = cell(
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
        lr_grid = benchmarks.protocol(name, file)["lr_grid"]
        for epochs, windows in entry["epochs"].items():
            key = f"{where}.epochs.{epochs}"
            initial, final = (lr_window(*windows[end], **lr_grid) for end in ("initial", "final"))
            try:
                pairs = [(float(lr), float(last)) for lr in initial for last in final if float(last) <= float(lr)]
                if not pairs:
                    raise ValueError("no final rate of the grid {anchor} * {ratio}^k is up to an initial one".format(**lr_grid))
                fixed = {"budget": f"epochs{epochs}", "batch_size": entry["batch_size"], "seeds": seeds, "settings": settings}
                fixed |= {"optimizer": entry["optimizer"], "evaluations": config["evaluations"], "file": file}
                fixed |= {"definition": optimizers.definition(entry["optimizer"], config["optimizers"])}
                some = [cell(name, lr=lr, final_lr=last, **fixed) for lr, last in pairs]
            except ValueError as error:
                raise ValueError(f"config: {key}: {error}") from None
            found += [replace(one, modes=("two_rates",), keep=keep) for one in some]
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
    return found


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


def processes(config: Config, benchmark: str, batch_size: int) -> int:
    """Return how many processes share every batch of a cell; its numbers do not depend on that, but for rounding."""
    return config["benchmarks"][benchmark].get("processes", {}).get(str(batch_size), 1)


def _benchmark_cells(name: str, entry: Config, evaluations: int, own: Config) -> Iterator[Cell]:
    where = f"benchmarks.{name}"
    try:
        protocol = benchmarks.protocol(name, entry.get("file"))
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
                raise ValueError(f"config: {key}: no learning rate of the grid {grid} lies in {window}; widen the window")
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
            raise ValueError(f"config: {where}: unknown key {optimizer!r}; known: {', '.join([fixed, *known])}")
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


def _override(expanded: list[Cell], override: Config, where: str) -> list[Cell]:
    """Give the cells that an override names its block of seeds, or so many seeds more."""
    if ("seeds" in override) == ("add_seeds" in override):
        raise ValueError(f"config: {where}: give either seeds, in place of the benchmark's, or add_seeds, so many more")
    chosen = [matches(cell, override) for cell in expanded]
    if not any(chosen):
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
