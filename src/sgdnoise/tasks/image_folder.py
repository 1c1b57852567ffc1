"""Images that stay in their files, torchvision's ImageFolder layout: read, cropped and scaled by worker processes.

Every random crop is a function of the run's seed and of the image's place in the stream alone: not of the number of workers
or processes, nor of where a run was interrupted.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from sgdnoise.machine import datasets, parallel
from sgdnoise.tasks.batches import Batches, index_stream
from sgdnoise.tasks.classification import normalize

CROP, SHORT_SIDE = 224, 256  # pixels: of every image trained on; of the shorter side of a test image before its centre is cut
# Of the channels, for pixels in [0, 255] (Goyal et al. 2017 sec. 5.1: per-color; the usual values of ImageNet).
MEAN, SD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
EVALUATION_BATCH = 256  # our choice: any size gives the same sums

Key = tuple[int, int | None]  # the number of an image, and the seed of its crop (None: the centre)


@dataclass(frozen=True)
class Images(Dataset):
    """The images of a split; an item is asked for by its `Key`."""

    root: Path
    paths: np.ndarray
    labels: np.ndarray
    device: torch.device

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """Return an image (3, CROP, CROP) uint8 and its label."""
        from PIL import Image
        from torchvision.transforms.v2 import functional as T

        number, seed = key
        path = self.root / self.paths[number].decode()
        try:
            with Image.open(path) as file:
                image = T.pil_to_tensor(file.convert("RGB"))
        except OSError as error:
            raise ValueError(f"cannot read the image {path} ({error}); replace it") from error
        return (center_crop(image) if seed is None else random_crop(image, seed)), int(self.labels[number])

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalized images (B, 3, CROP, CROP) float32 and labels (B,) on the device, for each list of keys."""
        cuda = self.device.type == "cuda"
        loader = DataLoader(
            self,
            batch_sampler=keys,
            num_workers=torch.get_num_threads(),
            worker_init_fn=start_worker,
            pin_memory=cuda,
            generator=torch.Generator(),  # of seeds that the workers do not use; torch's own is the run's
        )
        for images, labels in loader:
            yield normalize(images.to(self.device, non_blocking=True), MEAN, SD), labels.to(self.device, non_blocking=True)


def start_worker(number: int) -> None:
    """Leave interruption to the main process, which first writes a checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def random_crop(image: Tensor, seed: int) -> Tensor:
    """Cut 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3, scale it to the crop, mirror every other one.

    This is the augmentation of Goyal et al. 2017 sec. 5.1. image: (3, H, W) uint8.
    """
    from torchvision.transforms import v2

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return v2.RandomHorizontalFlip()(v2.RandomResizedCrop(CROP, antialias=True)(image))


def center_crop(image: Tensor) -> Tensor:
    """Scale the shorter side, and cut out the centre (Goyal et al. 2017 sec. 5.1). image: (3, H, W) uint8."""
    from torchvision.transforms.v2 import functional as T

    return T.center_crop(T.resize(image, [SHORT_SIDE], antialias=True), [CROP])


def index(root: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """List the images of `root`/<split>/<class>/ for each split: paths below `root` and labels, by the classes' names.

    A ValueError says what to place where, if a split is not there or has not the number of images in `counts`.
    """
    from torchvision.datasets import ImageFolder

    made: dict[str, np.ndarray] = {}
    classes: list[str] = []
    for split, count in counts.items():
        folder = root / split
        remedy = f"place the {count:,} images of the {split} split as {folder}/<class>/<name>.JPEG"
        try:
            found = ImageFolder(str(folder))
        except OSError as error:
            raise ValueError(f"{error}; {remedy}") from error
        if len(found) != count:
            raise ValueError(f"{folder} has {len(found):,} images in {len(found.classes):,} classes; {remedy}")
        if found.classes != (classes := classes or found.classes):
            raise ValueError(f"{folder} and the split before have different classes; {remedy}")
        made[f"{split}_paths"] = np.array([str(Path(path).relative_to(root)).encode() for path, _ in found.samples])
        made[f"{split}_labels"] = np.array(found.targets)
    return made


def load(path: Path, device: torch.device) -> dict[str, Images]:
    """Open the images that the prepared list names, beside it in a folder of its name."""
    listed = datasets.read(path)
    return {
        split: Images(path.with_suffix(""), listed[f"{name}_paths"], listed[f"{name}_labels"], device)
        for split, name in (("train", "train"), ("test", "val"))
    }


def batches(data: dict[str, Images], batch_size: int, order: torch.Generator, start: int, shard: slice) -> Batches:
    """Yield randomly cropped, normalized images and labels, from update `start` on; of every batch only `shard` is read."""
    images = data["train"]
    seed = order.initial_seed()

    def keys() -> Iterator[list[Key]]:
        for step, numbers in enumerate(index_stream(len(images.paths), batch_size, order, start), start):
            places = range(step * batch_size, (step + 1) * batch_size)
            yield [(number, crop_seed(seed, place)) for number, place in zip(numbers[shard].tolist(), places[shard], strict=True)]

    yield from images.batches(keys())


def crop_seed(seed: int, place: int) -> int:
    """Derive the seed of one crop from the run's and from the image's place in the stream."""
    return int(np.random.SeedSequence((seed, place)).generate_state(1, np.uint64)[0])


def evaluate(model: nn.Module, data: dict[str, Images], split: str, label_smoothing: float) -> dict[str, float]:
    """Return the mean loss and the accuracy of a split on centre crops; every process reads its part."""
    images = data[split]
    numbers = range(parallel.rank(), len(images.paths), parallel.size())
    keys: Iterator[list[Key]] = (
        [(number, None) for number in numbers[i : i + EVALUATION_BATCH]] for i in range(0, len(numbers), EVALUATION_BATCH)
    )
    sums: list[Any] = [0.0, 0]
    for some, labels in images.batches(keys):
        logits = model(some)
        sums[0] += F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing).item()
        sums[1] += int((logits.argmax(dim=1) == labels).sum())
    loss, num_correct = parallel.total(*sums, device=images.device)
    return {"loss": loss / len(images.paths), "accuracy": num_correct / len(images.paths)}
