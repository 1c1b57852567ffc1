"""ResNet-50 on a sample of ImageNet, to test the path that its images take: DATA/imagenet_subset/{train,val}/<class>/."""

from dataclasses import replace

from sgdnoise.benchmarks import load
from sgdnoise.tasks import image_folder

PROTOCOL = {
    "title": "ResNet-50, 400 images of ImageNet",
    "dataset": "imagenet_subset",
    "num_train": 400,
    "num_test": 200,
    "train_flops": 24_299_077_632,
    "lr_grid": {"anchor": 1, "ratio": 2},
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {"l2_scope": ["weights", "all"], "label_smoothing": 0.0, "norm_decay": 0.9, "norm_eps": 1e-5},
}


def arrays(folder):
    return image_folder.index(folder / "imagenet_subset", {"train": 400, "val": 200})


def benchmark(settings):
    return replace(load("resnet50_imagenet", settings=settings), arrays=arrays)
