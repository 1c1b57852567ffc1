"""Streams of batches: what a task yields and the training loop takes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Batch = tuple[Tensor, ...]  # whose first axis is the batch
Batches = Iterator[Batch]


def index_stream(num_train: int, batch_size: int, order: torch.Generator, start: int = 0) -> Iterator[Tensor]:
    """Yield the indices of every batch, (B,), from one endless stream of shuffled epochs, from batch `start` on.

    A batch may span two epochs: no example is dropped and every batch is whole.
    """
    for _ in range(start * batch_size // num_train):
        torch.randperm(num_train, generator=order)
    left = torch.empty(0, dtype=torch.long)
    skip = start * batch_size % num_train
    while True:
        while len(left) < skip + batch_size:
            left = torch.cat([left, torch.randperm(num_train, generator=order)])
        yield left[skip : skip + batch_size]
        left, skip = left[skip + batch_size :], 0


def drawn(logits: Tensor, axis: int = -1) -> Tensor:
    """Draw a class from each distribution that logits are, over an axis; by torch's random numbers."""
    return (logits.detach() - torch.empty_like(logits).exponential_().log()).argmax(dim=axis)
