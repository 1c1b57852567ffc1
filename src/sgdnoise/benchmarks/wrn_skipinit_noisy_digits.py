"""The Wide-ResNet of `wrn_noisy_digits` without normalisation, trained by SkipInit (ICLR v5 App. C)."""

from dataclasses import replace
from functools import partial

from sgdnoise.benchmarks import Benchmark, Settings, load
from sgdnoise.networks.wide_resnet import WideResNet

PROTOCOL = {
    "version": 1,
    "title": "Wide-ResNet 10-1 without norm (SkipInit), handwritten digits under pixel noise of s.d. 8"
    " ({num_train:,} of 1,797 train, the rest test)",
    "sibling_of": "wrn_skipinit_cifar10",
    "dataset": "digits",
    "num_train": 64,  # as wrn_noisy_digits
    "num_test": 1_733,
    "train_flops": 4_660_992,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "num_train": {"default": 64, "from": 10, "to": 1024},  # as wrn_noisy_digits
        "dropout": {"default": 0.2, "from": 0, "below": 1},  # probability to drop, before the classifier; as wrn_skipinit_digits
    },
}


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    build = partial(
        WideResNet, depth=10, width=1, num_channels=1, num_classes=10, scalar=True, biases=True, dropout=settings["dropout"]
    )
    return replace(load("wrn_noisy_digits", settings={"num_train": settings["num_train"]}), build=build)
