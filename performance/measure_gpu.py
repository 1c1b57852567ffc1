"""Measure on one GPU all that waits for one, the most valuable first: make gpu, or python performance/measure_gpu.py.

A call lasts --minutes, ten by default, and the next one goes on where it ended: what is done is not done again, and a cell goes on
from its checkpoint. Every step is a process of its own with a time limit, so that one that hangs costs no more than that. In order:

1. whether the engine "graph" computes on this GPU what the plain loop does (tests); if not, all cells below are trained by the
   plain loop;
2. its rates against its peers, one row of performance/gpu a step; the rows with a peer that torch compiles for minutes come after 3;
3. calibration: one cell of the paper for the autoencoder, the LSTM and the Wide-ResNet, beside the paper's number;
4. the cells of workflow/config/one_gpu.yaml, those with constant steps first, of each budget mode the cheapest first.

--list prints the table of all steps with their estimated cost, their limits, what is done, and what to carry to a machine without
network: nothing is downloaded. Every finished cell is a file where `snakemake --configfile workflow/config/one_gpu.yaml` looks for
it; --out has the log, a JSON object a line, of every step that was tried, the rates, and the cells of the calibration. With
--dry-run every kind of step runs, tiny, on a CPU: that shows that the script works, and measures nothing.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sgdnoise import benchmarks
from sgdnoise.machine import provenance
from sgdnoise.results.run import read_run
from sgdnoise.study import cost, grid
from sgdnoise.study.cell import Cell, make_cell
from sgdnoise.study.config import load_config

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "workflow/config"
DONE, FAILED, LIMIT, STOPPED = "done", "failed", "limit", "stopped"  # of a step: the last is tried again
LEAST = 20  # seconds that a call must have left to begin a cell
GRACE = 20  # seconds to write a checkpoint in
# By the rows of performance/gpu: seconds on an H200, our guess; a peer that torch compiles takes minutes.
ROW, COMPILED_ROW = 25, 120
COMPILED = (1, 3, 10)
NUM_ROWS = 11
# Benchmark, budget, batch size, learning rate, seeds, what the paper has for the metric (ICLR v5 fig. 9, 8 and 2), seconds.
ANCHORS = [
    ("autoencoder_mnist", "epochs50", 32, 0.08, "0-2", {"test_squared_error": 3.215, "train_squared_error": 2.62}, 80),
    ("lstm_ptb", "epochs40", 64, 2.828, "0-2", {"test_perplexity": 81.8}, 60),
    ("wrn_cifar10", "epochs50", 64, 0.5, "0-0", {"test_accuracy": 0.9347}, 180),
]
SIBLINGS = {"autoencoder_mnist": "autoencoder_digits", "lstm_ptb": "lstm_synthetic", "wrn_cifar10": "wrn_digits"}  # of a dry run


@dataclass(frozen=True)
class Step:
    """A process: `makes` is the file of a cell, `data` what it reads; `seconds` are estimated."""

    name: str
    words: list[str]
    seconds: float
    limit: float
    makes: Path | None = None
    data: Path | None = None
    paper: dict[str, float] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def steps(options: argparse.Namespace, engine: str) -> list[Step]:
    """List all steps in their order."""
    dry = options.dry_run
    device = {} if dry else {"SGDNOISE_DEVICE": "cuda"}
    tests = [
        "-m",
        "pytest",
        "-m",
        "slow or not slow",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "default",  # a warning of another torch is no difference
        str(ROOT / "tests/training/test_graph.py"),
        f"--rootdir={ROOT}",
    ]
    tests += ["-k", "autoencoder_digits"] * dry
    rates = [rate(row, options) for row in range(NUM_ROWS)]
    quick = [one for row, one in enumerate(rates) if row not in COMPILED]
    compiled = [rates[row] for row in COMPILED]
    anchors = [anchor(*one, options=options, engine=engine) for one in ANCHORS]
    cells = decisive(options, engine)
    if dry:
        quick, compiled, cells = quick[:1], compiled[:1], cells[:2]
    return [Step("engine", tests, 60, 240, environment=device), *quick, *anchors, *compiled, *cells]


def rate(row: int, options: argparse.Namespace) -> Step:
    """Measure a row of performance/gpu."""
    seconds = COMPILED_ROW if row in COMPILED else ROW
    words = [str(ROOT / "performance/gpu"), f"--rows={row}", f"--out={options.out / 'rates.json'}"]
    return Step(f"rates/{row}", words + ["--dry-run"] * options.dry_run, seconds, 3 * seconds)


def anchor(
    name: str,
    budget: str,
    batch_size: int,
    lr: float,
    seeds: str,
    paper: dict[str, float],
    seconds: float,
    options: argparse.Namespace,
    engine: str,
) -> Step:
    """Train a cell of the paper for which the paper has a number."""
    if options.dry_run:
        name, budget, batch_size, lr = SIBLINGS[name], "epochs1", 32, 0.08
    cell = make_cell(name, "momentum", budget, batch_size, lr, seeds, "{}", 2, None)
    return train(f"anchors/{name}", cell, options.out / cell.path, seconds, options, engine, paper)


def decisive(options: argparse.Namespace, engine: str) -> list[Step]:
    """Train the cells of the study for one GPU, or in a dry run of the smoke study."""
    config = load_config(CONFIGS / ("smoke.yaml" if options.dry_run else "one_gpu.yaml"))
    results = options.out if options.dry_run else Path(config["results"])
    rates = None if options.dry_run else cost.read_throughput(CONFIGS / "throughput_h200_estimated.csv")
    order = ["constant_step", "constant_epoch", "unlimited"]
    listed = []
    for cell in grid.cells(config):
        seconds = 60.0 if rates is None else 3600 * cost.cost(cell, rates).hours
        listed.append((min(map(order.index, cell.modes)), seconds, cell))
    listed.sort(key=lambda one: one[:2])
    return [train(cell.path, cell, results / cell.path, seconds, options, engine) for _, seconds, cell in listed]


def train(
    name: str,
    cell: Cell,
    out: Path,
    seconds: float,
    options: argparse.Namespace,
    engine: str,
    paper: dict[str, float] | None = None,
) -> Step:
    """Train a cell."""
    words = ["-P", "-m", "sgdnoise", "train", *shlex.split(cell.arguments), f"--data={options.data}"]
    words += [f"--device={'cpu' if options.dry_run else 'cuda'}", f"--engine={engine}", "--checkpoint-seconds=20", f"--out={out}"]
    data = options.data / f"{benchmarks.protocol(cell.benchmark, cell.file)['dataset']}.npz"
    return Step(name, words, seconds, 3 * seconds + 60, out, data, paper or {})


def read_log(options: argparse.Namespace) -> dict[str, str]:
    """Return how each step ended when it was last tried; with --again without those that failed or reached their limit."""
    path = options.out / "log.jsonl"
    lines = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    ended = {one["step"]: one["status"] for one in lines if one["dry_run"] == options.dry_run}
    return {name: status for name, status in ended.items() if not options.again or status == DONE}


def is_done(step: Step, ended: dict[str, str]) -> bool:
    """Say whether a step need not be tried again."""
    return step.makes.exists() if step.makes and ended.get(step.name) != FAILED else ended.get(step.name) in (DONE, FAILED, LIMIT)


def run(step: Step, seconds: float) -> tuple[str, list[str]]:
    """Run a step for at most so many seconds; return how it ended, and its last lines."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *step.words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | step.environment,
        start_new_session=True,
    )
    code: int | None
    try:
        output, _ = process.communicate(timeout=seconds)
        code = process.returncode
    except subprocess.TimeoutExpired:
        code = None
        os.killpg(process.pid, signal.SIGTERM)  # a cell writes a checkpoint
        try:
            output, _ = process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
    lines = output.splitlines()[-(60 if code else 8) :]
    if code is None:
        own = step.makes is None and time.monotonic() - started >= step.limit
        return LIMIT if own else STOPPED, lines
    return DONE if code == 0 else FAILED, lines


