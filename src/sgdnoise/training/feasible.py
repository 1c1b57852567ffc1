"""Find out, without data, what the cells of a study would refuse when they start, before the first of them is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from sgdnoise import benchmarks
from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import parallel, precision
from sgdnoise.study.cell import Cell
from sgdnoise.training import loop
from sgdnoise.training.cell import choose_engine, plan_of
from sgdnoise.training.check import said
from sgdnoise.training.state import Plan, State, trained_parameters


def refusals(shared: Iterable[tuple[Cell, int]], engine: str, device: torch.device | None) -> Iterator[str]:
    """Yield a line for each benchmark and optimizer that cannot be trained, or not at a batch size; equal ones once.

    `shared` are cells with the number of processes that share their batches. The device is None if it is another machine's:
    then what depends on it is not looked at.
    """
    points: dict[tuple[str, str], dict[tuple[int, int], Cell]] = {}
    for cell, processes in shared:
        points.setdefault((cell.benchmark, cell.optimizer), {}).setdefault((cell.batch_size, processes), cell)
    known = set()
    for (name, optimizer), sizes in points.items():
        for where, problem in problems(sizes, engine, device):
            if (name, problem) not in known:
                yield f"{name}: {optimizer}{where}: {problem}"
            known.add((name, problem))


def problems(sizes: dict[tuple[int, int], Cell], engine: str, device: torch.device | None) -> Iterator[tuple[str, str]]:
    """Yield where an optimizer of a benchmark is refused, "" or at which batch size, and why; `sizes` with numbers of processes."""
    first = next(iter(sizes.values()))
    try:
        benchmark = benchmarks.load(first.benchmark, first.file, first.spec["settings"])
        state = begun(benchmark, plan_of(first, benchmark), device)
    except Exception as error:  # of whatever kind torch or the user's file raises
        yield "", words(error, first.file)
        return
    for (batch_size, processes), cell in sizes.items():
        try:
            with parallel.as_one_of(processes):
                plan = plan_of(cell, benchmark)
                if device and engine != "auto":  # which is never refused, and takes time
                    choose_engine(engine, benchmark, plan, device)
                loop.source(benchmark, None, plan, state, 0)
        except Exception as error:
            yield f" at batch size {batch_size}", words(error, cell.file)


def begun(benchmark: Benchmark, plan: Plan, device: torch.device | None) -> State:
    """Start a run on the CPU; an optimizer of torch makes an update whose gradients are zero, since some refuse that only."""
    plain = replace(plan, settings=plan.settings | {"precision": "float32"})
    state = loop.start(benchmark, plain, 0, torch.device("cpu"), None)
    if plan.factory:
        for parameter in trained_parameters(state.model):
            parameter.grad = torch.zeros_like(parameter)
        loop.updater(benchmark, plain, state)(plan.lr)
    if device:
        precision.prepare(state.model, precision.of(plan.settings), device)
    return state


def words(error: Exception, file: str | None) -> str:
    """Write an error in a line: one that is meant for the user as it is."""
    return str(error) if isinstance(error, ValueError) else said(error, file)
