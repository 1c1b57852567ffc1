"""The Wide-ResNet of `wrn_digits` without normalisation, trained by SkipInit (ICLR v5 App. C)."""

from dataclasses import replace

from torch import nn

from sgdnoise.benchmarks import Settings, load
from sgdnoise.networks.wide_resnet import WideResNet

PROTOCOL = {
    "title": "Wide-ResNet 10-1 without norm (SkipInit), handwritten digits (1,024 train, 773 test)",
    "sibling_of": "wrn_skipinit_cifar10",
    "dataset": "digits",
    "num_train": 1024,  # as wrn_digits
    "lr_grid": {"anchor": 1, "ratio": 2},  # powers of 2 (ICLR v5 fig. 4)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "l2_scope": ["all", "weights"],  # not stated; all parameters is the convention of the authors' library
        "micro_batch": 0,  # images per forward pass; 0: the whole batch
    },
}

DROPOUT = 0.2


def build(settings: Settings) -> nn.Module:
    """Make the network: a zero-initialised scalar on each residual branch, biases, dropout before the classifier."""
    return WideResNet(depth=10, width=1, num_channels=1, num_classes=10, dropout=DROPOUT)


BENCHMARK = replace(load("wrn_digits"), build=build)
