"""Measure what the project costs its users: python performance/bench.py (make bench).

Every row is timed here and now, in temporary folders with the workflow; the table is printed and written to
results/bench.md. Takes about as long as `make figures` and `make test` together.
"""

import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workflow_folder import ROOT, workflow_folder

from sgdnoise.results.run import read_run
from sgdnoise.study import grid
from sgdnoise.study.config import load_config, validate

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its wall and CPU seconds, those of all its children included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout[-5000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def default_run(folder: Path) -> list[tuple[str, str, str]]:
    """Time the default study; the share of training is of the time of all cores, since warm cells are no children of ours."""
    wall, _ = timed(["snakemake", "--cores", "all", "figures/all"], workflow_folder(folder))
    cells = grid.cells(load_config(str(folder / "config.yaml")))
    runs = [read_run(folder / "results" / cell.path) for cell in cells]
    training = sum(run.provenance["train_cpu_seconds"] for run in runs)
    seeds, cores = sum(len(run.seed) for run in runs), wall * (os.cpu_count() or 1)
    return [
        (
            "`make figures` after set-up, wall",
            f"{wall / 60:.1f} min ({len(cells)} cells, {seeds} runs)",
            "at most 4 min on 2 cores",
        ),
        (
            "share of the cores' time spent in updates",
            f"{training / cores:.0%} ({training:.0f} of {cores:.0f} s)",
            "at least 55 %",
        ),
    ]


def cell_process(folder: Path) -> list[tuple[str, str, str]]:
    """Time a whole process that makes one update: start, import, data, two evaluations, update, write."""
    command = [
        "python",
        "-m",
        "sgdnoise",
        "train",
        "--benchmark=wrn_digits",
        "--optimizer=sgd",
        "--budget=steps1",
        "--batch-size=32",
    ]
    command += ["--lr=1", "--evaluations=1", f"--data={folder}", f"--out={folder / 'a.h5'}"]
    timed(command, ROOT)
    walls = [timed(command, ROOT)[0] for _ in range(5)]
    folder.mkdir(exist_ok=True)
    result = f"median {statistics.median(walls):.2f} s ({min(walls):.2f} to {max(walls):.2f}, n = 5)"
    return [("process of a cell with one update, from start to exit", result, "at most 3.5 s to the first update")]


def planning(folder: Path) -> list[tuple[str, str, str]]:
    """Time `snakemake -n` on 2,600 cells."""
    window = [0.08 * 2.0**-32, 0.08 * 2.0**32]
    windows = {2**k: window for k in range(10)} | {3 * 2**k: window for k in range(10)}
    mode = {"epochs": 10, "sgd": windows, "momentum": windows}
    config = {"benchmarks": {"autoencoder_digits": {"seeds": {"num": 3, "keep": 2}, "constant_epoch": mode}}}
    assert len(grid.cells(validate(config))) == 2600
    copy = workflow_folder(folder, config)
    walls = [timed(["snakemake", "-n", "--quiet", "--", "figures/all"], copy)[0] for _ in range(3)]
    return [("`snakemake -n`, 2,600 cells", f"median {statistics.median(walls):.1f} s (n = 3)", "at most 6 s")]


def test_suite(folder: Path) -> list[tuple[str, str, str]]:
    """Time the test suite."""
    wall, _ = timed(["pytest", "--numprocesses", "2", "--dist", "loadscope", "-q"], ROOT)
    return [("`make test` after set-up", f"{wall / 60:.1f} min", "at most 4 min")]


def main() -> None:
    """Measure, print and write the table."""
    parts = {"cell": cell_process, "plan": planning, "figures": default_run, "test": test_suite}
    chosen = sys.argv[1:] or list(parts)
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for name in chosen:
            for row in parts[name](Path(temporary) / name):
                rows.append(row)
                print(*row, sep=" | ", file=sys.stderr, flush=True)
    versions = subprocess.run(
        ["python", "-m", "pip", "list", "--format=json"], env=ENVIRONMENT, capture_output=True, check=True
    ).stdout
    known = {package["name"]: package["version"] for package in json.loads(versions)}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, torch {known['torch']}, snakemake {known['snakemake']}"
    lines = [
        f"Measured on {machine}.",
        "",
        "| what | measured | goal |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results/bench.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
