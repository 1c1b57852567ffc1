"""The Wide-ResNet of `wrn_cifar10_small` without normalisation, trained by SkipInit (ICLR v5 App. C)."""

from dataclasses import replace
from functools import partial

from sgdnoise.benchmarks import Benchmark, Settings, load
from sgdnoise.networks.wide_resnet import WideResNet

PROTOCOL = {
    "version": 1,
    "title": "Wide-ResNet 10-1 without norm (SkipInit), CIFAR-10 at 16x16 ({num_train:,} train, 10,000 test)",
    "sibling_of": "wrn_skipinit_cifar10",
    "dataset": "cifar10",
    "num_train": 512,  # as wrn_cifar10_small
    "num_test": 10_000,
    "train_flops": 18_927_360,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "num_train": {"default": 512, "from": 10, "to": 50_000},  # as wrn_cifar10_small
        "augment": False,  # as wrn_cifar10_small
        "dropout": {"default": 0.2, "from": 0, "below": 1},  # probability to drop, before the classifier; as wrn_skipinit_digits
    },
}


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    build = partial(
        WideResNet, depth=10, width=1, num_channels=3, num_classes=10, scalar=True, biases=True, dropout=settings["dropout"]
    )
    return replace(load("wrn_cifar10_small", settings={name: settings[name] for name in ("num_train", "augment")}), build=build)
