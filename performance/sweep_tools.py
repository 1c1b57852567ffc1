"""Run the default study by this workflow and by sweep tools: python performance/sweep_tools.py (make bench-sweeps).

All in one script, one tool after another on the same two cores: the same cells in the same order, two at a time, each trained
by `train_cell` on one thread and written by `write_run`. `--cells 12` tries it in two minutes on a sample of the autoencoder's
cells. Times are of whole commands, from start to exit. Afterwards the study gets one learning rate more, and the time until
its result is there is measured twice: the study is given again as a whole, and the new cell by its name. The first only for the
workflow, which finds the cell itself; the others know nothing of finished files and would do all cells again. Every tool is used
as its documentation advises for many short runs in processes of one machine; where it offers a choice, a comment says which was
taken. The curves of all tools must be bitwise equal. Prints a table and writes every sample to results/bench_sweeps.json as it
comes. A tool that is not installed is left out.
"""

import argparse
import copy
import json
import multiprocessing
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from workflow_folder import ROOT, workflow_folder

from sgdnoise.results.run import read_run
from sgdnoise.study import grid
from sgdnoise.study.cell import Cell
from sgdnoise.study.config import validate

WORKERS = 2
CHANGES = 3  # times that the changed cell of the whole study is measured; once in a sample
CHEAP = "autoencoder_digits"
# What is imported of each tool, and the package that has its version.
TOOLS = {
    "workflow": ("snakemake", "snakemake"),
    "Optuna": ("optuna", "optuna"),
    "Ray Tune": ("ray.tune", "ray"),
    "Hydra": ("hydra_plugins.hydra_joblib_launcher.joblib_launcher", "hydra-core"),
}


@dataclass
class Sample:
    """One tool's study, in seconds: of commands, and of all its cells as their files have it."""

    tool: str
    load: float
    study: float
    train_cell: float = 0.0  # in the training function: data, updates, evaluation
    updates: float = 0.0
    figures: float | None = None  # tables and figures afterwards
    changed: list[float] = field(default_factory=list)  # the study given again with a cell more
    named: list[float] = field(default_factory=list)  # that cell alone, given by its name


def train_one(path: str, folder: Path) -> float:
    """Train the cell of a result's path as `sgdnoise train` does; return how many of its runs completed, for the tool."""
    from sgdnoise.results import run
    from sgdnoise.training.cell import train_cell, use_device

    cell = Cell(**json.loads((folder / "cells.json").read_text())[path])
    result = train_cell(cell, folder / "data", use_device("cpu", 1))
    run.write_run(folder / "results" / path, result)
    return float(result.status.count(run.COMPLETED))


def optuna_study(paths: list[str], folder: Path) -> None:
    """Run a grid of cells in two processes that share a study.

    In a file of journals, which Optuna advises for processes of one machine; SQLite is discouraged there. The callback keeps the
    process that is done first from training the other's last cell once more. A stored study cannot grow: a changed grid is
    another search space, of which nothing counts as visited. So the changed cell is a study of its own in the same storage.
    """
    import optuna

    name = optuna.create_study(storage=optuna_storage(folder)).study_name
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=optuna_worker, args=(name, paths, folder)) for _ in range(min(WORKERS, len(paths)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(max(worker.exitcode or 0 for worker in workers))


def optuna_storage(folder: Path) -> Any:
    """Open the storage of all studies in a folder."""
    import optuna

    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "optuna.log")))


def optuna_worker(name: str, paths: list[str], folder: Path) -> None:
    """Train cells of a study until none is left. The sampler shuffles them, by its seed in both processes alike."""
    import optuna

    sampler = optuna.samplers.GridSampler({"path": paths}, seed=0)
    study = optuna.load_study(study_name=name, storage=optuna_storage(folder), sampler=sampler)
    all_started = optuna.study.MaxTrialsCallback(len(paths), states=None)
    study.optimize(lambda trial: train_one(trial.suggest_categorical("path", paths), folder), callbacks=[all_started])


def ray_study(paths: list[str], folder: Path) -> None:
    """Run a grid of cells as trials of one core each.

    Actors are reused, or every trial would import torch. `Tuner.restore` is for interrupted experiments, not for other search
    spaces, says Ray. So the changed cell is an experiment of its own.
    """
    import ray
    from ray import tune

    ray.init(num_cpus=WORKERS, include_dashboard=False)
    tuner = tune.Tuner(
        lambda config: {"completed": train_one(config["path"], folder)},
        param_space={"path": tune.grid_search(paths)},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder / "ray")),
    )
    sys.exit(tuner.fit().num_errors)


