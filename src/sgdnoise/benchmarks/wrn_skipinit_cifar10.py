"""The paper's Wide-ResNet 16-4 without normalisation, trained by SkipInit, on CIFAR-10 (ICLR v5 App. C)."""

from dataclasses import replace
from functools import partial

from sgdnoise.benchmarks import Benchmark, Settings, default_settings, module
from sgdnoise.networks.wide_resnet import WideResNet

PROTOCOL = {
    "version": 1,
    "title": "Wide-ResNet 16-4 without norm (SkipInit), CIFAR-10 ({num_train:,} train, 10,000 test)",
    "dataset": "cifar10",
    "num_train": 50_000,  # as wrn_cifar10
    "num_test": 10_000,
    "train_flops": 2_354_789_376,
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "conv_init": ["he", "lecun"],  # as wrn_cifar10
        "padding": ["reflect", "constant"],  # as wrn_cifar10
        "scalar": [True, False],  # a scalar on each residual branch, biases, dropout: SkipInit; without any: the plain network
        "biases": [True, False],
        "dropout": {"default": 0.6, "from": 0, "below": 1},  # probability to drop, before the classifier (ICLR v5 App. C)
    },
    "later": ["scalar", "biases", "dropout"],
}


def benchmark(settings: Settings) -> Benchmark:
    """Make the record; what `settings` switch off is neither there nor replaced."""
    parts = {name: settings[name] for name in ("scalar", "biases", "dropout")}
    normed = module("wrn_cifar10")
    build = partial(
        WideResNet,
        normed.DEPTH,
        normed.WIDTH,
        num_channels=3,
        num_classes=10,
        conv_init=settings["conv_init"],
        **parts,
    )
    return replace(normed.benchmark(default_settings("wrn_cifar10") | settings), build=build)
