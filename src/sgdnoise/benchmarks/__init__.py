"""A benchmark is one file: its protocol, data, network, loss and metrics.

The file defines two names. `PROTOCOL` is a dictionary that the plan reads without running the file (importing torch would cost
every `snakemake` call two seconds), made of what `machine/constants.py` can read; `_protocol.py` says what may stand in it.
`benchmark(settings)` returns the frozen record of functions that training calls (`tasks/record.py`).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from sgdnoise.benchmarks._protocol import (
    BOUNDS,
    METRIC,
    PROTOCOL_KEYS,
    hint,
    is_number,
    is_value,
    is_whole,
    protocol_problem,
    usual_direction,
)
from sgdnoise.machine import imports, sources
from sgdnoise.machine.constants import Unreadable, constants
from sgdnoise.tasks.record import READY, Benchmark

__all__ = [
    "BOUNDS",
    "METRIC",
    "PROTOCOL_KEYS",
    "Benchmark",
    "hint",
    "is_number",
    "is_value",
    "usual_direction",
]  # of other files, for those that import this room

Settings = dict[str, Any]

NAME = r"[a-z][a-z0-9_]*"  # of a benchmark: it becomes part of paths and commands

DEFAULTS = {"lr_grid": {"anchor": 1, "ratio": 2}, "settings": {}}

COMMON_SETTINGS = {
    "l2_scope": ["all", "weights"],  # not stated; all parameters is the convention of the authors' library
    "l2_convention": ["half", "full"],  # not stated; l2 / 2 ||w||^2 is the convention of the authors' libraries, or l2 ||w||^2
    "micro_batch": {"default": 0, "from": 0, "to": 10**9},  # examples per forward pass; 0: the whole batch
}
# Common too, and `later`.
LATER_SETTINGS = {
    "precision": ["float32", "tf32", "bfloat16"],  # of the products of training (see precision.py)
}


def names() -> list[str]:
    """List the benchmarks that the package ships."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def is_variant(file: str | None) -> bool:
    """Say whether `file` names a benchmark of the package, of which another with settings of its own is made: a variant."""
    return file in names()


def source(name: str, file: str | None = None) -> Path:
    """Find the file of a benchmark: the user's `file`, the package's own, or the one that it is a variant of."""
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} is not the name of a benchmark: lower-case letters, digits and _, a letter first")
    if is_variant(file):
        if name in names():
            raise ValueError(f"{name!r} is a benchmark of the package; give a variant of {file} a name of its own")
        return Path(__file__).parent / f"{file}.py"
    path = Path(file) if file else Path(__file__).parent / f"{name}.py"
    if not path.is_file():
        if file:
            raise ValueError(
                f"benchmark {name}: there is no file {file}, seen from {Path.cwd()} (a config's `file` is relative to the config; that"
                " of grid.json to the folder of the study: run it there)"
            )
        raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(names())} (or name your own with file:)")
    if file and name in names():  # its results would count as the package's, and so as evidence about the paper
        raise ValueError(f"{name!r} is a benchmark of the package; give the network of {file} a name of its own")
    return path


@functools.cache
def protocol(name: str, file: str | None = None) -> dict[str, Any]:
    """Read the `PROTOCOL` of a benchmark without running its file, with defaults; its settings include the common ones."""
    path = source(name, file)
    found = constants(sources.parse(path)).get("PROTOCOL", path)
    if found is path:
        raise ValueError(f"{path}: no PROTOCOL = {{...}} at the top level")
    if isinstance(found, Unreadable):
        raise ValueError(
            f"{path}, line {found.line}: PROTOCOL is read without running the file, since planning imports no torch: {found}"
        )
    found = with_defaults(found, name, path)
    if problem := protocol_problem(found):
        raise ValueError(f"{path}: PROTOCOL{problem}")
    if file and not is_variant(file):
        found.pop("version", None)  # of a file that was copied from the package: the copy stands for none of the paper's
    if is_variant(file):
        found = found | {"title": f"{name}: {found['title']}"}
        found.pop("sibling_of", None)  # the claims are about what it is a variant of
    metrics = found["metrics"] if len(found["metrics"]) > 1 else found["metrics"] | {"train_objective": "min"}
    settings = COMMON_SETTINGS | LATER_SETTINGS | found["settings"]
    return found | {"metrics": metrics, "settings": settings, "later": [*LATER_SETTINGS, *found.get("later", [])]}


