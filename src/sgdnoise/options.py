"""The verbs of the command line and their options."""

from __future__ import annotations

import argparse
import functools
import json
from pathlib import Path

from sgdnoise import __version__, benchmarks
from sgdnoise.config import Config, validate
from sgdnoise.optimizers import OPTIMIZERS


@functools.cache
def parser() -> argparse.ArgumentParser:
    """Describe every verb and option."""
    root = argparse.ArgumentParser(
        prog="sgdnoise", description="Sweep batch size and learning rate under a fixed compute budget."
    )
    root.add_argument("--version", action="version", version=__version__)
    verbs = root.add_subparsers(required=True, metavar="VERB")

    def verb(name, summary, parents=()):
        one = verbs.add_parser(name, help=summary, description=summary, parents=parents)
        one.set_defaults(verb=name)
        return one

    listed = verb("grid", "list the cells of a study, with the command that trains each")
    listed.add_argument("--config", default="config.yaml", help="the study (default: %(default)s)")
    listed.add_argument("--commands", action="store_true", help="print only the train commands, ready for a shell")

    planned = verb("plan", "print what a study costs, before it is run")
    planned.add_argument("--config", default="config.yaml", help="the study (default: %(default)s)")
    planned.add_argument("--throughput", type=Path, help="the table of `calibrate`, for the device-hours")

    calibrated = verb("calibrate", "measure how fast this device trains the benchmarks of a study")
    calibrated.add_argument("--config", default="config.yaml", help="the study (default: %(default)s)")
    calibrated.add_argument("--seconds", type=float, default=3, help="for each benchmark and batch size (default: %(default)s)")
    calibrated.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    calibrated.add_argument("--out", type=Path, default="throughput.csv", help="the CSV file to write (default: %(default)s)")

    prepared = verb("prepare", "make the data file of a benchmark, downloading what is missing")
    prepared.add_argument("benchmark", help=", ".join(benchmarks.names()))
    prepared.add_argument("--file", help="the Python file of a benchmark of your own")
    prepared.add_argument("--data", type=Path, default="data", help="data folder (default: %(default)s)")

    cell = argparse.ArgumentParser(add_help=False)
    cell.add_argument("--benchmark", required=True, help=", ".join(benchmarks.names()))
    cell.add_argument("--optimizer", required=True, help=", ".join(OPTIMIZERS))
    cell.add_argument("--budget", required=True, help="epochsN or stepsN")
    cell.add_argument("--batch-size", required=True, type=int, help="examples per update")
    cell.add_argument("--lr", required=True, type=float, help="effective learning rate, eps / (1 - momentum)")
    cell.add_argument("--seeds", default="0-0", help="first-last (default: %(default)s)")
    cell.add_argument("--settings", default="{}", help="JSON, what the paper leaves open (default: the benchmark's own)")
    cell.add_argument("--evaluations", type=int, default=4, help="evaluations per run (default: %(default)s)")
    cell.add_argument("--file", help="the Python file of a benchmark of your own")
    cell.add_argument("--data", type=Path, default="data", help="data folder (default: %(default)s)")
    cell.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    cell.add_argument("--threads", type=int, default=1, help="CPU threads; results repeat bitwise for equal numbers")

    trained = verb("train", "train the seeds of one cell and write its HDF5 file", [cell])
    trained.add_argument("--processes", type=int, default=1, help="share every batch among so many, one GPU each (torchrun)")
    trained.add_argument("--checkpoint-seconds", type=float, default=300, help="between checkpoints (default: %(default)s)")
    trained.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "plain", "packed", "graph"),
        help="the plain loop; or seeds together: packed (faster; autoencoders on a CPU), or as one CUDA graph (not tried on a GPU"
        " yet); default: packed where it can be, else plain",
    )
    trained.add_argument("--out", required=True, type=Path, help="the HDF5 file to write")

    measured = verb("noise-scale", "train a cell and measure its gradient noise scale and stable learning rate", [cell])
    measured.add_argument("--at", type=float, nargs="+", default=[0.1, 0.5, 1.0], help="shares of the run (default: %(default)s)")
    measured.add_argument("--num-batches", type=int, default=64, help="batches to measure on (default: %(default)s)")
    measured.add_argument("--out", required=True, type=Path, help="the CSV file to write")

    shown = verb("show", "print the result of a cell")
    shown.add_argument("file", type=Path, help="an HDF5 file")

    collected = verb("collect", "gather the cells of a study into a table, a row per seed")
    collected.add_argument("--config", required=True, help="the study")
    collected.add_argument("--roots", nargs="+", help="results folders to look for cells in (default: the config's)")
    collected.add_argument("--workers", type=int, default=1, help="processes that read files (default: %(default)s)")
    collected.add_argument("--out", required=True, type=Path, help="the CSV file to write")

    moved = verb("extend", "say which window of learning rates comes after one whose cells are trained (extend_grid)")
    moved.add_argument("--study", required=True, type=study, help="JSON, the study of one point of the grid")
    moved.add_argument("--low", required=True, help="the lowest learning rate of the window")
    moved.add_argument("--high", required=True, help="the highest")
    moved.add_argument("--stage", required=True, choices=("bracket", "full"), help="trained with bracket_seeds or all seeds")
    moved.add_argument("--out", required=True, type=Path, help="the JSON file to write")

    frozen = verb("settle", "write a study with the windows that its extension has ended at")
    frozen.add_argument("--config", required=True, help="the study")
    frozen.add_argument("--out", required=True, type=Path, help="the JSON file to write")

    tables = argparse.ArgumentParser(add_help=False)
    tables.add_argument("--config", required=True, help="the study")
    tables.add_argument("--cells", required=True, type=Path, help="the table of `collect`")

    chosen = verb("optimum", "select the optimal learning rates by the paper's rule", [tables])
    chosen.add_argument("--out", required=True, type=Path, help="the CSV file to write")

    decided = verb("claims", "decide the paper's claims from the optima", [tables])
    decided.add_argument("--optimum", required=True, type=Path, help="the table of `optimum`")
    decided.add_argument("--out", required=True, type=Path, help="the CSV file to write")

    fitted = verb("regimes", "fit the optimal learning rate against the batch size: break and slopes", [tables])
    fitted.add_argument("--out", required=True, type=Path, help="the CSV file to write")

    advised = verb("recommend", "advise on a batch size from your own sweep under a constant epoch budget")
    advised.add_argument("--benchmark", required=True, help="of which benchmark")
    advised.add_argument("--batch-size", required=True, type=int, help="examples per update")
    advised.add_argument("--file", help="the Python file of a benchmark of your own")
    advised.add_argument("--cells", type=Path, default="results/cells.csv", help="the table of `collect` (default: %(default)s)")
    advised.add_argument("--extrapolate", action="store_true", help="advise beyond the batch sizes measured, too")
    advised.add_argument("--json", action="store_true", help="print JSON")

    drawn = verb("figure", "draw one figure")
    drawn.add_argument("name", help="a file of sgdnoise/figures")
    drawn.add_argument("--benchmark", help="of which benchmark")
    drawn.add_argument("--file", help="the Python file of a benchmark of your own")
    drawn.add_argument("--cells", type=Path, default="results/cells.csv", help="default: %(default)s")
    drawn.add_argument("--optimum", type=Path, default="results/optimum.csv", help="default: %(default)s")
    drawn.add_argument("--claims", type=Path, default="results/claims.csv", help="default: %(default)s")
    drawn.add_argument("--noise", type=Path, help="the table of `noise-scale`, for the figure of that name")
    drawn.add_argument("--regimes", type=Path, default="results/regimes.csv", help="if it is there (default: %(default)s)")
    drawn.add_argument("--style", default="{}", help="JSON: dpi, context, lr_sweep (default: the config's defaults)")
    drawn.add_argument("--out", required=True, type=Path, nargs="+", help="the files to write, by ending: png, pdf, svg")

    reported = verb("report", "show a study as one HTML page, or in short as Markdown", [tables])
    reported.add_argument("--optimum", required=True, type=Path, help="the table of `optimum`")
    reported.add_argument("--claims", required=True, type=Path, help="the table of `claims`")
    reported.add_argument("--regimes", type=Path, help="the table of `regimes`")
    reported.add_argument("--figures", type=Path, nargs="*", default=[], help="PNG or SVG files, [BENCHMARK/]NAME.png")
    reported.add_argument("--out", required=True, type=Path, help="the file to write: HTML, or .md")

    kept = verb("reference", "keep a finished study: its config, its runs, and what follows from them")
    kept.add_argument("--config", required=True, type=Path, help="the study")
    kept.add_argument("--out", required=True, type=Path, help="the folder to make")

    checked = verb("reference-check", "show that the tables and figures of reference folders follow from their runs")
    checked.add_argument("folders", nargs="+", type=Path, help="made by `reference`")
    return root


def study(text: str) -> Config:
    """Read a study that is given on the command line."""
    try:
        return validate(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
