"""Measure where the time of a cell goes on this CPU: python performance/parts.py (make bench-cpu).

A cell is a command that starts, reads its data, builds its networks, updates them, evaluates them and writes its file. The
start is what a command of one update takes beside its training function and the file, once with the import of torch (cold) and
once as the local workflow starts cells (warm). All other parts are timed inside a fork of this process, which has imported
torch, as the workflow's cells are. Start and writing are in wall time, all else in CPU time, which is the time on an idle core.
"Other" is building the networks and asking git for the version. Of a long cell the first 500 updates and one evaluation of one
seed are run, and the others counted at their mean. The data of MNIST are random pixels in its shapes. The table has medians;
the samples are written to results/bench_parts.json.
"""

import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sgdnoise.machine import datasets, provenance
from sgdnoise.results import run
from sgdnoise.study import grid
from sgdnoise.study.cell import CELL_OPTIONS, Cell, make_cell, seed_range
from sgdnoise.study.config import load_config
from sgdnoise.training import cell as training_cell
from sgdnoise.training import loop

ROOT = Path(__file__).parent.parent
SAMPLES, LONGEST = 5, 500  # LONGEST: updates that are run of a cell
# Config, benchmark and batch size of each cell: trained with momentum at equal epochs or updates, in the middle of its window.
CELLS = [
    ("config.yaml", "wrn_noisy_digits", 64),
    ("config.yaml", "autoencoder_digits", 64),
    ("config.yaml", "lstm_synthetic", 16),
    ("workflow/config/cpu_mnist.yaml", "autoencoder_mnist", 8),
    ("workflow/config/paper.yaml", "autoencoder_mnist", 64),
]
PARTS = ("start", "reading", "evaluation", "writing", "other")  # besides the updates


@dataclass(frozen=True)
class Chosen:
    """A cell of a study, and what of it is run: all, or of a long one so many updates of its first seed and one evaluation."""

    config: str
    cell: Cell
    num_steps: int
    evaluations: int

    def shortened(self) -> Cell:
        given = {name: getattr(self.cell, name) for name in CELL_OPTIONS}
        changed = {"lr": float(self.cell.lr), "budget": f"steps{self.num_steps}", "evaluations": self.evaluations}
        return make_cell(**given | changed)