def in_study(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Read the `PROTOCOL` of a benchmark for a study, whose entry of it may have a step between learning rates of its own (`lr_ratio`)."""
    found = protocol(name, entry.get("file"))
    return found | {"lr_grid": found["lr_grid"] | {"ratio": entry.get("lr_ratio", found["lr_grid"]["ratio"])}}


def with_defaults(protocol: Any, name: str, path: Path) -> Any:
    """Fill in what a PROTOCOL leaves to the benchmark's name and to its task."""
    if not isinstance(protocol, dict):
        return protocol
    if (task := protocol.get("task")) is not None and task not in list(READY):  # of whatever type
        raise ValueError(f"{path}: PROTOCOL['task']: {task!r} is none of the ready tasks {', '.join(READY)}; leave it out")
    of_task = {"metrics": READY[task]["metrics"]} if task else {}
    return {"title": name, "dataset": name} | DEFAULTS | of_task | protocol


def is_papers(protocol: dict[str, Any]) -> bool:
    """Tell whether a benchmark stands for one of the paper's: those of the package, their variants, and siblings of a user's own."""
    return "version" in protocol or "sibling_of" in protocol


@functools.cache
def functions(name: str, file: str | None = None) -> set[str]:
    """List the functions of a user's own file, by which the optimizers of a study may name them; the package's have none to name."""
    if not file or is_variant(file):
        return set()
    return {node.name for node in sources.parse(source(name, file)).body if isinstance(node, ast.FunctionDef)}


def default_of(offer: Any) -> Any:
    """Return the default of a setting that is offered."""
    return offer[0] if isinstance(offer, list) else offer["default"] if isinstance(offer, dict) else offer


@functools.cache
def depends_on(name: str, file: str | None = None) -> dict[str, str]:
    """Say what besides its settings the numbers of a benchmark depend on, as {name: version}; nothing is run.

    Of a user's own file: a digest of it, of each local module that it imports and of each file that it `reads`, by path
    relative to its folder. Of the package's benchmarks, itself or what a user's file builds on: the version, from 2 on. Of a
    variant: what it is a variant of, and the version of that.
    """
    if is_variant(file):
        return {str(file): str(protocol(str(file)).get("version", 1))}
    built_on, found = {name}, {}
    if file:
        trees = sources.trees(source(name, file))
        found = {path: sources.digest(tree) for path, tree in trees.items()}
        found |= {path: _read_digest(Path(file), path) for path in protocol(name, file).get("reads", [])}
        if task := protocol(name, file).get("task"):
            found[f"task {task}"] = str(READY[task]["version"])
        built_on = set().union(*map(sources.words, trees.values()))
    versions = {one: protocol(one).get("version", 1) for one in names() if one in built_on}
    return dict(sorted((found | {one: str(version) for one, version in versions.items() if version > 1}).items()))


def _read_digest(file: Path, path: str) -> str:
    try:
        return sources.content_digest(file.parent / path)
    except OSError as error:
        raise ValueError(f"{file}: PROTOCOL reads {path!r}, which cannot be read ({error})") from None


def recipe(name: str, file: str | None = None) -> str:
    """Say in a word what makes the data of a benchmark: the version of a shipped one, a digest of what a user's depends on."""
    if not file or is_variant(file):
        return str(protocol(name, file).get("version", 1))
    return hashlib.sha256(json.dumps(depends_on(name, file)).encode()).hexdigest()[:12]


def sized(protocol: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a protocol with the number of training examples that the settings choose, if they do."""
    num_train = settings.get("num_train", protocol["num_train"])
    if not is_whole(num_train) or num_train < 1:
        raise ValueError(f"settings.num_train: {num_train!r} is not a whole number from 1")
    return protocol | {"num_train": num_train}


def default_settings(name: str, file: str | None = None) -> Settings:
    """Return the default of every setting."""
    return {key: default_of(offer) for key, offer in protocol(name, file)["settings"].items()}


def module(name: str, file: str | None = None) -> ModuleType:
    """Import the file of a benchmark; of a user's own as it was when `depends_on` was asked, or it is a ValueError."""
    path, called = source(name, file), f"sgdnoise.benchmarks.{name}"
    if not file or is_variant(file):
        return imports.run(called, path)
    local = sources.trees(path)
    found = imports.run_own(called, path, local)
    if depends_on.__wrapped__(name, file) != depends_on(name, file):
        raise ValueError(f"{path}, or what it imports or reads, has changed while this was running; run it again")
    return found


def load(name: str, file: str | None = None, settings: Settings | None = None) -> Benchmark:
    """Make the record of a benchmark, by default with its default settings."""
    found = module(name, file)
    return replace(found.benchmark(default_settings(name, file) | (settings or {})), module=found)
