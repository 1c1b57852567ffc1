"""A small convolutional network on a folder of PNGs, digits/<class>/<name>.png."""

from pathlib import Path

from torch import nn

from sgdnoise.tasks import ready

PROTOCOL = {"task": "classification", "num_train": 1297, "num_test": 500, "reads": ["digits"]}


def network():
    convolution = nn.Conv2d(1, 16, 3, padding=1)
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 4 * 4, 10))


def data():
    return ready.images(Path(__file__).parent / "digits")


def benchmark(settings):
    return ready.classification(network, data, PROTOCOL)
