"""Look: results, tables, figures, the page."""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import (
    CELLS,
    COUNT,
    CSV,
    FILE,
    OPTIMUM,
    PROCESSORS,
    ROOTS,
    STUDY,
    json_object,
    option,
    to_path,
    verb,
    write_csv,
)
from sgdnoise.machine.files import publish
from sgdnoise.study import grid
from sgdnoise.study.cell import Cell
from sgdnoise.study.config import Config
from sgdnoise.study.figures import COMPARING, WHOLE_STUDY, check_style


@verb("show", "print the result of a cell", option("file", type=to_path, help="an HDF5 file"))
def show(options: argparse.Namespace) -> None:
    """Print what a cell's file holds: spec, curves per seed, provenance."""
    import numpy as np

    from sgdnoise.results.run import read_run

    if options.file.is_dir():
        raise ValueError(f"{options.file} is a folder; name the HDF5 file of a cell")
    try:
        result = read_run(options.file)
    except ValueError as error:
        raise ValueError(f"{error}; name the file of a cell, or train its cell again") from error
    for title, record in (("spec", result.spec), ("provenance", result.provenance)):
        print(title)
        for key, value in record.items():
            print(f"  {key:<20} {json.dumps(value)}")
    print(f"{'step':<24}" + "".join(f"{step:>11}" for step in result.step))
    print(f"{'lr':<24}" + "".join(f"{lr:>11.4g}" for lr in result.lr))
    for row, (seed, status) in enumerate(zip(result.seed, result.status, strict=True)):
        print(f"seed {seed}: {status}")
        for metric, curve in result.curves.items():
            values = ("-" if np.isnan(value) else f"{value:.5g}" for value in curve[row])
            print(f"  {metric:<22}" + "".join(f"{value:>11}" for value in values))


@verb(
    "collect",
    "gather the cells of a study into a table, a row per seed",
    STUDY,
    ROOTS,
    option("--workers", type=PROCESSORS, default=1, help="processes that read files (default: %(default)s)"),
    CSV,
)
def collect(options: argparse.Namespace) -> None:
    """Write cells.csv."""
    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.results.collect import collect_cells
    from sgdnoise.results.run import MISSING

    table = collect_cells(load_settled(options.config), options.roots, options.workers)
    write_csv(table, options.out)
    if missing := int((table["status"] == MISSING).sum()):
        print(f"sgdnoise: warning: {missing} of {len(table)} runs are missing; the tables and figures say where", file=sys.stderr)


@verb(
    "curves",
    "gather the learning curves of some cells into a table, a row per seed and evaluation",
    STUDY,
    option("--benchmark", required=True, help="of which benchmark"),
    option("--optimizer", required=True, help="of these cells"),
    option("--budget", required=True, help="epochsN or stepsN"),
    option("--batch-size", required=True, type=COUNT, nargs="+", help="examples per update"),
    option("--lr", type=float, nargs="+", help="learning rates (default: all)"),
    ROOTS,
    CSV,
)
def curves(options: argparse.Namespace) -> None:
    """Write the table that the figure of that name draws."""
    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.results.collect import collect_curves

    config = load_settled(options.config)
    wanted = {name: getattr(options, name) for name in ("optimizer", "budget", "batch_size", "lr")}
    table = collect_curves(config, curves_left(config, options.benchmark, wanted), options.roots)
    write_csv(table, options.out)
    print(f"{options.out}: {table.groupby(['batch_size', 'lr', 'seed']).ngroups} runs")


def curves_left(config: Config, benchmark: str, wanted: Config) -> list[Cell]:
    """List the cells whose curves are drawn; where windows are extended, without those that none has, of which it warns."""
    if not config["extend_grid"] or not wanted["lr"]:
        return grid.curve_cells(config, benchmark, wanted)
    swept, found, left_out = grid.curve_cells(config, benchmark, wanted | {"lr": None}), [], []
    for size, lr in itertools.product(grid.curve_sizes(wanted), wanted["lr"]):
        some = [cell for cell in swept if grid.matches(cell, {"batch_size": size, "lr": lr})]
        found += some
        left_out += [f"lr {lr:g} at batch size {size}"] * (not some)
    said = f"figures.curves.{benchmark}: the windows have ended (extend_grid) without {', '.join(left_out)}"
    if not found:
        raise ValueError(f"config: {said}; `sgdnoise grid --config={config['results']}/grid.json` lists what there is")
    if left_out:
        print(f"sgdnoise: warning: {said}", file=sys.stderr)
    return list(dict.fromkeys(found))