def measured(step: Step) -> dict[str, Any]:
    """Return what a cell of the calibration has at its end, per seed, beside the paper's number."""
    curves = read_run(step.makes).curves if step.paper and step.makes else {}
    return {
        metric: {"paper": paper, "measured": curves[metric][:, -1].tolist()}
        for metric, paper in step.paper.items()
        if metric in curves
    }


def table(listed: Iterable[Step], ended: dict[str, str]) -> str:
    """Write the steps in their order with their cost and how they ended."""
    lines, total = ["| step | seconds, estimated | in all, minutes | limit | |", "|---|---|---|---|---|"], 0.0
    for step in listed:
        total += step.seconds
        state = DONE if is_done(step, ended) and ended.get(step.name) not in (FAILED, LIMIT) else ended.get(step.name, "")
        lines.append(f"| {step.name} | {step.seconds:.0f} | {total / 60:.1f} | {step.limit:.0f} | {state} |")
    return "\n".join(lines)


def carried(listed: Iterable[Step]) -> str:
    """Say what a machine without network needs."""
    lines = [f"To carry: the repository (src, performance, tests, workflow, pyproject.toml) beside a Python with {NEEDS}, and"]
    for path in sorted({step.data for step in listed if step.data}):
        size = (
            f"{path.stat().st_size / 1e6:.0f} MB"
            if path.exists()
            else "MISSING: make it where there is a network, `sgdnoise prepare`"
        )
        lines.append(f"  {path} ({size})")
    return "\n".join(lines)


