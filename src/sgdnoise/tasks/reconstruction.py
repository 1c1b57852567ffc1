"""Autoencoding: sigmoid cross-entropy summed over pixels, squared error per image."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.tasks.batches import Batches, index_stream

EVALUATION_BATCH = 1000  # our choice: any size gives the same sums


def batches(
    data: dict[str, Tensor], batch_size: int, order: torch.Generator, start: int, shard: slice, num_train: int
) -> Batches:
    """Yield pixels (B, P) float32 in [0, 1] of the first `num_train` images (N, P) uint8, on their device."""
    pixels = data["train_pixels"]
    for index in index_stream(num_train, batch_size, order, start):
        yield (pixels.index_select(0, index[shard].to(pixels.device)) / 255,)


def loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any, kind: str) -> tuple[Tensor, None]:
    """Return the loss summed over pixels and images: the sigmoid "cross_entropy", or half the "squared_error"."""
    (pixels,) = batch
    return loss_sum(model(pixels), pixels, kind), None


def sampled_loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any, kind: str) -> tuple[Tensor, None]:
    """Return the loss of pixels that the network draws: 0 or 1, or of the squared error normal ones of variance 1."""
    logits = model(batch[0])
    probabilities = logits.detach().sigmoid()
    if kind == "cross_entropy":
        return loss_sum(logits, (torch.rand_like(probabilities) < probabilities).float(), kind), None
    return loss_sum(logits, probabilities + torch.randn_like(probabilities), kind), None


def loss_sum(logits: Tensor, pixels: Tensor, kind: str) -> Tensor:
    """Compare logits with pixels, both (B, P)."""
    if kind == "cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    return F.mse_loss(logits.sigmoid(), pixels, reduction="sum") / 2


def evaluate(model: nn.Module, images: Tensor, kind: str) -> dict[str, float]:
    """Return per image: the loss and the squared error of sigmoid(logit), each summed over pixels.

    images: (N, P) uint8. This squared error is what the paper calls MSE (measured: the paper's numbers need the sum over
    pixels).
    """
    loss, squared_error = 0.0, 0.0
    for some in images.split(EVALUATION_BATCH):
        pixels = some.float() / 255
        logits = model(pixels)
        loss += loss_sum(logits, pixels, kind).item()
        squared_error += F.mse_loss(logits.sigmoid(), pixels, reduction="sum").item()
    return {"loss": loss / len(images), "squared_error": squared_error / len(images)}
