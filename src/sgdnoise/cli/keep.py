"""Keep: a finished study with its runs, checked against them; runs that were made elsewhere, as a study."""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import COUNT, number, option, to_path, verb, write_csv
from sgdnoise.machine.files import publish
from sgdnoise.study.config import load_config

if TYPE_CHECKING:
    import pandas as pd


@verb(
    "reference",
    "keep a finished study: its config, its runs, and what follows from them",
    option("--config", required=True, type=to_path, help="the study"),
    option("--out", dest="out_folder", required=True, type=to_path, help="the folder to make"),
)
def reference(options: argparse.Namespace) -> None:
    """Make a reference folder."""
    from sgdnoise.report.reference import keep

    names = keep(options.config, options.out_folder, options.run_verb)
    print(f"{options.out_folder}: {len(names)} files derived from the runs")


@verb(
    "reference-check",
    "show that the tables and figures of reference folders follow from their runs",
    option("folders", nargs="+", type=to_path, help="made by `reference`"),
)
def reference_check(options: argparse.Namespace) -> None:
    """Check reference folders."""
    from sgdnoise.report.reference import check

    for folder in options.folders:
        names = check(folder, options.run_verb)
        print(f"{folder}: all {len(names)} derived files follow from the runs")


def column(text: str) -> tuple[str, str]:
    """Read ROLE=NAME."""
    role, equals, name = text.partition("=")
    if not (role and equals and name):
        raise argparse.ArgumentTypeError(f"{text!r}: write ROLE=NAME, for example lr=learning_rate")
    return role, name


@verb(
    "import",
    "make a study of runs that exist already, a row of a table each: its tables, figures, page and advice",
    option("runs", type=to_path, help="the table, a CSV file"),
    option(
        "--columns",
        nargs="+",
        type=column,
        default=[],
        metavar="ROLE=NAME",
        help="which column is what: lr, batch_size, test_accuracy or another test_NAME; perhaps seed, epochs, optimizer, train_NAME,"
        " status, seconds. Or batch_size and steps_to_target, perhaps lr, seed, optimizer, status, study",
    ),
    option(
        "--from", dest="made_by", choices=("wandb", "optuna", "mlflow"), help="what has exported the table: its usual columns"
    ),
    option("--name", default="imported", help="what was trained, as a name for paths (default: %(default)s)"),
    option("--num-train", type=COUNT, help="the number of training examples"),
    option("--epochs", type=COUNT, help="of every run, where no column says so"),
    option(
        "--maximize",
        nargs="+",
        default=[],
        metavar="METRIC",
        help="metrics that are better where larger; of well-known names they are",
    ),
    option(
        "--minimize", nargs="+", default=[], metavar="METRIC", help="metrics that are better where smaller, whatever their name"
    ),
    option("--round-lr", type=number(float, 1.01, 1000), metavar="RATIO", help="round learning rates to a grid of this factor"),
    option("--out", dest="out_folder", type=to_path, default="imported", help="the folder to write (default: %(default)s)"),
)
def import_runs(options: argparse.Namespace) -> None:
    """Write the tables of imported runs and all that follows from them, and say what is missing for an answer."""
    from sgdnoise.results.exports import read_export
    from sgdnoise.results.imported import as_study

    check_columns(options)
    runs, folder = read_export(options.runs, dict(options.columns), options.made_by), options.out_folder
    if "steps_to_target" in runs:
        print_curves(runs)
        return
    check_folder(folder, options.name)
    if options.num_train is None:
        raise ValueError("of how many training examples? Give --num-train N")
    if options.name in benchmarks.names() or not re.fullmatch(benchmarks.NAME, options.name):
        raise ValueError(f"--name {options.name}: give one of its own, of lower-case letters, digits and _, a letter first")
    benchmarks.protocol.cache_clear()
    asked = (options.num_train, options.epochs, options.maximize, options.round_lr, options.minimize)
    study = as_study(runs, options.name, str(folder), *asked)
    publish(folder / f"{options.name}.py", study.file.encode())
    publish(folder / "grid.json", study.grid.encode())
    tables = {name: folder / f"{name}.csv" for name in ("cells", "optimum", "claims", "regimes")}
    write_csv(study.cells, tables["cells"])
    config, cells, optimum = f"--config={folder / 'grid.json'}", f"--cells={tables['cells']}", f"--optimum={tables['optimum']}"
    options.run_verb(["optimum", config, cells, f"--out={tables['optimum']}"])
    with redirect_stdout(io.StringIO()):  # the page needs a table of claims; of imported runs none is decided
        options.run_verb(["claims", config, cells, optimum, f"--out={tables['claims']}"])
    options.run_verb(["regimes", config, cells, f"--out={tables['regimes']}"])
    figures = [folder / f"figures/{options.name}/{name}.png" for name in ("constant_epoch", "regimes")]
    of = [f"--benchmark={options.name}", f"--file={folder / options.name}.py", cells, optimum, f"--regimes={tables['regimes']}"]
    for path in figures:
        options.run_verb(["figure", path.stem, *of, f"--out={path}"])
    rest = [f"--claims={tables['claims']}", f"--regimes={tables['regimes']}", "--figures", *map(str, figures)]
    options.run_verb(["report", config, cells, optimum, *rest, f"--out={folder / 'report.html'}"])
    for note in study.notes:
        print(f"sgdnoise: warning: {note}", file=sys.stderr)
    options.run_verb(["recommend", cells])


