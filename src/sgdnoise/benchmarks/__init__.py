"""A benchmark is one file: its protocol, data, network, loss and metrics.

The file defines two names. `PROTOCOL` is a literal dictionary that the plan reads without running the file (importing
torch would cost every `snakemake` call two seconds); `BENCHMARK` is the frozen record of functions that training calls.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

Settings = dict[str, Any]
Batch = tuple["Tensor", ...]

PROTOCOL_KEYS = {
    "title": "what is trained on what, for figure titles",
    "dataset": "name of the prepared file, DATA/<dataset>.npz",
    "num_train": "number of training examples, or of tokens",
    "lr_grid": "{anchor, ratio}: the learning rates are anchor * ratio^k",
    "metrics": "{metric: 'max' or 'min'}: first the test metric, second the train metric that the figures show",
    "settings": "what the paper leaves open: {name: default}, or {name: [choices, the default first]}",
}


@dataclass(frozen=True)
class Benchmark:
    """The functions and constants of a benchmark that training needs.

    `loss` returns the SUM over the examples of a (micro-)batch and a carry, which it is given back with the next batch
    (the LSTM's hidden state; None elsewhere). `batches` is endless and yields tensors whose first axis is the batch.
    `evaluate` maps a split, "train" or "test", to per-example means; it uses no randomness. `bounds` gives the best
    value that a metric can reach, where it is known.
    """

    arrays: Callable[[Path], Mapping[str, np.ndarray]]
    build: Callable[[Settings], nn.Module]
    batches: Callable[[dict[str, Tensor], int, torch.Generator], Iterator[Batch]]
    loss: Callable[[nn.Module, Batch, Any], tuple[Tensor, Any]]
    evaluate: Callable[[nn.Module, dict[str, Tensor], str], dict[str, float]]
    bounds: Callable[[dict[str, Tensor]], dict[str, float]] = lambda data: {}
    l2: float = 0.0
    clip_norm: float | None = None
    loss_terms: int = 1  # per example: the words of an unrolled sequence


def names() -> list[str]:
    """List the benchmarks that the package ships."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def source(name: str, file: str | None = None) -> Path:
    """Find the file of a benchmark: the user's `file`, or the package's own."""
    path = Path(file) if file else Path(__file__).parent / f"{name}.py"
    if not path.is_file():
        if file:
            raise ValueError(f"benchmark {name}: there is no file {file}")
        raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(names())} (or name your own with file:)")
    return path


@functools.cache
def protocol(name: str, file: str | None = None) -> dict[str, Any]:
    """Read the literal `PROTOCOL` of a benchmark without running its file."""
    path = source(name, file)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PROTOCOL":
            found = ast.literal_eval(node.value)
            if missing := [key for key in PROTOCOL_KEYS if key not in found]:
                raise ValueError(f"{path}: PROTOCOL lacks {missing[0]!r} ({PROTOCOL_KEYS[missing[0]]})")
            return found
    raise ValueError(f"{path}: no literal PROTOCOL = {{...}} at the top level")


def load(name: str, file: str | None = None) -> Benchmark:
    """Import the file of a benchmark and return its `BENCHMARK`."""
    path = source(name, file)
    spec = importlib.util.spec_from_file_location(f"sgdnoise.benchmarks.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BENCHMARK
