"""Train the seeds of one cell and gather them into the record that is written to its file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sgdnoise import benchmarks
from sgdnoise.machine import datasets, gpus, parallel, provenance
from sgdnoise.results.run import COMPLETED, DIVERGED, Run
from sgdnoise.study import budgets, optimizers
from sgdnoise.study.cell import Cell, seed_range, warmup_of
from sgdnoise.study.optimizers import Optimizer
from sgdnoise.study.schedule import SHAPES, gamma_of, shaped, warmup
from sgdnoise.training import checkpoint, graph, packed
from sgdnoise.training.loop import evaluation_steps, train
from sgdnoise.training.state import Curves, Plan, State
from sgdnoise.training.together import steps_done
from sgdnoise.training.updates import FACTORIES, named

# Train seeds together, faster than the plain loop, for which each says whether there is an obstacle.
ENGINES = {"packed": packed, "graph": graph}
LOOKED_AT = 1000  # updates, at most, at which a user's own schedule is looked at before a run


def use_device(name: str, threads: int) -> torch.device:
    """Choose the device, "auto", "cpu" or "cuda", and set every flag that decides the precision: float32.

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
    return benchmark, prepared(benchmark, path, device, benchmarks.recipe(cell.benchmark, cell.file))


def prepared(benchmark: benchmarks.Benchmark, path: Path, device: torch.device, recipe: str, beside: Collection[str] = ()) -> Any:
    """Return the data of a benchmark from its file, which is made if it is not there; a ValueError if it cannot be read."""
    datasets.prepare(path, benchmark.arrays, recipe, beside)
    if not benchmark.load:
        return datasets.load(path, device)
    try:
        return benchmark.load(path, device)
    except Exception as error:  # of whatever kind a `load` of the user's raises
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be loaded ({type(error).__name__}: {error}); {datasets.REMEDY}") from error


def plan_of(cell: Cell, benchmark: benchmarks.Benchmark | None = None) -> Plan:
    """Return what a run of a cell is asked to do; an optimizer that names functions of the user's file needs its `benchmark`."""
    optimizer, settings = optimizers.optimizer(cell.optimizer, cell.definition), cell.spec["settings"]
    protocol = benchmarks.sized(benchmarks.protocol(cell.benchmark, cell.file), settings)
    warmup_steps = warmup_of(optimizer, cell.batch_size, protocol)
    lr = float(cell.lr)
    more: dict[str, Any] = {} if cell.final_lr is None else {"gamma": gamma_of(lr, float(cell.final_lr))}
    functions = optimizers.functions(optimizer)
    assert benchmark or not functions
    own = {use: getattr(benchmark.module, name) for use, name in functions.items()} if benchmark else {}
    if optimizer.schedule in SHAPES:
        more["shape"] = partial(shaped, optimizer.schedule, optimizer.final)
    elif "schedule" in own:
        more["shape"] = own_shape(own["schedule"], optimizer, cell.num_steps)
    if optimizer.rule == "torch":
        more["factory"] = own.get("factory") or named(optimizer)
    if optimizer.rule in FACTORIES:
        more["factory"] = FACTORIES[optimizer.rule]
    text = "unroll" in protocol  # of which an epoch has whole batches only
    epoch_steps = (
        budgets.epochs_to_steps(1, cell.batch_size, protocol) if text else Fraction(protocol["num_train"], cell.batch_size)
    )
    return Plan(optimizer, cell.batch_size, lr, cell.num_steps, warmup_steps, cell.evaluations, settings, epoch_steps, **more)


