"""Plan: which cells a study has, what they cost, which come next."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path

from sgdnoise.cli.verbs import CONFIG, COUNT, JSON, PROCESSORS, SECONDS, STUDY, number, option, to_path, verb, write_csv
from sgdnoise.machine.files import publish
from sgdnoise.study import arms, feasible, grid, text, warmups
from sgdnoise.study.cell import seed_range
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
        where = [f"--{name}={config[name]}" for name in ("data", "device", "engine")]
        shared = feasible.processes(config, cell.benchmark, cell.batch_size)
        where += [f"--processes={shared}"] * (shared > 1) + [f"--out={Path(config['results']) / cell.path}"]
        command = f"python -P -m sgdnoise train {cell.arguments} {shlex.join(where)}"
        print(
            command if options.commands else f"{cell.path}\n    {','.join(cell.modes)}; {cell.num_steps} updates\n    {command}"
        )
    runs = sum(len(seed_range(cell.seeds)) for cell in cells)
    for warning in (*text.warnings(config), *arms.warnings(config), *warmups.warnings(config)):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)
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
        print(f"{row.benchmark} at batch size {row.batch_size}: {row.examples_per_second:,.0f} gradients of examples/s")
    write_csv(pd.DataFrame(rows), options.out)


BUDGETS = ("batch_sizes", "epochs", "steps", "num_train", "optimizers")


@verb(
    "predict",
    "say what a noisy quadratic model predicts of optimizers at batch sizes, in seconds and without data",
    option("--config", type=to_path, help="of all points of this study; or, in its place:"),
    option("--batch-sizes", nargs="+", type=COUNT, help="examples per update"),
    option("--epochs", type=COUNT, help="the budget of each, in epochs"),
    option("--steps", type=COUNT, help="in updates; with --epochs, of both"),
    option("--num-train", type=COUNT, help="training examples in an epoch"),
    option("--optimizers", nargs="+", help="sgd, momentum, adam, adam_decoupled, kfac, svrg"),
    option(
        "--noise-level", type=number(float, 1e-6, 1e6), default=1, help="of the gradient at batch size 1 (default: %(default)s)"
    ),
    option(
        "--margin",
        type=number(float, 0, 0.999),
        default=0.02,
        help="share of SGD's loss by which an optimizer is better only if it is by more (default: %(default)s)",
    ),
    option("--out", type=to_path, help="the CSV file to write, too"),
)
def predict(options: argparse.Namespace) -> None:
    """Print optimal learning rates, losses and critical batch sizes of the model, and what follows from them."""
    from sgdnoise.analysis import predict

    given = {name: value for name in BUDGETS if (value := getattr(options, name)) is not None}
    notes: list[str] = []
    if options.config:
        if given:
            raise ValueError(f"--{next(iter(given)).replace('_', '-')} is in place of --config; leave out one of them")
        points, notes = predict.of_study(load_config(options.config))
    else:
        if not {"batch_sizes", "num_train", "optimizers"} <= set(given) or not {"epochs", "steps"} & set(given):
            raise ValueError("give --config, or --batch-sizes, --num-train, --optimizers and --epochs or --steps or both")
        amounts = {"epochs": options.epochs, "steps": options.steps}
        points = predict.of_budgets(options.optimizers, options.batch_sizes, amounts, options.num_train)
    for note in notes:
        print(f"sgdnoise: warning: {note}", file=sys.stderr)
    if not points:
        raise ValueError(f"{options.config}: no optimizer of it has a form in the model")
    table = predict.predict(points, options.noise_level)
    if options.out:
        write_csv(table, options.out)
    print(predict.text(table, options.margin))


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

    config = load_config(options.config)
    if config["decide"] is None:
        raise ValueError(f"{options.config}: it has no `decide`, by which looks add seeds; add it, or leave this verb out")
    config = settled(config) | {"looks": [looks.read(path) for path in options.looks]}
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
