"""Image classification: softmax cross-entropy in nats per image, and accuracy."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EVALUATION_BATCH = 512  # our choice: any size gives the same sums


def index_stream(num_train: int, batch_size: int, order: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of every batch, (B,), from one endless stream of shuffled epochs.

    A batch may span two epochs: no example is dropped and every batch is whole.
    """
    left = torch.empty(0, dtype=torch.long)
    while True:
        while len(left) < batch_size:
            left = torch.cat([left, torch.randperm(num_train, generator=order)])
        yield left[:batch_size]
        left = left[batch_size:]


def batches(
    data: dict[str, Tensor],
    batch_size: int,
    order: torch.Generator,
    augment: Callable[[Tensor], Tensor],
    normalize: Callable[[Tensor], Tensor],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented, normalized images (B, C, H, W) float32 and labels (B,), on the device of the data."""
    images, labels = data["train_images"], data["train_labels"]
    for index in index_stream(len(images), batch_size, order):
        index = index.to(images.device)
        yield normalize(augment(images[index])), labels[index]


def loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any) -> tuple[Tensor, None]:
    """Return the cross-entropy summed over the images."""
    images, labels = batch
    return F.cross_entropy(model(images), labels, reduction="sum"), None


def evaluate(model: nn.Module, data: dict[str, Tensor], split: str, normalize: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Return the mean loss and the accuracy (a fraction) of a split, without augmentation."""
    images, labels = data[f"{split}_images"], data[f"{split}_labels"]
    loss_sum, num_correct = 0.0, 0
    for some, some_labels in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
        logits = model(normalize(some))
        loss_sum += F.cross_entropy(logits, some_labels, reduction="sum").item()
        num_correct += int((logits.argmax(dim=1) == some_labels).sum())
    return {"loss": loss_sum / len(images), "accuracy": num_correct / len(images)}
