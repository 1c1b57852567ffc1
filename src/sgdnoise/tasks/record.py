"""What a task gives to training: the record of a benchmark. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from sgdnoise.tasks.batches import Batch, Batches

# The ready tasks of `ready.py`: a version, raised when what they compute changes, and the metrics by which they are judged.
READY: dict[str, dict[str, Any]] = {
    "classification": {"version": 1, "metrics": {"test_accuracy": "max", "train_loss": "min"}},
    "regression": {"version": 2, "metrics": {"test_rmse": "min", "train_rmse": "min"}},
    "language_model": {"version": 1, "metrics": {"test_loss": "min", "train_loss": "min"}},
}


@dataclass(frozen=True)
class Benchmark:
    """The functions and constants of a benchmark that training needs, for one choice of settings.

    `batches(data, batch_size, order, start, shard)` is endless; it yields tensors whose first axis is the batch, from
    update `start` on and of every batch the slice `shard` (the part of this process). `loss` returns the SUM over the
    examples of a (micro-)batch and a carry, which it is given back with the next batch (the LSTM's hidden state; None
    elsewhere). `evaluate` maps a split, "train" or "test", to per-example means; it uses no randomness. `bounds` gives
    the best value that a metric can reach, where it is known. `load` reads the prepared file onto the device, if not
    simply as a dictionary of its arrays. A gradient is clipped to the norm `clip_norm`; None and 0: it is not. `sampled_loss` is as `loss`, but of targets that the network itself draws: the
    covariance of its gradient, over draws, is the Fisher information of the loss. (So of s times a log-likelihood it is
    sqrt(s) times that.) Only optimizers that estimate curvature need it. `module` is the file that made this record, as it was run:
    the functions that an optimizer names are of the same classes as the network.
    """

    arrays: Callable[[Path], Mapping[str, np.ndarray]]
    build: Callable[[], nn.Module]
    batches: Callable[[Any, int, torch.Generator, int, slice], Batches]
    loss: Callable[[nn.Module, Batch, Any], tuple[Tensor, Any]]
    evaluate: Callable[[nn.Module, Any, str], dict[str, float]]
    sampled_loss: Callable[[nn.Module, Batch, Any], tuple[Tensor, Any]] | None = None
    bounds: Callable[[Any], dict[str, float]] = lambda data: {}
    load: Callable[[Path, torch.device], Any] | None = None
    l2: float = 0.0
    clip_norm: float | None = None
    loss_terms: int = 1  # per example: the words of an unrolled sequence
    image_pixels: int | None = None  # of an image, of the package's own; for the packed engine, which is for small ones
    module: ModuleType | None = None

    def __post_init__(self) -> None:
        """Refuse an L2 or a clipping that would lead uphill, and what is no number."""
        for name, value in (("l2", self.l2), ("clip_norm", self.clip_norm)):
            if value is not None and not (isinstance(value, Real) and 0 <= value < math.inf):
                raise ValueError(f"{name} {value!r} of the record: write a number from 0; without {name} there is none")
