"""One cell of a grid: what its numbers depend on, its path, the command that trains it. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import dataclass
from typing import Any

from sgdnoise import benchmarks
from sgdnoise.study import budgets, optimizers
from sgdnoise.study.optimizers import Optimizer
from sgdnoise.study.regularisers import NOISES
from sgdnoise.study.schedule import SHAPES
from sgdnoise.study.settings import read, resolve

IDENTITY = ("benchmark", "optimizer", "budget", "batch_size", "lr", "seeds")
CELL_OPTIONS = (*IDENTITY, "settings", "evaluations", "file", "final_lr", "definition")
Point = tuple[str, str, str, int]  # benchmark, optimizer, budget, batch size

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
    def point(self) -> Point:
        """The point of the grid that the cell belongs to, whose learning rates are swept."""
        return self.benchmark, self.optimizer, self.budget, self.batch_size

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
        found = benchmarks.depends_on(self.benchmark, self.file) | optimizers.depends_on(self.optimizer, self.definition)
        if "weight_decay" in found and json.loads(self.settings).get("l2_convention") == "full":
            found["weight_decay"] = "version=2"  # the first had twice the coefficient by this convention
        return found

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


def make_cell(
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
    if optimizer.active in NOISES and micro_batch == batch_size:
        raise ValueError(
            f"{optimizer.label}: {optimizer.active} is made of how micro-batches differ, and a batch of {batch_size} is a single one, so there is"
            " none; choose a smaller micro_batch"
        )
    budget = budgets.canonical(budget, batch_size, protocol)
    steps = budgets.num_steps(budget, batch_size, protocol)
    share = optimizer.evaluations if optimizer.equal else 1
    if steps < share:
        raise ValueError(
            f"{optimizer.label} takes {share} gradients an update, and budget {budget} at batch size {batch_size} has {steps}"
        )
    return budget, steps // share


def warmup_of(optimizer: Optimizer, batch_size: int, protocol: dict[str, Any]) -> int:
    """Count the updates of an optimizer's warmup."""
    return optimizer.warmup_steps or budgets.epochs_to_steps(optimizer.warmup_epochs, batch_size, protocol)


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
