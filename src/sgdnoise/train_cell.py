"""Train the seeds of one cell and gather them into the record that is written to its file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sgdnoise import benchmarks, budgets, datasets, provenance
from sgdnoise.grid import Cell, seed_range
from sgdnoise.optimizers import OPTIMIZERS
from sgdnoise.run import COMPLETED, DIVERGED, Run
from sgdnoise.train import Curves, Plan, evaluation_steps, train


def use_device(name: str, threads: int) -> torch.device:
    """Choose the device, "auto", "cpu" or "cuda", and set every flag that decides the precision."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: no usable GPU here; use --device cpu (device: cpu in the config), or mend the driver")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # our choice: logistic units otherwise crawl through denormal numbers on a CPU
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def train_cell(cell: Cell, data_folder: Path, device: torch.device, on_step: Callable[[int], object] = lambda step: None) -> Run:
    """Train every seed of a cell, one after another, and return the record for `write_run`."""
    started = time.perf_counter()
    protocol = benchmarks.protocol(cell.benchmark, cell.file)
    benchmark = benchmarks.load(cell.benchmark, cell.file)
    dataset = data_folder / f"{protocol['dataset']}.npz"
    datasets.prepare(dataset, benchmark.arrays)
    data = datasets.load(dataset, device)
    optimizer, spec, seeds = OPTIMIZERS[cell.optimizer], cell.spec, seed_range(cell.seeds)
    warmup_steps = budgets.epochs_to_steps(optimizer.warmup_epochs, cell.batch_size, protocol)
    plan = Plan(optimizer, cell.batch_size, float(cell.lr), cell.num_steps, warmup_steps, cell.evaluations, spec["settings"])
    made_by = provenance.collect(device)
    try:
        trained = [train(benchmark, data, plan, seed, device, on_step) for seed in seeds]
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError(f"out of GPU memory at batch size {cell.batch_size}: set the setting micro_batch ({error})") from error
    train_seconds = sum(curves.train_seconds for curves in trained)
    examples = cell.batch_size * sum(curves.steps_done for curves in trained)
    steps = evaluation_steps(cell.num_steps, cell.evaluations)
    return Run(
        spec=spec,
        step=np.array(steps),
        lr=np.array([plan.lr_at(step - 1) for step in steps]),
        seed=np.array(seeds),
        status=[DIVERGED if curves.diverged else COMPLETED for curves in trained],
        curves=stack_curves(trained, len(steps)),
        provenance=made_by
        | {
            "bounds": benchmark.bounds(data),
            "steps_done": [curves.steps_done for curves in trained],
            "seconds": time.perf_counter() - started,
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
