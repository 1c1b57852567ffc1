"""Autoencoding: sigmoid cross-entropy summed over pixels, squared error per image."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.tasks.classification import index_stream

EVALUATION_BATCH = 1000  # our choice: any size gives the same sums


def batches(data: dict[str, Tensor], batch_size: int, order: torch.Generator) -> Iterator[tuple[Tensor]]:
    """Yield pixels (B, P) float32 in [0, 1], on the device of the data (uint8)."""
    pixels = data["train_pixels"]
    for index in index_stream(len(pixels), batch_size, order):
        yield (pixels[index.to(pixels.device)].float() / 255,)


def loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any) -> tuple[Tensor, None]:
    """Return the sigmoid cross-entropy, summed over pixels and images."""
    (pixels,) = batch
    return F.binary_cross_entropy_with_logits(model(pixels), pixels, reduction="sum"), None


def evaluate(model: nn.Module, data: dict[str, Tensor], split: str) -> dict[str, float]:
    """Return per image: the loss and the squared error of sigmoid(logit), each summed over pixels.

    This squared error is what the paper calls MSE (measured: the paper's numbers need the sum over pixels).
    """
    loss_sum = squared_error = 0.0
    images = data[f"{split}_pixels"]
    for some in images.split(EVALUATION_BATCH):
        pixels = some.float() / 255
        logits = model(pixels)
        loss_sum += F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum").item()
        squared_error += F.mse_loss(logits.sigmoid(), pixels, reduction="sum").item()
    return {"loss": loss_sum / len(images), "squared_error": squared_error / len(images)}
