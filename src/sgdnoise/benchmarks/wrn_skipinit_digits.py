"""The Wide-ResNet of `wrn_digits` without normalisation, trained by SkipInit (ICLR v5 App. C)."""

from dataclasses import replace
from functools import partial

from sgdnoise.benchmarks import Benchmark, Settings, load
from sgdnoise.networks.wide_resnet import WideResNet

PROTOCOL = {
    "version": 1,
    "title": "Wide-ResNet 10-1 without norm (SkipInit), handwritten digits ({num_train:,} of 1,797 train, the rest test)",
    "sibling_of": "wrn_skipinit_cifar10",
    "dataset": "digits",
    "num_train": 1024,  # as wrn_digits
    "num_test": 773,
    "train_flops": 4_660_992,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "num_train": {"default": 1024, "from": 10, "to": 1024},  # as wrn_digits
        "augment": True,  # as wrn_digits
        "scalar": [True, False],  # a scalar on each residual branch, biases, dropout: SkipInit; without any: the plain network
        "biases": [True, False],
        "dropout": {"default": 0.2, "from": 0, "below": 1},  # probability to drop, before the classifier; our choice
    },
    "later": ["num_train", "augment", "scalar", "biases", "dropout"],
}


def benchmark(settings: Settings) -> Benchmark:
    """Make the record; what `settings` switch off is neither there nor replaced."""
    parts = {name: settings[name] for name in ("scalar", "biases", "dropout")}
    build = partial(WideResNet, depth=10, width=1, num_channels=1, num_classes=10, **parts)
    return replace(load("wrn_digits", settings=settings), build=build)
