"""Check in seconds that a benchmark keeps its contract with training, before a study spends hours on it."""

from __future__ import annotations

import math
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdnoise import benchmarks
from sgdnoise.machine import datasets
from sgdnoise.study.cell import Cell, make_cell
from sgdnoise.study.optimizers import definition, functions
from sgdnoise.study.optimizers import optimizer as optimizer_of
from sgdnoise.training.cell import load_data, plan_of
from sgdnoise.training.contract import CHECKS, NEEDED, STEPS, Subject
from sgdnoise.training.state import Plan

AHEAD = 1000  # our choice: updates of the run that a user's own schedule is told of, which may make no sense of STEPS


def problems(
    name: str,
    file: str | None,
    settings: str,
    folder: Path,
    device: torch.device,
    batch_size: int,
    second_derivative: bool,
    optimizers: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Yield a line for everything that is wrong with a benchmark; `settings` are JSON, the data in a folder, `optimizers` the study's own.

    A ValueError for what cannot be checked, as `train` raises it.
    """
    try:
        subject = subject_of(name, file, settings, folder, device, batch_size, second_derivative, optimizers or {})
    except (ValueError, OSError):
        raise
    except Exception as error:  # of whatever kind the file of the benchmark raises
        yield f"load: {said(error, file)}"
        return
    for title, check in CHECKS.items():
        lines: list[str] = []
        try:
            lines += check(subject)
        except Exception as error:
            lines.append(said(error, file))
        yield from (f"{title}: {line}" for line in lines)
        if lines and title in NEEDED:
            return


def subject_of(
    name: str,
    file: str | None,
    settings: str,
    folder: Path,
    device: torch.device,
    batch_size: int,
    second_derivative: bool,
    optimizers: Mapping[str, Any],
) -> Subject:
    """Load a benchmark and its data, and plan a few updates of it that hardly move it."""
    protocol = benchmarks.protocol(name, file)
    lr = protocol["lr_grid"]["anchor"] / 100

    def plan_with(optimizer: str, benchmark: benchmarks.Benchmark | None = None) -> tuple[Cell, Plan]:
        said = definition(optimizer, optimizers)
        one = optimizer_of(optimizer, said)
        size = math.ceil(batch_size / one.micro_batch) * one.micro_batch if one.micro_batch else batch_size  # which it divides
        steps = AHEAD if "schedule" in functions(one) else STEPS
        budget = f"steps{steps * (one.evaluations if one.equal else 1)}"
        cell = make_cell(name, optimizer, budget, size, lr, "0-0", settings, STEPS, file, definition=said)
        plan = plan_of(cell, benchmark)
        return cell, replace(plan, settings=plan.settings | {"precision": "float32"})

    cell, plan = plan_with("momentum")
    benchmark, data = load_data(cell, folder, device)
    own = {optimizer: plan_with(optimizer, benchmark)[1] for optimizer in optimizers}
    arrays = datasets.read(folder / f"{protocol['dataset']}.npz")
    lengths = {key: len(array) for key, array in arrays.items() if array.ndim}
    if isinstance(data, Mapping):
        lengths |= {str(key): len(value) for key, value in data.items() if isinstance(value, Tensor) and value.ndim}
    protocol = benchmarks.sized(protocol, plan.settings)
    named = {number for key, number in lengths.items() if {"train", "test"} & set(key.lower().split("_"))}
    few = partial(first, data, protocol, named | {protocol["num_train"], protocol["num_test"]})
    return Subject(benchmark, protocol, plan, data, few, lengths, device, second_derivative, own)


def first(data: Any, protocol: dict[str, Any], splits: Collection[int], number: int) -> Any:
    """Return the first examples of data that are tensors and arrays, in dictionaries and dataclasses; of a text, its sequences.

    What is not as long as one of the `splits` stays as it is: a factor for each target, for example.
    """
    some = partial(first, protocol=protocol, splits=splits, number=number)
    if isinstance(data, Tensor | np.ndarray):
        return data[: number * protocol.get("unroll", 1)] if data.ndim and len(data) in splits else data
    if isinstance(data, Mapping):
        return {key: some(value) for key, value in data.items()}
    if is_dataclass(data) and not isinstance(data, type):
        return replace(data, **{field.name: some(getattr(data, field.name)) for field in fields(data)})
    return data


def said(error: Exception, file: str | None) -> str:
    """Write an error in a line, with the line of the benchmark's file that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    numbers = [frame.lineno for frame in frames if file and Path(frame.filename).resolve() == Path(file).resolve()]
    where = f" ({file}, line {numbers[-1]})" if numbers else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"
