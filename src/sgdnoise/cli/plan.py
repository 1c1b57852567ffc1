"""Plan: which cells a study has, what they cost, which come next."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from sgdnoise.cli.verbs import CONFIG, JSON, PROCESSORS, SECONDS, STUDY, option, to_path, verb, write_csv
from sgdnoise.machine.files import publish
from sgdnoise.study import grid
from sgdnoise.study.config import Config, grid_part, load_config, validate


@verb(
    "grid",
    "list the cells of a study, with the command that trains each",
    CONFIG,
    option("--commands", action="store_true", help="print only the train commands, ready for a shell"),
)
def list_grid(options: argparse.Namespace) -> None:
    """Print a line per cell and what they add up to."""
    config = load_config(options.config)
    cells = grid.trained(config)
    for cell in cells:
        out = f"--out={Path(config['results']) / cell.path}"
        shared = grid.processes(config, cell.benchmark, cell.batch_size)
        where = f"--data={config['data']} --device={config['device']} --engine={config['engine']}"
        where += f" --processes={shared}" * (shared > 1)
        command = f"python -P -m sgdnoise train {cell.arguments} {where} {out}"
        print(
            command if options.commands else f"{cell.path}\n    {','.join(cell.modes)}; {cell.num_steps} updates\n    {command}"
        )
    runs = sum(len(grid.seed_range(cell.seeds)) for cell in cells)
    print(f"{len(cells)} cells, {runs} runs", file=sys.stderr)


@verb(
    "plan",
    "print what a study costs, before it is run",
    CONFIG,
    option("--throughput", type=to_path, help="the table of `calibrate`, for the device-hours"),
)
def plan(options: argparse.Namespace) -> None:
    """Print a line per benchmark and budget mode, and the sum."""
    from sgdnoise.study.cost import Cost, costs, read_throughput

    throughput = read_throughput(options.throughput) if options.throughput else None
    found = costs(load_config(options.config), throughput)
    devices = sorted({row.device for row in (throughput or {}).values()})
    width = max(22, *(len(benchmark) + 2 for benchmark, _ in found))
    print(
        f"{'benchmark':<{width}}{'mode':<16}{'cells':>7}{'runs':>8}{'updates':>16}{'epochs':>12}{'FLOP':>11}{'MB':>8}{'hours':>10}"
    )
    for (benchmark, mode), cost in [*found.items(), (("total", ""), sum(found.values(), Cost()))]:
        print(
            f"{benchmark:<{width}}{mode:<16}{cost.cells:>7,}{cost.runs:>8,}{cost.updates:>16,}{cost.epochs:>12,.0f}"
            f"{cost.flops:>11.2g}{cost.bytes / 1e6:>8,.1f}{cost.hours:>10,.2f}"
        )
    print(f"hours: of {', '.join(devices)}" if devices else "hours: need --throughput, the table of `sgdnoise calibrate`")


@verb(
    "calibrate",
    "measure how fast this device trains the benchmarks of a study",
    CONFIG,
    option("--seconds", type=SECONDS, default=3, help="for each benchmark and batch size (default: %(default)s)"),
    option("--threads", type=PROCESSORS, default=1, help="CPU threads (default: %(default)s)"),
    option("--out", type=to_path, default="throughput.csv", help="the CSV file to write (default: %(default)s)"),
)
def calibrate(options: argparse.Namespace) -> None:
    """Write the table of throughputs, and print it as it grows."""
    import pandas as pd

    from sgdnoise.training.calibrate import calibrate
    from sgdnoise.training.cell import use_device

    config = load_config(options.config)
    rows = []
    for row in calibrate(config, Path(config["data"]), use_device(config["device"], options.threads), options.seconds):
        rows.append(row)
        print(f"{row.benchmark} at batch size {row.batch_size}: {row.examples_per_second:,.0f} examples/s")
    write_csv(pd.DataFrame(rows), options.out)


def study(text: str) -> Config:
    """Read a study that is given on the command line."""
    try:
        return validate(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


LOOKS = option("--looks", nargs="*", default=[], type=to_path, help="the files of the looks before, the first one first (decide)")


@verb(
    "extend",
    "say which window of learning rates comes after one whose cells are trained (extend_grid)",
    option("--study", required=True, type=study, help="JSON, the study of one point of the grid"),
    option("--low", required=True, help="the lowest learning rate of the window"),
    option("--high", required=True, help="the highest"),
    option("--stage", required=True, choices=("bracket", "full"), help="trained with bracket_seeds or all seeds"),
    JSON,
)
def extend(options: argparse.Namespace) -> None:
    """Write the window that comes next."""
    from sgdnoise.analysis.extend import next_window
    from sgdnoise.study import windows

    (start,) = windows.starts(options.study)
    window = replace(start, low=options.low, high=options.high, stage=options.stage)
    after = next_window(window, options.study)
    publish(options.out, f"{json.dumps(asdict(after))}\n".encode())
    ends = " -> ".join(f"{one.low} to {one.high} ({one.stage})" for one in (window, after))
    print(f"{window.benchmark} {window.optimizer} {window.budget} batch size {window.batch_size}: {ends}")


@verb(
    "look",
    "judge a study by the runs that it has, and say which cells are given more seeds (decide)",
    STUDY,
    LOOKS,
    JSON,
)
def look(options: argparse.Namespace) -> None:
    """Write the overrides that add seeds."""
    from sgdnoise.analysis.extend import settled
    from sgdnoise.claims.looks import next_look
    from sgdnoise.results.collect import collect_cells
    from sgdnoise.study import looks

    config = settled(load_config(options.config)) | {"looks": [looks.read(path) for path in options.looks]}
    added = next_look(config, collect_cells(config))
    publish(options.out, f"{json.dumps(added)}\n".encode())
    print(f"look {len(options.looks) + 1}: more seeds at {len({tuple(one.items())[:4] for one in added})} points of the grid")


@verb(
    "settle",
    "write a study with the windows that its extension has ended at, and the seeds that its looks have added",
    STUDY,
    LOOKS,
    JSON,
)
def settle(options: argparse.Namespace) -> None:
    """Write the settled study."""
    from sgdnoise.analysis.extend import settled
    from sgdnoise.study import looks

    added = [some for path in options.looks if (some := looks.read(path))]
    publish(options.out, f"{grid_part(settled(load_config(options.config)) | {'looks': added})}\n".encode())
