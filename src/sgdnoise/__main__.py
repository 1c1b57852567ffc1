"""The command line: python -m sgdnoise VERB ... (the only place that prints)."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from sgdnoise import benchmarks, grid
from sgdnoise.captions import WHOLE_STUDY
from sgdnoise.config import grid_part, load_config
from sgdnoise.files import publish
from sgdnoise.options import parser


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's error is one line on stderr and exit code 1."""
    options = parser().parse_args(arguments)
    warnings = logging.StreamHandler()
    warnings.setFormatter(logging.Formatter("sgdnoise: warning: %(message)s"))
    logging.getLogger("sgdnoise").handlers = [warnings]
    try:
        VERBS[options.verb](options)
    except KeyboardInterrupt as stop:
        print(f"sgdnoise: interrupted{stop or '; nothing was written'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for example, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        return 1
    except (ValueError, OSError) as error:
        if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # of processes that share a batch
            from sgdnoise.parallel import write_down

            write_down(error, path)
        else:
            print(f"sgdnoise: error: {error}", file=sys.stderr)
        return 1
    return 0


def list_grid(options: argparse.Namespace) -> None:
    """Print a line per cell and what they add up to."""
    config = load_config(options.config)
    cells = grid.cells(config)
    for cell in cells:
        out = f"--out={Path(config['results']) / cell.path}"
        shared = grid.processes(config, cell.benchmark, cell.batch_size)
        where = f"--data={config['data']} --device={config['device']} --engine={config['engine']}"
        where += f" --processes={shared}" * (shared > 1)
        command = f"python -m sgdnoise train {cell.arguments} {where} {out}"
        print(
            command if options.commands else f"{cell.path}\n    {','.join(cell.modes)}; {cell.num_steps} updates\n    {command}"
        )
    runs = sum(len(grid.seed_range(cell.seeds)) for cell in cells)
    print(f"{len(cells)} cells, {runs} runs", file=sys.stderr)


def plan(options: argparse.Namespace) -> None:
    """Print a line per benchmark and budget mode, and the sum."""
    from sgdnoise.plan import Cost, costs, read_throughput

    throughput = read_throughput(options.throughput) if options.throughput else None
    found = costs(load_config(options.config), throughput)
    devices = sorted({row.device for row in (throughput or {}).values()})
    print(f"{'benchmark':<22}{'mode':<16}{'cells':>7}{'runs':>8}{'updates':>16}{'epochs':>12}{'FLOP':>11}{'MB':>8}{'hours':>10}")
    for (benchmark, mode), cost in [*found.items(), (("total", ""), sum(found.values(), Cost()))]:
        print(
            f"{benchmark:<22}{mode:<16}{cost.cells:>7,}{cost.runs:>8,}{cost.updates:>16,}{cost.epochs:>12,.0f}"
            f"{cost.flops:>11.2g}{cost.bytes / 1e6:>8,.1f}{cost.hours:>10,.2f}"
        )
    print(f"hours: of {', '.join(devices)}" if devices else "hours: need --throughput, the table of `sgdnoise calibrate`")


def calibrate(options: argparse.Namespace) -> None:
    """Write the table of throughputs, and print it as it grows."""
    import pandas as pd

    from sgdnoise.calibrate import calibrate
    from sgdnoise.train_cell import use_device

    config = load_config(options.config)
    rows = []
    for row in calibrate(config, Path(config["data"]), use_device(config["device"], options.threads), options.seconds):
        rows.append(row)
        print(f"{row.benchmark} at batch size {row.batch_size}: {row.examples_per_second:,.0f} examples/s")
    write_csv(pd.DataFrame(rows), options.out)


def prepare(options: argparse.Namespace) -> None:
    """Make the data file of a benchmark."""
    from sgdnoise import datasets

    protocol = benchmarks.protocol(options.benchmark, options.file)
    path = options.data / f"{protocol['dataset']}.npz"
    datasets.prepare(path, benchmarks.load(options.benchmark, options.file).arrays)
    print(f"{path} is ready")


def train(options: argparse.Namespace) -> None:
    """Train a cell, with a progress bar if a person is watching."""
    cell = grid.cell(**{name: getattr(options, name) for name in grid.CELL_OPTIONS})
    if options.processes > 1 and "WORLD_SIZE" not in os.environ:
        from sgdnoise.parallel import launch

        raise SystemExit(launch(options.processes, sys.argv[1:]))
    total = cell.num_steps * len(grid.seed_range(cell.seeds))
    gc.disable()  # collecting while torch is imported costs every cell 0.4 s
    from tqdm import tqdm

    from sgdnoise import checkpoint, parallel, run, train_cell

    gc.freeze()
    gc.enable()
    device = parallel.join(train_cell.use_device(options.device, options.threads))
    with tqdm(total=total, unit="update", disable=not sys.stderr.isatty() or parallel.rank() > 0) as bar:
        result = train_cell.train_cell(
            cell,
            options.data,
            device,
            on_step=lambda done: bar.update(done - bar.n),
            checkpoint_path=checkpoint.path_of(options.out),
            checkpoint_seconds=options.checkpoint_seconds,
            asked_to_stop=listen_for_signals(parallel.rank()),
            engine=options.engine,
        )
    if parallel.rank() > 0:
        return
    run.write_run(options.out, result)
    checkpoint.path_of(options.out).unlink(missing_ok=True)
    diverged = result.status.count(run.DIVERGED)
    rate = result.provenance["examples_per_second"]
    print(f"{options.out}: {len(result.seed)} runs, {diverged} diverged, {rate:,.0f} examples/s on {result.provenance['device']}")


def noise_scale(options: argparse.Namespace) -> None:
    """Write the table of noise scales of a run, and print it."""
    import pandas as pd

    from sgdnoise import noise_run, train_cell

    cell = grid.cell(**{name: getattr(options, name) for name in grid.CELL_OPTIONS})
    device = train_cell.use_device(options.device, options.threads)
    table = pd.DataFrame(noise_run.measure_run(cell, options.data, device, options.at, options.num_batches))
    write_csv(table, options.out)
    for row in table.to_dict("records"):
        print(f"seed {row['seed']}, epoch {row['epoch']:.4g}, lr {row['lr']:.4g}")
        for name in noise_run.QUANTITIES:
            value, low, high = (row[name + end] for end in ("", "_low", "_high"))
            text = "not identifiable" if pd.isna(value) else f"{value:.4g}"
            print(f"  {name:<22}{text:>18}" + ("" if pd.isna(low) else f"   [{low:.4g}, {high:.4g}]"))


def listen_for_signals(rank: int) -> Callable[[], bool]:
    """Make SIGTERM and the first Ctrl-C ask for a stop after the current update; return whether one came.

    Of processes that share a batch only number 0 listens: it writes the checkpoint, then torchrun ends the others.
    """
    received: list[int] = []

    def receive(signum: int, frame: object) -> None:
        received.append(signum)
        signal.signal(signum, signal.SIG_DFL)  # a second one stops at once

    for signum in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, receive if rank == 0 else signal.SIG_IGN)
    return lambda: bool(received)