def hydra_study(paths: list[str], folder: Path) -> None:
    """Run cells as the jobs of a multirun, in joblib's two processes, which outlive a job.

    Jobs know nothing of each other, and Hydra nothing of earlier ones. So the changed cell is a multirun of its one override.
    """
    import hydra
    from hydra.core.config_store import ConfigStore

    def job(config: Any) -> float:
        return train_one(config.path, folder)

    ConfigStore.instance().store("cell", {"path": ""})
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={WORKERS}", f"hydra.sweep.dir={folder}/multirun"]
    sys.argv[1:] = ["--multirun", *launcher, f"path={','.join(paths)}"]
    hydra.main(version_base="1.3", config_path=None, config_name="cell")(job)()


STUDIES = {"Optuna": optuna_study, "Ray Tune": ray_study, "Hydra": hydra_study}


def command(tool: str, paths: Iterable[str]) -> list[str]:
    """Write the command by which a tool runs the cells of these paths, in the folder that it is started in."""
    if tool == "workflow":
        return [sys.executable, "-m", "snakemake", "--cores", str(WORKERS), *(f"results/{path}" for path in paths)]
    return [sys.executable, __file__, "--study", tool, *paths]


def command_of_one(tool: str, cell: Cell) -> list[str]:
    """Write the command by which a user of the tool runs a single cell."""
    if tool == "workflow":
        train = [sys.executable, "-m", "sgdnoise", "train", *shlex.split(cell.arguments)]
        return [*train, "--data=data", "--device=cpu", f"--out=results/{cell.path}"]
    return command(tool, [cell.path])


def timed(words: Sequence[str], folder: Path) -> float:
    """Run a command in a folder to its end and return its seconds.

    It gets a folder for temporary files of its own, so that no process which an earlier one left behind helps it.
    """
    temporary = tempfile.mkdtemp(prefix="", dir=folder)  # short: it becomes part of the paths of sockets
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}  # a busy machine takes its time
    started = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(words)[:200]} failed:\n{done.stdout[-5000:]}")
    return seconds


def measure(tool: str, config: dict, cells: list[Cell], folder: Path) -> Sample:
    """Let a tool run the cells and then one more, in a fresh folder."""
    paths = [cell.path for cell in cells]
    wider, extra = widened(config)
    everything = {cell.path: asdict(cell) for cell in [*cells, extra]}
    workflow_folder(folder, config)
    (folder / "cells.json").write_text(json.dumps(everything))
    (folder / "data").symlink_to(folder.parent / "data")

    load = os.getloadavg()[0]
    print(f"{tool}: {len(paths)} cells, load {load:.1f}", file=sys.stderr, flush=True)
    sample = Sample(tool, load, timed(command(tool, paths), folder))
    made_by = [read_run(folder / "results" / path).provenance for path in paths]
    sample.train_cell = sum(one["seconds"] for one in made_by)
    sample.updates = sum(one["train_cpu_seconds"] for one in made_by)
    whole = len(cells) == len(grid.cells(config))
    if tool == "workflow" and whole:
        sample.figures = timed([*command(tool, []), "figures/all"], folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(wider))
    result = folder / "results" / extra.path
    for _ in range(CHANGES if whole else 1):
        result.unlink(missing_ok=True)
        if tool == "workflow":
            sample.changed.append(timed(command(tool, everything), folder))
            result.unlink()
        sample.named.append(timed(command_of_one(tool, extra), folder))
    return sample


def widened(config: dict) -> tuple[dict, Cell]:
    """Return the config with one learning rate more at the top of a window, and the cell that this adds."""
    wider = copy.deepcopy(config)
    window = wider["benchmarks"][CHEAP]["constant_epoch"]["sgd"]
    window[max(window, key=int)][1] *= 2
    before = {cell.path for cell in grid.cells(config)}
    (extra,) = (cell for cell in grid.cells(wider) if cell.path not in before)
    return wider, extra


def drawn(cells: list[Cell], number: int | None) -> list[Cell]:
    """Draw a number of the cheap benchmark's cells, evenly spread; without a number take all cells."""
    if number is None:
        return cells
    cheap = [cell for cell in cells if cell.benchmark == CHEAP]
    if not 2 <= number <= len(cheap):
        raise SystemExit(f"--cells {number}: {CHEAP} has {len(cheap)} cells; choose from 2 to {len(cheap)}")
    return [cheap[round(index * (len(cheap) - 1) / (number - 1))] for index in range(number)]