NEEDS = "PyTorch for its GPU, numpy, pandas, h5py, scipy, jsonschema, pyyaml, tqdm and pytest"


def main(options: argparse.Namespace) -> int:
    """Run the steps that are not done until the call's time is over; return 1 if one failed."""
    started, failed = time.monotonic(), False
    ended, plans = read_log(options), {engine: steps(options, engine) for engine in ("graph", "plain")}
    if options.list:
        print(table(plans["graph"], ended), carried(plans["graph"]), sep="\n\n")
        return 0
    import torch

    if not options.dry_run and not torch.cuda.is_available():
        sys.exit("performance/measure_gpu.py: no usable GPU here; try the script with --dry-run, or --list")
    device = "cpu" if options.dry_run else torch.cuda.get_device_name()
    made_by = provenance.collect(torch.device("cpu"), {})
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(len(plans["graph"])):
        engine = "graph" if ended.get("engine") == DONE else "plain"
        step = plans[engine][number]
        left = options.minutes * 60 - GRACE - (time.monotonic() - started)
        if not step.name.startswith(options.only) or is_done(step, ended) or left < (LEAST if step.makes else step.seconds):
            continue
        if step.data and not step.data.exists():
            print(f"{step.name}: not tried, {step.data} is missing", flush=True)
            continue
        begun, now = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        status, lines = run(step, min(step.limit, left))
        ended[step.name], failed = status, failed or status == FAILED
        seconds = round(time.monotonic() - begun, 1)
        record = {"step": step.name, "status": status, "seconds": seconds, "estimated": round(step.seconds, 1)}
        record |= {"limit": step.limit, "started": now, "device": device, "engine": engine if step.makes else None}
        record |= {"dry_run": options.dry_run, "commit": made_by["commit"], "torch": torch.__version__, "tail": lines}
        record |= {"anchor": measured(step)} if status == DONE and step.paper else {}
        with (options.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        said = (json.dumps(record["anchor"]) if "anchor" in record else "") if status == DONE else "".join(lines[-1:])
        print(f"{step.name}: {status} in {seconds} s (estimated {step.seconds:.0f}) {said}", flush=True)
    left_over = [step.name for step in plans["graph"] if step.name.startswith(options.only) and not is_done(step, ended)]
    print(f"{len(left_over)} steps are left" + "".join(f", the first is {name}: run it again" for name in left_over[:1]))
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="that this call may last (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of the data files (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="log, rates, calibration (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the steps, their cost and what to carry; run nothing")
    parser.add_argument("--only", default="", metavar="NAME", help="only the steps whose names begin so: rates, anchors/lstm")
    parser.add_argument("--again", action="store_true", help="try steps again that failed or reached their own limit")
    parser.add_argument("--dry-run", action="store_true", help="every kind of step, tiny, on a CPU")
    sys.exit(main(parser.parse_args()))
