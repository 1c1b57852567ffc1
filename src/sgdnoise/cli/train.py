"""Train: data, cells, what is measured in a run."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import (
    CELL,
    CONFIG,
    COUNT,
    CSV,
    DATA,
    FILE,
    PROCESSORS,
    SECONDS,
    SETTINGS,
    THREADS,
    cell_of,
    json_object,
    number,
    option,
    to_path,
    verb,
    write_csv,
)
from sgdnoise.machine.files import publish
from sgdnoise.study import grid, progress
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import check_part, load_config
from sgdnoise.study.feasible import processes
from sgdnoise.study.optimizers import optimizer


@verb(
    "prepare",
    "make the data file of a benchmark, downloading what is missing",
    option("benchmarks", nargs="+", metavar="benchmark", help=f"{', '.join(benchmarks.names())}; or NAME=FILE, of your own"),
    FILE,
    DATA,
)
def prepare(options: argparse.Namespace) -> None:
    """Make the data files of benchmarks of one study, and look whether they hold what training reads."""
    import torch

    from sgdnoise.machine import datasets
    from sgdnoise.training.cell import prepared

    asked = [(name, file or options.file) for name, _, file in (one.partition("=") for one in options.benchmarks)]
    recipes: dict[Path, list[str]] = {}
    for name, file in asked:
        path = options.data / f"{benchmarks.protocol(name, file)['dataset']}.npz"
        benchmark, recipe, beside = benchmarks.load(name, file), benchmarks.recipe(name, file), recipes.setdefault(path, [])
        data = prepared(benchmark, path, torch.device("cpu"), recipe, beside)
        datasets.read(path)
        next(benchmark.batches(data, 1, torch.Generator(), 0, slice(0, 1)))
        beside.append(recipe)
    for path in recipes:
        print(f"{path} is ready")


@verb(
    "check",
    "check in seconds that a benchmark keeps its contract with training; say what to change if not",
    option("benchmark", help=", ".join(benchmarks.names())),
    FILE,
    DATA,
    SETTINGS,
    option("--batch-size", type=COUNT, default=8, help="examples of the batches (default: %(default)s)"),
    option("--second-derivative", action="store_true", help="ask for what `noise-scale` needs, too"),
    option("--optimizers", type=json_object, default="{}", help="JSON, {name: definition} of a study's own, to be tried, too"),
    option("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="default: %(default)s"),
    THREADS,
    option("--out", type=to_path, help="a JSON file to write if nothing is wrong"),
)
def check(options: argparse.Namespace) -> None:
    """Check a benchmark; a line for everything that is wrong."""
    started = time.perf_counter()
    check_part("optimizers", options.optimizers, "--optimizers")
    from sgdnoise.training.cell import use_device
    from sgdnoise.training.check import problems

    device = use_device(options.device, options.threads)
    where = (options.benchmark, options.file, options.settings, options.data)
    if lines := list(problems(*where, device, options.batch_size, options.second_derivative, options.optimizers)):
        raise ValueError("\n  ".join([f"{options.benchmark} cannot be trained as it is:", *lines]))
    seconds = round(time.perf_counter() - started, 1)
    if options.out:
        publish(options.out, f"{json.dumps({'benchmark': options.benchmark, 'seconds': seconds})}\n".encode())
    print(f"{options.benchmark} can be trained: checked in {seconds} s")


@verb(
    "check-study",
    "check in seconds, without data, that optimizers, batch sizes, engine and device of a study go together; say what to change if not",
    CONFIG,
    option("--benchmarks", nargs="*", help="of these alone (default: of all)"),
    option("--elsewhere", action="store_true", help="its cells are trained on other machines, so the device is not looked at"),
)
def check_study(options: argparse.Namespace) -> None:
    """Check what the cells of a study would refuse when they start; a line for everything that is wrong."""
    from sgdnoise.training.cell import use_device
    from sgdnoise.training.feasible import refusals

    config = load_config(options.config)
    device = None if options.elsewhere else use_device(config["device"], 1)
    chosen = set(config["benchmarks"] if options.benchmarks is None else options.benchmarks)
    shared = [
        (cell, processes(config, cell.benchmark, cell.batch_size)) for cell in grid.trained(config) if cell.benchmark in chosen
    ]
    measured = [(cell, 1) for name, cell in grid.noise_cells(config).items() if name in chosen]
    if lines := [*refusals(shared, config["engine"], device), *refusals(measured, "plain", device)]:
        raise ValueError("\n  ".join(["the study cannot be trained as it is:", *dict.fromkeys(lines)]))
    print(f"{', '.join(sorted(chosen))}: optimizers, batch sizes, engine and device go together")


@verb(
    "train",
    "train the seeds of one cell and write its HDF5 file",
    *CELL,
    option("--processes", type=PROCESSORS, default=1, help="share every batch among so many, one GPU each (torchrun)"),
    option("--checkpoint-seconds", type=SECONDS, default=300, help="between checkpoints (default: %(default)s)"),
    option(
        "--engine",
        default="auto",
        choices=("auto", "plain", "packed", "graph"),
        help="the plain loop; or seeds together: packed (faster; on a CPU: autoencoders, small LSTMs, and small batches of Wide-"
        "ResNets on small images), or as one CUDA graph (for GPUs); default: packed where it can be, else plain",
    ),
    option("--out", required=True, type=to_path, help="the HDF5 file to write"),
)
def train(options: argparse.Namespace) -> None:
    """Train a cell, with a progress bar if a person is watching."""
    cell = cell_of(options)
    if options.processes > 1 and "WORLD_SIZE" not in os.environ:
        from sgdnoise.machine.parallel import launch

        raise SystemExit(launch(options.processes, sys.argv[1:]))
    total = cell.num_steps * len(seed_range(cell.seeds))
    gc.disable()  # collecting while torch is imported costs every cell 0.4 s
    from sgdnoise.machine import parallel
    from sgdnoise.results import run
    from sgdnoise.training.cell import train_cell, use_device

    gc.freeze()
    gc.enable()
    device = parallel.join(use_device(options.device, options.threads))
    saved = progress.checkpoint_of(options.out)
    with shown(options.out, total, parallel.rank()) as on_step:
        result = train_cell(
            cell,
            options.data,
            device,
            on_step=on_step,
            checkpoint_path=saved,
            checkpoint_seconds=options.checkpoint_seconds,
            asked_to_stop=listen_for_signals(parallel.rank()),
            engine=options.engine,
        )
    if parallel.rank() > 0:
        return
    run.write_run(options.out, result)
    saved.unlink(missing_ok=True)
    diverged, made = result.status.count(run.DIVERGED), result.provenance
    speed = f"{made['examples_per_second']:,.0f} examples/s on {made['device']}"
    seconds = sum(part["seconds"] for part in [*made["continued"], made])
    print(f"{options.out}: {len(result.seed)} runs, {diverged} diverged, {speed}, {seconds:.1f} s")


@contextmanager
def shown(out: Path, total: int, rank: int) -> Iterator[Callable[[int], None]]:
    """Yield what is told the updates finished, of `total`: for `status`, and for a person who is watching."""
    from tqdm import tqdm

    with tqdm(total=total, unit="update", disable=not sys.stderr.isatty() or rank > 0) as bar, progress.noted(out, total) as tell:

        def on_step(done: int) -> None:
            bar.update(done - bar.n)
            if rank == 0:
                tell(done)

        yield on_step


def listen_for_signals(rank: int) -> Callable[[], bool]:
    """Make SIGTERM, SIGHUP and the first Ctrl-C ask for a stop after the current update; return whether one came.

    SIGHUP: the terminal was closed. Under `nohup` it stays ignored, as any signal that was when this process began.
    Of processes that share a batch only number 0 listens: it writes the checkpoint, then torchrun ends the others.
    """
    received: list[int] = []

    def receive(signum: int, frame: object) -> None:
        received.append(signum)
        if signum != signal.SIGHUP:  # of which shell and kernel both send one
            signal.signal(signum, signal.SIG_DFL)  # a second one stops at once

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, receive if rank == 0 else signal.SIG_IGN)
    return lambda: bool(received)


@verb(
    "noise-scale",
    "train a cell and measure its gradient noise scale and stable learning rate",
    *CELL,
    option(
        "--at", type=number(float, 1e-9, 1), nargs="+", default=[0.1, 0.5, 1.0], help="shares of the run (default: %(default)s)"
    ),
    option("--num-batches", type=number(int, 8, 1_000_000), default=64, help="batches to measure on (default: %(default)s)"),
    CSV,
)
def noise_scale(options: argparse.Namespace) -> None:
    """Write the table of noise scales of a run, and print it."""
    import pandas as pd

    from sgdnoise.training import noise_run
    from sgdnoise.training.cell import use_device

    cell, device = cell_of(options), use_device(options.device, options.threads)
    table = pd.DataFrame(noise_run.measure_run(cell, options.data, device, options.at, options.num_batches))
    write_csv(table, options.out)
    for row in table.to_dict("records"):
        print(f"seed {row['seed']}, epoch {row['epoch']:.4g}, lr {row['lr']:.4g}")
        for name in noise_run.QUANTITIES:
            value, low, high = (row[name + end] for end in ("", "_low", "_high"))
            text = "not identifiable" if pd.isna(value) else f"{value:.4g}"
            if name == "stable_lr" and not optimizer(cell.optimizer, cell.definition).is_sgd:
                text = "known of SGD only"
            print(f"  {name:<22}{text:>18}" + ("" if pd.isna(low) else f"   [{low:.4g}, {high:.4g}]"))
