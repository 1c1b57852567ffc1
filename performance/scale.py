"""Measure how the workflow scales with the number of cells: python performance/scale.py (make scale), about five minutes.

Planning is `snakemake -n` with no cell trained, with a block of text per cell and without (-q); then as many results are made up,
and `collect` and `optimum` read them. The table is printed and written to results/scale.md. Times are wall-clock, memory the largest
resident set of any process.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from workflow_folder import ROOT, workflow_folder

from sgdnoise.results import run
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import validate

SIZES = {2_600: 5, 13_000: 15, 40_000: 60}  # cells: the goal for planning, seconds
WINDOW = [0.08, 81.92]  # eleven learning rates


def study(num_cells: int) -> dict:
    """Return a config with about so many cells: eleven learning rates and two optimizers at every batch size."""
    sizes = range(1, num_cells // 22 + 1)
    mode = {"steps": 40, **{name: dict.fromkeys(map(str, sizes), WINDOW) for name in ("sgd", "momentum")}}
    return {"evaluations": 2, "benchmarks": {"autoencoder_digits": {"seeds": {"num": 3, "keep": 2}, "constant_step": mode}}}


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command in a child of its own; return its seconds, and the largest memory of it or its children in GB."""
    code = (
        "import resource, subprocess, sys, time; start = time.perf_counter();"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6)"
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def make_up(config: dict, folder: Path) -> int:
    """Write a result for every cell of a study; return their number."""
    run.publish = lambda path, content: (path.parent.mkdir(parents=True, exist_ok=True), path.write_bytes(content))
    cells = grid.cells(validate(config))
    random = np.random.default_rng(0)
    for cell in cells:
        seeds = np.array(seed_range(cell.seeds))
        names = ("train_loss", "test_loss", "train_squared_error", "test_squared_error", "train_objective", "stream_loss")
        curves = {name: random.random((len(seeds), 2)) for name in names}
        provenance = {"bounds": {}, "examples_per_second": 1.0}
        made_up = run.Run(
            cell.spec, np.array([20, 40]), np.array([1.0, 0.5]), seeds, ["completed"] * len(seeds), curves, provenance
        )
        run.write_run(folder / "results" / cell.path, made_up)
    return len(cells)


def tables(size: int, folder: Path) -> Iterator[str]:
    """Make up the results of a study, and yield lines of the table: what `collect` and `optimum` take for them."""
    started = time.perf_counter()
    number = make_up(study(size), folder)
    print(f"made up {number:,} results in {time.perf_counter() - started:.0f} s", flush=True)
    sgdnoise = [sys.executable, "-m", "sgdnoise"]
    collect = ["collect", "--config=config.yaml", f"--workers={min(2, os.cpu_count() or 1)}", "--out=cells.csv"]
    optimum = ["optimum", "--config=config.yaml", "--cells=cells.csv", "--out=optimum.csv"]
    (first, memory), (second, more) = measured(sgdnoise + collect, folder), measured(sgdnoise + optimum, folder)
    goal = 60 if size == max(SIZES) else ""
    yield f"| {number:,} | `collect`, 2 processes, + `optimum` | {first:.1f} + {second:.1f} | {goal} | {max(memory, more):.2f} |"


def main() -> None:
    """Measure everything and write the table."""
    lines = [f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", ""]
    lines += ["| cells | what | seconds | goal | memory, GB |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        for size, goal in SIZES.items():
            folder = workflow_folder(Path(temporary) / str(size), study(size))
            for option in ([], ["-q"]):
                command = ["snakemake", "-n", *option]
                seconds, memory = measured(command, folder)
                lines.append(f"| {size:,} | `{' '.join(command)}` | {seconds:.1f} | {goal} | {memory:.2f} |")
                print(lines[-1], flush=True)
            lines.extend(tables(size, folder))
            print(lines[-1], flush=True)
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/scale.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
