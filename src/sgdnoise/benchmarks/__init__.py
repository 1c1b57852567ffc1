"""A benchmark is one file: its protocol, data, network, loss and metrics.

The file defines two names. `PROTOCOL` is a literal dictionary that the plan reads without running the file (importing
torch would cost every `snakemake` call two seconds); `benchmark(settings)` returns the frozen record of functions that
training calls.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from sgdnoise.tasks.batches import Batch, Batches

Settings = dict[str, Any]

NAME = r"[a-z][a-z0-9_]*"  # of a benchmark: it becomes part of paths and commands

PROTOCOL_KEYS = {
    "title": "what is trained on what, for figure titles; {num_train} stands for the number of examples",
    "dataset": "name of the prepared file, DATA/<dataset>.npz",
    "num_train": "number of training examples, or of tokens; a setting of that name overrides it",
    "num_test": "number of test examples, or of tokens",
    "lr_grid": "{anchor, ratio}: the learning rates are anchor * ratio^k",
    "metrics": "{metric: 'max' or 'min'}: first the test metric, second the train metric that the figures show",
    "settings": "what the paper leaves open, besides these below: {name: default}, or {name: [choices, the default first]}",
}
# Optional are `unroll`, the tokens of a sequence, which makes the data a text, and `train_flops`, the floating-point operations
# of training on one example or token (forward and backward), for `sgdnoise plan`.

COMMON_SETTINGS = {
    "l2_scope": ["all", "weights"],  # not stated; all parameters is the convention of the authors' library
    "l2_convention": ["half", "full"],  # not stated; l2 / 2 ||w||^2 is the convention of the authors' libraries, or l2 ||w||^2
    "micro_batch": 0,  # examples per forward pass; 0: the whole batch
}
# Offered since results were first shipped: at their defaults they are no part of a cell's identity, so those stay valid.
LATER_SETTINGS = {
    "precision": ["float32", "tf32", "bfloat16"],  # of the products of training (see precision.py)
}


@dataclass(frozen=True)
class Benchmark:
    """The functions and constants of a benchmark that training needs, for one choice of settings.

    `batches(data, batch_size, order, start, shard)` is endless; it yields tensors whose first axis is the batch, from
    update `start` on and of every batch the slice `shard` (the part of this process). `loss` returns the SUM over the
    examples of a (micro-)batch and a carry, which it is given back with the next batch (the LSTM's hidden state; None
    elsewhere). `evaluate` maps a split, "train" or "test", to per-example means; it uses no randomness. `bounds` gives
    the best value that a metric can reach, where it is known. `load` reads the prepared file onto the device, if not
    simply as a dictionary of its arrays.
    """

    arrays: Callable[[Path], Mapping[str, np.ndarray]]
    build: Callable[[], nn.Module]
    batches: Callable[[Any, int, torch.Generator, int, slice], Batches]
    loss: Callable[[nn.Module, Batch, Any], tuple[Tensor, Any]]
    evaluate: Callable[[nn.Module, Any, str], dict[str, float]]
    bounds: Callable[[Any], dict[str, float]] = lambda data: {}
    load: Callable[[Path, torch.device], Any] | None = None
    l2: float = 0.0
    clip_norm: float | None = None
    loss_terms: int = 1  # per example: the words of an unrolled sequence


def names() -> list[str]:
    """List the benchmarks that the package ships."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def source(name: str, file: str | None = None) -> Path:
    """Find the file of a benchmark: the user's `file`, or the package's own."""
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} is not the name of a benchmark: lower-case letters, digits and _, a letter first")
    path = Path(file) if file else Path(__file__).parent / f"{name}.py"
    if not path.is_file():
        if file:
            raise ValueError(f"benchmark {name}: there is no file {file}")
        raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(names())} (or name your own with file:)")
    return path


@functools.cache
def protocol(name: str, file: str | None = None) -> dict[str, Any]:
    """Read the literal `PROTOCOL` of a benchmark without running its file; its settings include the common ones."""
    path = source(name, file)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PROTOCOL":
            found = ast.literal_eval(node.value)
            if missing := [key for key in PROTOCOL_KEYS if key not in found]:
                raise ValueError(f"{path}: PROTOCOL lacks {missing[0]!r} ({PROTOCOL_KEYS[missing[0]]})")
            return found | {"settings": COMMON_SETTINGS | LATER_SETTINGS | found["settings"]}
    raise ValueError(f"{path}: no literal PROTOCOL = {{...}} at the top level")


def sized(protocol: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a protocol with the number of training examples that the settings choose, if they do."""
    return protocol | {"num_train": settings.get("num_train", protocol["num_train"])}


def default_settings(name: str, file: str | None = None) -> Settings:
    """Return the default of every setting."""
    offered = protocol(name, file)["settings"]
    return {key: value[0] if isinstance(value, list) else value for key, value in offered.items()}


def module(name: str, file: str | None = None) -> ModuleType:
    """Import the file of a benchmark; of a user's own, modules beside it and in the working folder, after all that is installed."""
    path = source(name, file)
    if file:
        sys.path += [folder for folder in (str(path.resolve().parent), os.getcwd()) if folder not in sys.path]
    spec = importlib.util.spec_from_file_location(f"sgdnoise.benchmarks.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def load(name: str, file: str | None = None, settings: Settings | None = None) -> Benchmark:
    """Make the record of a benchmark, by default with its default settings."""
    return module(name, file).benchmark(default_settings(name, file) | (settings or {}))