OF_CURVES = ("batch_size", "steps_to_target", "study", "optimizer", "lr", "seed", "status")  # columns
OF_STUDIES: dict[str, Any] = {  # options, and their defaults
    "num_train": None,
    "epochs": None,
    "name": "imported",
    "maximize": [],
    "minimize": [],
    "round_lr": None,
    "out_folder": Path("imported"),
}


def check_columns(options: argparse.Namespace) -> None:
    """Refuse a column that is named twice, and what would be ignored: of steps to a target no study is made, nor are they of one."""
    roles = [role for role, _ in options.columns]
    if twice := [role for role in roles if roles.count(role) > 1]:
        raise ValueError(
            f"--columns {twice[0]}: {', '.join(name for role, name in options.columns if role == twice[0])}; name one"
        )
    if "steps_to_target" not in roles:
        if "study" in roles:
            raise ValueError("--columns study: it tells curves of steps_to_target apart; import the runs of one study at a time")
        return
    given = [
        f"--{name.removesuffix('_folder').replace('_', '-')}"
        for name, default in OF_STUDIES.items()
        if getattr(options, name) != default
    ]
    if unused := [*(f"--columns {role}" for role in roles if role not in OF_CURVES), *given]:
        raise ValueError(f"{unused[0]}: steps_to_target are printed as curves, to which it is nothing; leave it out")


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder in which another study lies."""
    if (folder / "cells").exists():
        raise ValueError(f"{folder} is the results folder of a study that was trained here; give another --out")
    if (grid := folder / "grid.json").exists() and (others := set(load_config(grid)["benchmarks"]) - {name}):
        raise ValueError(f"{folder} has imported runs of {min(others)!r}; give --name={min(others)}, or another --out")


def print_curves(runs: pd.DataFrame) -> None:
    """Print the critical batch size of each curve of steps to a target, in both words for it; what is beyond its batch sizes is not."""
    from sgdnoise.analysis.steps_to_target import beyond, fewest, fit_reached
    from sgdnoise.results.columns import ended

    runs, notes = ended(runs)
    for note in notes:
        print(f"sgdnoise: warning: {note}", file=sys.stderr)
    found = {name: (fit_reached(steps), steps) for name, steps in fewest(runs).items()}
    print(f"{'':<16}{'fewest steps a':>16}{'fewest examples b':>20}{'b / a':>12}{'20 % more than 256':>22}")
    for name, (curve, steps) in found.items():
        sizes = steps.index[steps < math.inf]
        least, most, critical, more = sizes[0], sizes[-1], curve.critical_batch_size, curve.at_overhead()
        words = [f"{curve.a:,.1f}" if critical <= most else "-", f"{curve.b:,.4g}" if critical >= least else "-"]
        words += [beyond(size, least, most) or f"{size:,.0f}" for size in (critical, more)]
        print(f"{name:<16}{words[0]:>16}{words[1]:>20}{words[2]:>12}{words[3]:>22}")
        for size in steps.index.difference(sizes):
            print(
                f"sgdnoise: warning: {name}: no learning rate of batch size {size} reaches it in each run; left out",
                file=sys.stderr,
            )
    print(
        "steps = a + b / batch size. At b / a both costs are twice their least (McCandlish et al. 2018); the last column is the batch size"
        "\nthat needs 20 % more examples than one of 256 (Zhang et al. 2024). Above or below: beyond the batch sizes there are."
    )
