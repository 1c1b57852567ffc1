"""What a verb is: a function beside the options that it reads; and what several verbs share."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdnoise import benchmarks
from sgdnoise.machine.files import check_writable, expanded, publish
from sgdnoise.study.cell import CELL_OPTIONS, Cell, make_cell
from sgdnoise.study.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    import pandas as pd

Option = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class Verb:
    """A word of the command line, what it is for, and the function that does it."""

    name: str
    summary: str
    options: tuple[Option, ...]
    run: Callable[[argparse.Namespace], None]


def verb(name: str, summary: str, *options: Option) -> Callable[[Callable[[argparse.Namespace], None]], Verb]:
    """Make a verb of the function below."""
    return lambda function: Verb(name, summary, options, function)


def option(*names: str, **details: Any) -> Option:
    """Describe an option, in the words of argparse's `add_argument`."""
    return names, details


def run(options: argparse.Namespace) -> None:
    """Run the verb of a command line, after a look at where its results will go: nothing that is computed shall be lost."""
    if getattr(options, "config", None) is UNNAMED and not UNNAMED.exists():
        raise ValueError(f"cannot read the config {UNNAMED}: there is none in this folder; name the study with --config")
    out: Path | list[Path] | None = getattr(options, "out", None)
    for path in [out] if isinstance(out, Path) else out or []:
        check_writable(path)
    if folder := getattr(options, "out_folder", None):
        check_writable(folder, folder=True)
    options.run(options)


def file_name(text: str) -> str:
    """Read the name of a file or folder; ~ is written out where the shell did not."""
    try:
        return expanded(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def to_path(text: str) -> Path:
    """Read a path."""
    return Path(file_name(text))


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object; write {{...}}")
    return found


def number(kind: type[int | float], low: float, high: float) -> Callable[[str], float]:
    """Make what reads a number of a kind from `low` to `high`."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            whole = "whole " * (kind is int)
            raise argparse.ArgumentTypeError(f"{text!r} is not a {whole}number from {low:,} to {high:,}")
        return value

    return read


COUNT = number(int, 1, 999_999_999)
PROCESSORS = number(int, 1, 1024)
SECONDS = number(float, 0.001, 1e9)

UNNAMED = Path("config.yaml")  # the study, where no --config is given
CONFIG = option("--config", type=to_path, default=UNNAMED, help="the study (default: %(default)s)")
STUDY = option("--config", required=True, type=to_path, help="the study")
FILE = option("--file", type=file_name, help="the Python file of a benchmark of your own")
DATA = option("--data", type=to_path, default="data", help="data folder (default: %(default)s)")
SETTINGS = option("--settings", default="{}", help="JSON, what the paper leaves open (default: the benchmark's own)")
THREADS = option("--threads", type=PROCESSORS, default=1, help="CPU threads; results repeat bitwise for equal numbers")
CSV = option("--out", required=True, type=to_path, help="the CSV file to write")
JSON = option("--out", required=True, type=to_path, help="the JSON file to write")
ROOTS = option("--roots", nargs="+", type=file_name, help="results folders to look for cells in (default: the config's)")
CELLS = option("--cells", required=True, type=to_path, help="the table of `collect`")
OPTIMUM = option("--optimum", required=True, type=to_path, help="the table of `optimum`")
CELL = (
    option("--benchmark", required=True, help=", ".join(benchmarks.names())),
    option("--optimizer", required=True, help=f"{', '.join(OPTIMIZERS)}, or one of your own, with its --definition"),
    option("--definition", help="JSON, of an optimizer of your own, as the config has it under optimizers"),
    option("--budget", required=True, help="epochsN or stepsN"),
    option("--batch-size", required=True, type=COUNT, help="examples per update"),
    option("--lr", required=True, type=float, help="learning rate; of SGD the effective one, eps / (1 - momentum)"),
    option("--final-lr", type=float, help="effective learning rate at the end (default: 2^-10 of the initial one)"),
    option("--seeds", default="0-0", help="first-last (default: %(default)s)"),
    SETTINGS,
    option("--evaluations", type=number(int, 1, 100_000), default=4, help="evaluations per run (default: %(default)s)"),
    FILE,
    DATA,
    option("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s"),
    THREADS,
)


def cell_of(options: argparse.Namespace) -> Cell:
    """Make the cell that the options CELL name."""
    return make_cell(**{name: getattr(options, name) for name in CELL_OPTIONS})


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table whole or not at all."""
    try:
        publish(path, table.to_csv(index=False).encode())
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}") from error