def show(options: argparse.Namespace) -> None:
    """Print what a cell's file holds: spec, curves per seed, provenance."""
    import numpy as np

    from sgdnoise.run import read_run

    result = read_run(options.file)
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


def collect(options: argparse.Namespace) -> None:
    """Write cells.csv."""
    from sgdnoise.collect import collect_cells
    from sgdnoise.run import MISSING

    table = collect_cells(load_config(options.config), options.roots, options.workers)
    write_csv(table, options.out)
    if missing := int((table["status"] == MISSING).sum()):
        print(f"sgdnoise: warning: {missing} of {len(table)} runs are missing; the tables and figures say where", file=sys.stderr)


def extend(options: argparse.Namespace) -> None:
    """Write the window that comes next."""
    from sgdnoise import windows
    from sgdnoise.extend import next_window

    (start,) = windows.starts(options.study)
    window = replace(start, low=options.low, high=options.high, stage=options.stage)
    after = next_window(window, options.study)
    publish(options.out, f"{json.dumps(asdict(after))}\n".encode())
    ends = " -> ".join(f"{one.low} to {one.high} ({one.stage})" for one in (window, after))
    print(f"{window.benchmark} {window.optimizer} {window.budget} batch size {window.batch_size}: {ends}")


def settle(options: argparse.Namespace) -> None:
    """Write the extended study."""
    from sgdnoise.extend import settled

    publish(options.out, f"{grid_part(settled(load_config(options.config)))}\n".encode())


def optimum(options: argparse.Namespace) -> None:
    """Write optimum.csv, and warn of every optimum that the grid does not enclose."""
    import pandas as pd

    from sgdnoise.optimum import edge_warnings, optimum_table

    config = load_config(options.config)
    table = optimum_table(pd.read_csv(options.cells), config)
    write_csv(table, options.out)
    for warning in edge_warnings(table, config):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)


