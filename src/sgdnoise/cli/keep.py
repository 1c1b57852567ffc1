"""Keep: a finished study with its runs, checked against them; runs that were made elsewhere, as a study."""

from __future__ import annotations

import argparse
import io
import re
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import COUNT, number, option, to_path, verb, write_csv
from sgdnoise.machine.files import publish

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
        " status, seconds. Or batch_size and steps_to_target, perhaps study",
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

    runs, folder = read_export(options.runs, dict(options.columns), options.made_by), options.out_folder
    if "steps_to_target" in runs:
        print_curves(runs)
        return
    if (folder / "cells").exists():
        raise ValueError(f"{folder} is the results folder of a study that was trained here; give another --out")
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


def print_curves(runs: pd.DataFrame) -> None:
    """Print the critical batch size of each curve of steps to a target, in both words for it."""
    from sgdnoise.analysis.steps_to_target import curves

    print(f"{'':<16}{'fewest steps a':>16}{'fewest examples b':>20}{'b / a':>12}{'20 % more than 256':>22}")
    for name, curve in curves(runs).items():
        print(f"{name:<16}{curve.a:>16,.1f}{curve.b:>20,.4g}{curve.critical_batch_size:>12,.0f}{curve.at_overhead():>22,.0f}")
    print(
        "steps = a + b / batch size. At b / a both costs are twice their least (McCandlish et al. 2018); the last column is the batch size"
        "\nthat needs 20 % more examples than one of 256 (Zhang et al. 2024)."
    )
