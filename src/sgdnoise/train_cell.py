"""Train the seeds of one cell and gather them into the record that is written to its file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sgdnoise import benchmarks, budgets, checkpoint, datasets, gpus, parallel, provenance
from sgdnoise.grid import Cell, seed_range
from sgdnoise.optimizers import OPTIMIZERS
from sgdnoise.run import COMPLETED, DIVERGED, Run
from sgdnoise.train import Curves, Plan, State, evaluation_steps, train


def use_device(name: str, threads: int) -> torch.device:
    """Choose the device, "auto", "cpu" or "cuda", and set every flag that decides the precision.

    Of several GPUs it is the one that the fewest other cells of this machine use.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: no usable GPU here; use --device cpu (device: cpu in the config), or mend the driver")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # our choice: logistic units otherwise crawl through denormal numbers on a CPU
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if parallel.size() > 1:
        return torch.device("cuda")  # each process takes the one with its number
    visible = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    return torch.device("cuda", gpus.least_used(visible))


def load_data(cell: Cell, folder: Path, device: torch.device) -> tuple[benchmarks.Benchmark, Any]:
    """Return the benchmark of a cell and its data, prepared if they are not yet."""
    benchmark = benchmarks.load(cell.benchmark, cell.file, cell.spec["settings"])
    path = folder / f"{benchmarks.protocol(cell.benchmark, cell.file)['dataset']}.npz"
    datasets.prepare(path, benchmark.arrays)
    return benchmark, (benchmark.load or datasets.load)(path, device)


def plan_of(cell: Cell) -> Plan:
    """Return what a run of a cell is asked to do."""
    optimizer, settings = OPTIMIZERS[cell.optimizer], cell.spec["settings"]
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), settings)
    warmup_steps = budgets.epochs_to_steps(optimizer.warmup_epochs, cell.batch_size, protocol)
    return Plan(optimizer, cell.batch_size, float(cell.lr), cell.num_steps, warmup_steps, cell.evaluations, settings)


def train_cell(
    cell: Cell,
    data_folder: Path,
    device: torch.device,
    on_step: Callable[[int], object] = lambda step: None,
    checkpoint_path: Path | None = None,
    checkpoint_seconds: float = 300,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Train every seed of a cell, one after another, and return the record for `write_run`.

    With a `checkpoint_path` it goes on from the checkpoint there, if there is one of this cell, and writes one every
    `checkpoint_seconds` and when `asked_to_stop` says so; then it raises `KeyboardInterrupt`. `on_step` is told the number of
    updates that the cell has finished.
    """
    started = time.perf_counter()
    benchmark, data = load_data(cell, data_folder, device)
    plan, seeds, made_by = plan_of(cell), seed_range(cell.seeds), provenance.collect(device)
    identity = cell.spec | {"device": device.type, "processes": parallel.size()}
    saved = (checkpoint.load(checkpoint_path, identity, device) if checkpoint_path else None) or {}
    finished = [Curves(**curves) for curves in saved.get("finished", [])]
    before = saved.get("made_by", [])  # the processes that this one continues
    writes = checkpoint_path is not None and parallel.rank() == 0
    offer = checkpoint.saver(checkpoint_path, identity, checkpoint_seconds) if checkpoint_path and writes else None

    def pack(state: State) -> dict[str, Any]:
        until = {"seconds": time.perf_counter() - started, "seed": seeds[len(finished)], "step": state.curves.steps_done}
        return {
            "finished": [asdict(curves) for curves in finished],
            "running": state.packed(),
            "made_by": [*before, made_by | until],
        }

    def after_update(state: State) -> None:
        on_step(len(finished) * plan.num_steps + state.curves.steps_done)
        stop = asked_to_stop()
        kept = offer is not None and offer(lambda: pack(state), stop)
        if stop:
            where = f"update {state.curves.steps_done} of seed {seeds[len(finished)]}"
            raise KeyboardInterrupt(
                f" after {where}; " + ("the same command goes on from there" if kept else "nothing was written")
            )

    try:
        for seed in seeds[len(finished) :]:
            finished.append(train(benchmark, data, plan, seed, device, after_update, saved.pop("running", None)))
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError(f"out of GPU memory at batch size {cell.batch_size}: set the setting micro_batch ({error})") from error
    made_by |= {"bounds": benchmark.bounds(data), "seconds": time.perf_counter() - started, "continued": before}
    return record(cell, plan, finished, made_by)


def record(cell: Cell, plan: Plan, trained: list[Curves], made_by: dict[str, Any]) -> Run:
    """Gather the curves of a cell's seeds."""
    train_seconds = sum(curves.train_seconds for curves in trained)
    examples = cell.batch_size * sum(curves.steps_done for curves in trained)
    steps = evaluation_steps(cell.num_steps, cell.evaluations)
    return Run(
        spec=cell.spec,
        step=np.array(steps),
        lr=np.array([plan.lr_at(step - 1) for step in steps]),
        seed=np.array(seed_range(cell.seeds)),
        status=[DIVERGED if curves.diverged else COMPLETED for curves in trained],
        curves=stack_curves(trained, len(steps)),
        provenance=made_by
        | {
            "steps_done": [curves.steps_done for curves in trained],
            "train_seconds": train_seconds,
            "train_cpu_seconds": sum(curves.train_cpu_seconds for curves in trained),
            "examples_per_second": examples / train_seconds,
        },
    )


def stack_curves(trained: list[Curves], num_evaluations: int) -> dict[str, np.ndarray]:
    """Stack the metrics of S seeds into arrays (S, num_evaluations), NaN where a run had diverged."""
    stacked = {name: np.full((len(trained), num_evaluations), np.nan) for name in trained[0].rows[0]}
    for row, curves in enumerate(trained):
        for column, metrics in enumerate(curves.rows):
            for name, value in metrics.items():
                stacked[name][row, column] = value
    return stacked