@verb(
    "tensorboard",
    "write learning curves as event files for TensorBoard",
    option("paths", type=to_path, nargs="+", help="HDF5 files of cells, or folders that have them: results/cells"),
    option("--out", dest="out_folder", type=to_path, default="tensorboard", help="the folder to write (default: %(default)s)"),
)
def tensorboard(options: argparse.Namespace) -> None:
    """Write a folder per cell and seed, named as the cells are."""
    from sgdnoise.results.events import write_events
    from sgdnoise.results.run import read_run

    files = {file: path for path in options.paths for file in (sorted(path.rglob("*.h5")) if path.is_dir() else [path])}
    if not files:
        raise ValueError(f"no cells in {', '.join(map(str, options.paths))}; name files, or folders that have some")
    folders: dict[Path, Path] = {}  # and their files
    for file, path in files.items():
        parts = file.parts if len(options.paths) > 1 else file.relative_to(path if path.is_dir() else path.parent).parts
        folder = options.out_folder.joinpath(*(part for part in parts if part not in ("..", file.anchor))).with_suffix("")
        if folder.exists() or folders.setdefault(folder, file) != file:  # TensorBoard would draw both as one run
            raise ValueError(f"{folder} is there already, so {file} cannot go there; remove it, or give another --out")
    found = [(read_run(file), folder) for folder, file in folders.items()]
    runs = sum(len(write_events(run, folder)) for run, folder in found)
    print(f"{options.out_folder}: {runs} runs; see them with: tensorboard --logdir {options.out_folder}")


@verb(
    "figure",
    "draw one figure",
    option("name", help="a file of sgdnoise/figures"),
    option("--benchmark", help="of which benchmark"),
    FILE,
    option("--cells", type=to_path, default="results/cells.csv", help="default: %(default)s"),
    option("--optimum", type=to_path, default="results/optimum.csv", help="default: %(default)s"),
    option("--claims", type=to_path, default="results/claims.csv", help="default: %(default)s"),
    option("--noise", type=to_path, help="the table of `noise-scale`, for the figure of that name"),
    option("--regimes", type=to_path, default="results/regimes.csv", help="if it is there (default: %(default)s)"),
    option("--two-rates", type=to_path, help="the table of `two-rates`, for the figure of that name"),
    option("--curves", type=to_path, help="the table of `curves`, for the figure of that name"),
    option("--time-to-target", type=to_path, help="the table of `time-to-target`, for the figure of that name"),
    option("--gap", type=to_path, help="the table of `gap`, for the figure of that name"),
    option(
        "--style",
        type=json_object,
        default="{}",
        help="JSON: dpi, context, lr_sweep, variants, ablation (default: the config's defaults)",
    ),
    option("--out", required=True, type=to_path, nargs="+", help="the files to write, by ending: png, pdf, svg"),
)
def figure(options: argparse.Namespace) -> None:
    """Draw one figure and save it in every format asked for."""
    gc.disable()  # as in `train`
    from sgdnoise import figures
    from sgdnoise.results.tables import read_table

    for path in options.out:
        figures.format_of(path)
    style = options.style
    check_style(style, options.benchmark)
    if options.name not in WHOLE_STUDY and not options.benchmark:
        raise ValueError(f"the figure {options.name} needs --benchmark")
    if options.name in COMPARING and not style.get(options.name):
        raise ValueError(f"the figure {options.name} needs --style with what it compares, as `snakemake -np` prints it")
    protocol = benchmarks.protocol(options.benchmark, options.file) if options.benchmark else {}
    if options.name == "noise_scale":
        tables = figures.read_noise(options.noise, options.optimum, options.regimes, options.benchmark)
    elif options.name in figures.OWN_TABLES:
        tables = figures.read_own(options.name, getattr(options, options.name), options.benchmark)
    elif options.benchmark or options.name in COMPARING:
        tables = figures.read_tables(options.cells, options.optimum, options.benchmark)
    else:
        tables = {"claims": read_table(options.claims, "claims")} if options.name == "claims" else {}
    if options.benchmark:
        first = next(iter(tables.values())).iloc[0]
        protocol = protocol | {"title": protocol["title"].format(num_train=first["num_train"])}
    figures.save(figures.draw(options.name, tables, options.benchmark, protocol, style), options.out, style)


@verb(
    "report",
    "show a study as one HTML page, or in short as Markdown",
    STUDY,
    CELLS,
    OPTIMUM,
    option("--claims", required=True, type=to_path, help="the table of `claims`"),
    option("--regimes", type=to_path, help="the table of `regimes`"),
    option("--figures", type=to_path, nargs="*", default=[], help="PNG or SVG files, [BENCHMARK/]NAME.png"),
    option("--out", required=True, type=to_path, help="the file to write: HTML, or .md"),
)
def report(options: argparse.Namespace) -> None:
    """Write the page."""
    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.report.render import render
    from sgdnoise.results.tables import read_study, read_table

    config = load_settled(options.config)
    cells, optimum = read_study(config, options.config, cells=options.cells, optimum=options.optimum)
    others = {name: read_table(path, name) for name in ("claims", "regimes") if (path := getattr(options, name))}
    tables = {"cells": cells, "optimum": optimum} | others
    folder = options.out.parent if options.out.suffix == ".md" else None
    page = render(config, tables, options.figures, folder).encode()
    publish(options.out, page)
    print(f"{options.out}: {len(page) / 1e6:.2f} MB" + ", open it in a browser" * (folder is None))