def own_shape(function: Callable[[int, int], float], optimizer: Optimizer, num_steps: int) -> Callable[[int, int, int], float]:
    """Return a user's own schedule, `function(step, num_steps)`, with the warmup; a ValueError if it is none, as far as looked at."""
    for step in sorted({num_steps * index // LOOKED_AT for index in range(LOOKED_AT)} | {num_steps - 1}):
        try:
            value = function(step, num_steps)
        except Exception as error:  # of whatever kind a function of the user's raises
            raise ValueError(
                f"optimizer {optimizer.label}: the schedule {optimizer.schedule}({step}, {num_steps}) raises"
                f" {type(error).__name__}: {error}"
            ) from error
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(
                f"optimizer {optimizer.label}: the schedule {optimizer.schedule}({step}, {num_steps}) returns {value!r};"
                " return learning rate / initial learning rate of that update, a number from 0"
            )
    return lambda step, num_steps, warmup_steps: function(step, num_steps) * warmup(step, warmup_steps)


def train_cell(
    cell: Cell,
    data_folder: Path,
    device: torch.device,
    on_step: Callable[[int], object] = lambda step: None,
    checkpoint_path: Path | None = None,
    checkpoint_seconds: float = 300,
    asked_to_stop: Callable[[], bool] = lambda: False,
    engine: str = "auto",
) -> Run:
    """Train every seed of a cell, as its engine does, and return the record for `write_run`.

    With a `checkpoint_path` it goes on from the checkpoint there, if there is one of this cell, and writes one every
    `checkpoint_seconds` and when `asked_to_stop` says so; then it raises `KeyboardInterrupt`. `on_step` is told the number of
    updates that the cell has finished.
    """
    started = time.perf_counter()
    benchmark, data = load_data(cell, data_folder, device)
    plan, seeds = plan_of(cell, benchmark), seed_range(cell.seeds)
    engine = choose_engine(engine, benchmark, plan, device)
    made_by = provenance.collect(device, plan.settings) | {"engine": engine}
    identity = cell.spec | {"device": device.type, "processes": parallel.size(), "engine": engine}
    saved = (checkpoint.load(checkpoint_path, identity, device) if checkpoint_path else None) or {}
    finished = [Curves(**curves) for curves in saved.get("finished", [])]
    before = saved.get("made_by", [])  # the processes that this one continues
    writes = checkpoint_path is not None and parallel.rank() == 0
    offer = checkpoint.saver(checkpoint_path, identity, checkpoint_seconds) if checkpoint_path and writes else None

    def content(states: list[State]) -> dict[str, Any]:
        until = {"seconds": time.perf_counter() - started, "seed": seeds[len(finished)], "step": steps_done(states)}
        return {
            "finished": [asdict(curves) for curves in finished],
            "running": [state.packed() for state in states],
            "made_by": [*before, made_by | until],
        }

    def after_update(states: list[State]) -> None:
        on_step(len(finished) * plan.num_steps + len(states) * steps_done(states))
        stop = asked_to_stop()
        kept = offer is not None and offer(lambda: content(states), stop)
        if stop:
            where = f"update {steps_done(states)} of seed {', '.join(map(str, seeds[len(finished) :][: len(states)]))}"
            raise KeyboardInterrupt(
                f" after {where}; " + ("the same command goes on from there" if kept else "nothing was written")
            )

    train_group, groups = groups_of(engine, benchmark, seeds, plan.batch_size)
    try:
        for group in groups:
            if group[0] in seeds[len(finished) :]:
                finished += train_group(benchmark, data, plan, group, device, after_update, saved.pop("running", None))
    except torch.cuda.OutOfMemoryError as error:
        raise ValueError(f"out of GPU memory at batch size {cell.batch_size}: set the setting micro_batch ({error})") from error
    made_by |= {"bounds": benchmark.bounds(data), "seconds": time.perf_counter() - started, "continued": before}
    return record(cell, plan, finished, made_by)


def choose_engine(name: str, benchmark: benchmarks.Benchmark, plan: Plan, device: torch.device) -> str:
    """Return "plain", the specification, or the name of one of ENGINES; "auto" takes "packed" wherever it can be used."""
    tried = "packed" if name == "auto" else name
    obstacle = ENGINES[tried].obstacle(benchmark, plan, device) if tried in ENGINES else None
    if obstacle and name != "auto":
        raise ValueError(f"engine {name}: {obstacle}; use --engine auto")
    return "plain" if obstacle else tried


def groups_of(
    engine: str, benchmark: benchmarks.Benchmark, seeds: Sequence[int], batch_size: int
) -> tuple[Callable[..., list[Curves]], list[list[int]]]:
    """Return the function by which an engine trains seeds together, and which seeds these are."""
    if faster := ENGINES.get(engine):
        return faster.train, faster.groups(benchmark, seeds, batch_size)
    return train_plain, [[seed] for seed in seeds]


def train_plain(
    benchmark: benchmarks.Benchmark,
    data: Any,
    plan: Plan,
    group: Sequence[int],
    device: torch.device,
    on_step: Callable[[list[State]], object],
    resume: Sequence[dict[str, Any]] | None,
) -> list[Curves]:
    """Train a group of one seed in the plain loop."""
    (seed,) = group
    return [train(benchmark, data, plan, seed, device, lambda state: on_step([state]), resume[0] if resume else None)]


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