def check_same(folders: Sequence[Path], paths: Iterable[str]) -> None:
    """Fail unless the curves in all folders are bitwise those in the first."""
    for path in paths:
        first, *others = ({name: curve.tobytes() for name, curve in read_run(one / path).curves.items()} for one in folders)
        for folder, curves in zip(folders[1:], others, strict=True):
            if differing := [name for name in first if curves.get(name) != first[name]]:
                raise SystemExit(f"{folder / path} differs from {folders[0] / path} in {', '.join(differing)}: not the same runs")


def installed() -> dict[str, str]:
    """Return the versions of the tools that can be imported here; say why of the others. Importing also fills the disk's cache."""
    found = {}
    for tool, (module, package) in TOOLS.items():
        done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
        if done.returncode:
            print(f"{tool} is left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        else:
            found[tool] = f"{package} {version(package)}"
    return found


def row(tool: str, samples: list[Sample], num_cells: int) -> str:
    """Write a tool's line of the table; medians over the rounds, of a cell more with the range."""
    overhead = median((WORKERS * one.study - one.train_cell) / num_cells for one in samples)
    share = median(one.updates / WORKERS / one.study for one in samples)
    study = f"{median(one.study for one in samples):.1f}"
    again = spread([seconds for one in samples for seconds in one.changed]) or f"all again, {study}"
    return f"| {tool} | {study} | {overhead:.2f} | {share:.0%} | {again} | {spread([s for one in samples for s in one.named])} |"


def spread(values: list[float]) -> str:
    """Write the median of some seconds and their range; nothing if there are none."""
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else ""


def main() -> None:
    """Measure, print the table and write the samples."""
    parser = argparse.ArgumentParser(description="Run the default study by this workflow and by sweep tools.")
    parser.add_argument("--cells", type=int, help=f"a sample of so many cells of {CHEAP} (default: the whole study)")
    parser.add_argument("--rounds", type=int, default=1, help="how often the tools take turns (default: %(default)s)")
    parser.add_argument("--study", choices=STUDIES, help=argparse.SUPPRESS)  # of a tool's own process
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.study:
        STUDIES[options.study](options.paths, Path.cwd())
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    config = validate(yaml.safe_load((ROOT / "config.yaml").read_text()))
    cells, versions = drawn(grid.cells(config), options.cells), installed()
    about = {"python": platform.python_version(), "cores": os.cpu_count(), "workers": WORKERS, "tools": versions}
    about["cells"] = [cell.path for cell in cells]
    samples: list[Sample] = []
    (ROOT / "results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name in sorted({cell.benchmark for cell in cells} | {CHEAP}):
            timed([sys.executable, "-m", "sgdnoise", "prepare", name, "--data=data"], root)
        for turn in range(options.rounds):
            folders = [root / f"{turn}{index}" for index in range(len(versions))]
            for tool, folder in zip(versions, folders, strict=True):
                samples.append(measure(tool, config, cells, folder))
                made_by = read_run(folder / "results" / cells[0].path).provenance
                about |= {"device": made_by["device"], "torch": made_by["torch"]}
                content = {"made_by": about, "samples": [asdict(sample) for sample in samples]}
                (ROOT / "results/bench_sweeps.json").write_text(json.dumps(content, indent=1))
            check_same([folder / "results" for folder in folders], [cell.path for cell in [*cells, widened(config)[1]]])
    print("| tool | study, s | overhead per cell, s | of the cores' time in updates | a cell more, s | that cell alone, s |")
    print("|---|---|---|---|---|---|")
    for tool in versions:
        print(row(tool, [sample for sample in samples if sample.tool == tool], len(cells)))
    what = "the default study" if options.cells is None else f"a sample of {CHEAP}"
    print(f"\n{len(cells)} cells of {what}, {options.rounds} round(s); curves bitwise equal in all tools")
    if figures := [sample.figures for sample in samples if sample.figures]:
        print(f"tables and figures of the workflow afterwards: {median(figures):.1f} s")
    print(f"{about['device']}, {WORKERS} cores, torch {about['torch']}, {', '.join(versions.values())}")


if __name__ == "__main__":
    main()