def claims(options: argparse.Namespace) -> None:
    """Write claims.csv, and say how many verdicts there are of each kind."""
    import pandas as pd

    from sgdnoise.claims import claims_table

    entries = load_config(options.config)["benchmarks"]
    protocols = {name: benchmarks.protocol(name, entry.get("file")) for name, entry in entries.items()}
    sibling_of = {name: protocol["sibling_of"] for name, protocol in protocols.items() if "sibling_of" in protocol}
    table = claims_table(pd.read_csv(options.optimum), sibling_of, pd.read_csv(options.cells))
    write_csv(table, options.out)
    for role, rows in table.groupby("role", sort=False):
        counts = rows["verdict"].value_counts()
        print(f"{role}: {', '.join(f'{number} {verdict}' for verdict, number in counts.items())}")


def regimes(options: argparse.Namespace) -> None:
    """Write regimes.csv, and say of every sweep what would decide it."""
    import pandas as pd

    from sgdnoise.regimes import regimes_table

    table = regimes_table(pd.read_csv(options.cells), load_config(options.config))
    write_csv(table, options.out)
    for row in table.to_dict("records"):
        print(f"{row['benchmark']}, {row['optimizer']}, {row['metric']}: {row['model']}. {row['decide']}".strip())


def recommend(options: argparse.Namespace) -> None:
    """Print advice on a batch size."""
    import pandas as pd

    from sgdnoise.recommend import recommend, text

    if not options.cells.exists():
        raise ValueError(f"{options.cells} is missing; make it with: snakemake --cores 1 {options.cells}")
    protocol = benchmarks.protocol(options.benchmark, options.file)
    advice = recommend(pd.read_csv(options.cells), options.benchmark, options.batch_size, protocol, options.extrapolate)
    print(json.dumps(advice, indent=2) if options.json else text(advice))


def write_csv(table, path: Path) -> None:
    """Write a table whole or not at all."""
    try:
        publish(path, table.to_csv(index=False).encode())
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}") from error


def figure(options: argparse.Namespace) -> None:
    """Draw one figure and save it in every format asked for."""
    gc.disable()  # as in `train`
    from sgdnoise import figures

    style = json.loads(options.style)
    if options.name not in WHOLE_STUDY and not options.benchmark:
        raise ValueError(f"the figure {options.name} needs --benchmark")
    protocol = benchmarks.protocol(options.benchmark, options.file) if options.benchmark else {}
    if options.name == "noise_scale":
        tables = figures.read_noise(options.noise, options.optimum, options.regimes, options.benchmark)
    else:
        tables = figures.read_tables(options.cells, options.optimum, options.benchmark) if options.benchmark else {}
    if tables:
        first = tables["noise" if "noise" in tables else "cells"].iloc[0]
        protocol = protocol | {"title": protocol["title"].format(num_train=first["num_train"])}
    if options.name == "claims":
        tables["claims"] = figures.read_table(options.claims)
    figures.save(figures.draw(options.name, tables, options.benchmark, protocol, style), options.out, style)


def report(options: argparse.Namespace) -> None:
    """Write the page."""
    from sgdnoise import figures
    from sgdnoise.report import render

    paths = {name: getattr(options, name) for name in ("cells", "optimum", "claims", "regimes")}
    tables = {name: figures.read_table(path) for name, path in paths.items() if path}
    folder = options.out.parent if options.out.suffix == ".md" else None
    page = render(load_config(options.config), tables, options.figures, folder).encode()
    publish(options.out, page)
    print(f"{options.out}: {len(page) / 1e6:.2f} MB" + ", open it in a browser" * (folder is None))


def reference(options: argparse.Namespace) -> None:
    """Make a reference folder."""
    from sgdnoise.reference import keep

    names = keep(options.config, options.out, run_verb)
    print(f"{options.out}: {len(names)} files derived from the runs")


def reference_check(options: argparse.Namespace) -> None:
    """Check reference folders."""
    from sgdnoise.reference import check

    for folder in options.folders:
        names = check(folder, run_verb)
        print(f"{folder}: all {len(names)} derived files follow from the runs")


def run_verb(arguments: list[str]) -> None:
    """Run one verb; errors are passed on."""
    options = parser().parse_args(arguments)
    VERBS[options.verb](options)


VERBS = {
    "grid": list_grid,
    "plan": plan,
    "calibrate": calibrate,
    "prepare": prepare,
    "train": train,
    "noise-scale": noise_scale,
    "show": show,
    "collect": collect,
    "extend": extend,
    "settle": settle,
    "optimum": optimum,
    "claims": claims,
    "regimes": regimes,
    "recommend": recommend,
    "figure": figure,
    "report": report,
    "reference": reference,
    "reference-check": reference_check,
}

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch takes 0.5 s to tear down; every file is closed by now
