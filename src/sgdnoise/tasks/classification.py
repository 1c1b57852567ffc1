"""Image classification: softmax cross-entropy in nats per image, and accuracy."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.tasks.batches import Batches, drawn, index_stream

EVALUATION_BATCH = 512  # our choice: any size gives the same sums


def augment(images: Tensor, reach: int, padding: str = "reflect", flip: bool = False) -> Tensor:
    """Crop every image at random from one padded by `reach` pixels on each side, and mirror every other one if `flip`.

    images: (B, C, H, W) uint8, returned as float32, on their device; the draws are torch's. `padding` is "reflect", which
    mirrors the image at its border pixels, or "constant", which pads with zeros.
    """
    return crop(images, *draw_crops(images.shape, reach, flip, images.device), reach, padding)


def draw_crops(
    shape: Sequence[int], reach: int, flip: bool, device: torch.device, random: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw which rows (B, H) and columns (B, W) of its padded self each image of a batch (B, C, H, W) gets, for `crop`."""
    batch_size, _, height, width = shape
    top, left = torch.randint(2 * reach + 1, (2, batch_size, 1), device=device, generator=random)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if flip:
        columns = torch.where(torch.rand(batch_size, 1, device=device, generator=random) < 0.5, columns.flip(1), columns)
    return rows, columns


def crop(images: Tensor, rows: Tensor, columns: Tensor, reach: int, padding: str) -> Tensor:
    """Pad images (B, C, H, W) uint8 and take of each its `rows` (B, H) and `columns` (B, W), as float32."""
    padded = F.pad(images.float(), (reach,) * 4, mode=padding).permute(0, 2, 3, 1)
    index = torch.arange(len(images), device=images.device)
    return padded[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def normalize(images: Tensor, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Centre and scale each channel: (B, C, H, W) to float32, channels last."""
    shape = (1, -1, 1, 1)
    centred = images.float() - torch.tensor(mean, device=images.device).view(shape)
    return (centred / torch.tensor(sd, device=images.device).view(shape)).contiguous(memory_format=torch.channels_last)


def batches(
    data: dict[str, Tensor],
    batch_size: int,
    order: torch.Generator,
    start: int,
    shard: slice,
    augment: Callable[[Tensor], Tensor],
    normalize: Callable[[Tensor], Tensor],
) -> Batches:
    """Yield augmented, normalized images (B, C, H, W) float32 and labels (B,), on the device of the data.

    The draws are for the whole batch, whatever the shard.
    """
    images, labels = data["train_images"], data["train_labels"]
    for index in index_stream(len(images), batch_size, order, start):
        index = index.to(images.device)
        yield normalize(augment(images[index]))[shard], labels[index][shard]


def loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any, label_smoothing: float = 0.0) -> tuple[Tensor, None]:
    """Return the cross-entropy summed over the images."""
    images, labels = batch
    return F.cross_entropy(model(images), labels, reduction="sum", label_smoothing=label_smoothing), None


def sampled_loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any) -> tuple[Tensor, None]:
    """Return the cross-entropy summed over the images, of labels that the network draws."""
    logits = model(batch[0])
    return F.cross_entropy(logits, drawn(logits), reduction="sum"), None


def evaluate(model: nn.Module, data: dict[str, Tensor], split: str, normalize: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Return the mean loss and the accuracy (a fraction) of a split, without augmentation."""
    images, labels = data[f"{split}_images"], data[f"{split}_labels"]
    loss_sum, num_correct = 0.0, 0
    for some, some_labels in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
        logits = model(normalize(some))
        loss_sum += F.cross_entropy(logits, some_labels, reduction="sum").item()
        num_correct += int((logits.argmax(dim=1) == some_labels).sum())
    return {"loss": loss_sum / len(images), "accuracy": num_correct / len(images)}