def choose(config: str, benchmark: str, batch_size: int) -> Chosen:
    """Find a cell of CELLS."""
    wanted = (benchmark, "momentum", batch_size)
    cells = [cell for cell in grid.cells(load_config(str(ROOT / config))) if cell.modes[0] != "unlimited"]
    cells = [cell for cell in cells if (cell.benchmark, cell.optimizer, cell.batch_size) == wanted]
    cell = cells[len(cells) // 2]
    if cell.num_steps <= LONGEST:
        return Chosen(config, cell, cell.num_steps, cell.evaluations)
    return Chosen(config, replace(cell, seeds="0-0"), LONGEST, 1)


def spent() -> float:
    """Return the CPU time of this process and of those that it has run."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def clocked(module: ModuleType, name: str, clock: Callable[[], float]) -> list[float]:
    """Replace a function of a module by itself with a clock; return the list of the seconds of its calls, which grows."""
    original, seconds = getattr(module, name), list[float]()

    def function(*arguments: Any, **named: Any) -> Any:
        started = clock()
        result = original(*arguments, **named)
        seconds.append(clock() - started)
        return result

    setattr(module, name, function)
    return seconds


def parts_of(cell: Cell, folder: Path, engine: str = "auto") -> dict[str, float]:
    """Train a cell and return the seconds of its parts, and of one update and one evaluation of all seeds; changes this process."""
    device = training_cell.use_device("cpu", 1)
    reading, evaluation = clocked(training_cell, "load_data", spent), clocked(loop, "evaluate", spent)
    training, writing = clocked(training_cell, "train_cell", spent), clocked(run, "write_run", time.perf_counter)
    result = training_cell.train_cell(cell, folder, device, engine=engine)
    run.write_run(folder / "a.h5", result)
    updates = result.provenance["train_cpu_seconds"]
    other = sum(training) - updates - sum(reading) - sum(evaluation)
    parts = {"reading": sum(reading), "writing": sum(writing), "other": other}
    return parts | {"update": updates / cell.num_steps, "evaluation": sum(evaluation) / cell.evaluations}


def starts(cell: Cell, folder: Path) -> dict[str, list[float]]:
    """Run the command of a cell, cold and warm; return the seconds that it takes beside its training function."""
    words = ["train", f"--data={folder}", "--device=cpu", f"--out={folder / 'a.h5'}", *shlex.split(cell.arguments)]
    seconds: dict[str, list[float]] = {"start": [], "cold start": []}
    subprocess.run([sys.executable, "-m", "sgdnoise.cli.warm", *words], check=True, capture_output=True)  # starts the server
    for _ in range(SAMPLES):
        for name, module in (("start", "sgdnoise.cli.warm"), ("cold start", "sgdnoise")):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", module, *words], check=True, capture_output=True)
            spent = time.perf_counter() - started
            seconds[name].append(spent - run.read_run(folder / "a.h5").provenance["seconds"])
    return seconds


def measure(chosen: Chosen, folder: Path) -> dict[str, list[float]]:
    """Return the samples of the parts of a cell, in seconds: of updates and evaluations for one of all seeds."""
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        found = [pool.apply(parts_of, (chosen.shortened(), folder)) for _ in range(SAMPLES)]
    return {name: [one[name] for one in found] for name in found[0]}


def row(chosen: Chosen, samples: dict[str, list[float]]) -> str:
    """Write a cell's line of the table: milliseconds of its parts, and shares of the whole."""
    cell, seconds = chosen.cell, {name: statistics.median(values) for name, values in samples.items()}
    seconds["evaluation"] *= cell.evaluations
    for name in ("start", "cold start"):
        seconds[name] -= seconds["writing"]
    updates, rest = cell.num_steps * seconds["update"], sum(seconds[name] for name in PARTS)
    around, later = seconds["reading"] + seconds["writing"], seconds["cold start"] - seconds["start"]
    shares = [(seconds["start"] + around) / (updates + rest), (seconds["cold start"] + around) / (updates + rest + later)]
    counted = "" if chosen.num_steps == cell.num_steps else f" ({chosen.num_steps} run)"
    size = f"{len(seed_range(cell.seeds))} x {cell.num_steps:,}{counted}"
    times = [f"{1e3 * seconds[name]:.0f}" for name in ("cold start", *PARTS)]
    fields = [f"{cell.benchmark} of {Path(chosen.config).stem}", cell.batch_size, size, f"{updates:,.2f}", *times]
    return f"| {' | '.join(map(str, fields))} | {shares[0]:.1%} | {shares[1]:.1%} | {rest / (updates + rest):.1%} |"


def random_pixels(folder: Path) -> dict[str, np.ndarray]:
    """Make arrays in MNIST's shapes."""
    random = np.random.default_rng(0)
    return {
        f"{split}_pixels": random.integers(256, size=(n, 784), dtype=np.uint8)
        for split, n in (("train", 60_000), ("test", 10_000))
    }


def main() -> None:
    """Measure, print the table and write the samples."""
    samples: list[dict[str, Any]] = []
    times = " | ".join(f"{name}, ms" for name in ("cold start", *PARTS))
    print(
        f"| cell | batch size | seeds x updates | updates, s | {times} | start and files | with a cold start | all but updates |"
    )
    print("|---" * 13 + "|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        datasets.prepare(folder / "mnist.npz", random_pixels)
        start = starts(make_cell("autoencoder_digits", "sgd", "steps1", 32, 0.08, "0-0", "{}", 1, None), folder)
        for chosen in (choose(*place) for place in CELLS):
            samples.append({"config": chosen.config, "cell": chosen.cell.path, "seconds": start | measure(chosen, folder)})
            print(row(chosen, samples[-1]["seconds"]), flush=True)
    made_by = provenance.collect(training_cell.use_device("cpu", 1), {}) | {"cores": os.cpu_count(), "load": os.getloadavg()}
    print(f"\nmedians of {SAMPLES}; {made_by['device']}, torch {made_by['torch']}, load {made_by['load'][0]:.1f}")
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/bench_parts.json").write_text(json.dumps({"made_by": made_by, "samples": samples}, indent=1))


if __name__ == "__main__":
    main()
