"""What is measured: seeds of a benchmark at a batch size, and the random data that they train on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import repeat

import torch
from clock import HERE
from torch import Tensor, nn

from sgdnoise import benchmarks
from sgdnoise.machine import precision

SHAPES = {
    "wrn_cifar10": (3, 32, 32),
    "wrn_skipinit_cifar10": (3, 32, 32),
    "autoencoder_mnist": (784,),
    "resnet50_imagenet": (3, 224, 224),
}
SHAPES |= {"wrn_digits": (1, 8, 8), "wrn_skipinit_digits": (1, 8, 8), "autoencoder_digits": (64,)}
TEXTS = {"lstm_ptb": 10_000, "lstm_synthetic": 50}  # words in the vocabulary
SMALL = {
    "wrn_cifar10": "wrn_digits",
    "wrn_skipinit_cifar10": "wrn_skipinit_digits",
    "autoencoder_mnist": "autoencoder_digits",
    "lstm_ptb": "lstm_synthetic",
}


@dataclass(frozen=True)
class Row:
    """Seeds of a benchmark at a batch size."""

    title: str
    benchmark: str
    batch_size: int
    seeds: int = 1
    precision: str = "bfloat16"
    micro_batch: int = 0
    peers: tuple[str, ...] = ("P0", "P1")
    side: int = 224  # of ResNet-50's images


ROWS = [
    Row("WRN-16-4", "wrn_cifar10", 16, 12, peers=("P0", "P1", "P3")),
    Row("WRN-16-4", "wrn_cifar10", 64, 12, peers=("P0", "P1", "P2", "P3")),
    Row("WRN-16-4", "wrn_cifar10", 256, 3, peers=("P0", "P1", "P3")),
    Row("WRN-16-4", "wrn_cifar10", 1024, peers=("P0", "P1", "P2")),
    Row("WRN-16-4", "wrn_cifar10", 8192, micro_batch=1024, peers=("P0", "P1", "P6", "P7")),
    Row("SkipInit", "wrn_skipinit_cifar10", 1024),
    Row("WRN-16-4", "wrn_cifar10", 1024, precision="tf32"),
    Row("autoencoder", "autoencoder_mnist", 64, 64, "tf32", peers=("P0", "P1", "P3", "P4", "P5", "P8")),
    Row("LSTM 650", "lstm_ptb", 20, 8, peers=("P0", "P1", "P3")),
    Row("LSTM 650", "lstm_ptb", 256),
    Row("ResNet-50", "resnet50_imagenet", 256, peers=("P0", "P1", "P2")),
]


def shrunk(row: Row) -> Row:
    """Return a row that a CPU trains in a moment."""
    sizes = {"batch_size": min(row.batch_size, 64), "seeds": min(row.seeds, 2), "micro_batch": min(row.micro_batch, 32)}
    if row.benchmark == "resnet50_imagenet":
        sizes |= {"batch_size": 2, "side": 32}
    lacks = row.precision == "tf32" or (row.benchmark in TEXTS and not precision.recurrent_bfloat16())  # what a CPU has not
    kept = "float32" if lacks else row.precision
    return replace(row, benchmark=SMALL.get(row.benchmark, row.benchmark), precision=kept, **sizes)


def record(row: Row) -> benchmarks.Benchmark:
    """Return a benchmark that looks its examples up among the random ones; ResNet-50 without its files."""
    shipped = benchmarks.load(row.benchmark)
    if row.benchmark == "resnet50_imagenet":
        return replace(shipped, batches=lambda *where: resident(row))
    if isinstance(shipped.batches, partial) and "num_train" in shipped.batches.keywords:
        return replace(shipped, batches=partial(shipped.batches, num_train=HERE.num_images))
    return shipped


@cache
def data_of(name: str) -> dict[str, Tensor]:
    """Make random data on the device."""
    random = torch.Generator().manual_seed(0)
    if name in TEXTS:
        return {"train_tokens": torch.randint(TEXTS[name], (HERE.num_tokens,), generator=random).to(HERE.device)}
    pixels = torch.randint(256, (HERE.num_images, *SHAPES[name]), generator=random, dtype=torch.uint8).to(HERE.device)
    if len(SHAPES[name]) == 1:
        return {"train_pixels": pixels}
    return {"train_images": pixels, "train_labels": torch.randint(10, (HERE.num_images,), generator=random).to(HERE.device)}


def resident(row: Row) -> Iterator[tuple[Tensor, ...]]:
    """Yield batches as a tuned script makes them: shuffled, augmented and normalized on the device."""
    if row.benchmark == "resnet50_imagenet":
        images = torch.randn(row.batch_size, 3, row.side, row.side, device=HERE.device).contiguous(
            memory_format=torch.channels_last
        )
        yield from repeat((images, torch.randint(1000, (row.batch_size,), device=HERE.device)))
    data, batches = data_of(row.benchmark), benchmarks.load(row.benchmark).batches
    if row.benchmark in TEXTS:
        yield from batches(data, row.batch_size, torch.Generator(), 0, slice(None))
    while True:
        for index in torch.randperm(HERE.num_images, device=HERE.device).split(row.batch_size):
            if len(index) == row.batch_size and "train_pixels" in data:
                yield (data["train_pixels"][index].float() / 255,)
            elif len(index) == row.batch_size:
                augmented = batches.keywords["augment"](data["train_images"][index])
                yield batches.keywords["normalize"](augmented), data["train_labels"][index]


def plain_network(row: Row) -> nn.Module:
    """Build the network as others have it: with torch's batch norm."""
    if row.benchmark == "resnet50_imagenet":
        from torchvision.models import resnet50

        return resnet50()
    build = benchmarks.load(row.benchmark).build
    return build(norm=batch_norm) if "norm" in build.keywords else build()


def batch_norm(num_channels: int) -> nn.Module:
    """Make torch's batch norm and the ReLU that follows."""
    return nn.Sequential(nn.BatchNorm2d(num_channels), nn.ReLU())


def examples(row: Row) -> int:
    """Count the images, or words, of an update."""
    return row.batch_size * benchmarks.protocol(row.benchmark).get("unroll", 1)
