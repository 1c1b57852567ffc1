"""ResNet-50 on ImageNet, the paper's largest benchmark (ICLR v5 table 3): the recipe of Goyal et al. 2017, without warmup."""

from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.tasks import classification, image_folder

PROTOCOL = {
    "version": 1,
    "title": "ResNet-50 with ghost batch norm, ImageNet ({num_train:,} train, 50,000 test)",
    "dataset": "imagenet",
    "num_train": 1_281_167,
    "num_test": 50_000,  # the validation images, as is usual
    "train_flops": 24_299_077_632,
    "lr_grid": {"anchor": 1, "ratio": 2},  # 1, 4, 8, 16 (ICLR v5 table 3)
    "metrics": {"test_accuracy": "max", "train_objective": "min"},
    "settings": {
        "l2_scope": ["weights", "all"],  # not on the scales and shifts of the norms (Goyal et al. sec. 5.1)
        "label_smoothing": {
            "default": 0.0,
            "from": 0,
            "below": 1,
        },  # not stated; Goyal et al. have none. The paper's train loss of 2.25 may include some
        "norm_decay": {"default": 0.9, "from": 0, "below": 1},  # Goyal et al. sec. 5.1
        "norm_eps": {"default": 1e-5, "above": 0, "to": 1},  # not stated
    },
}

NUM_TRAIN, NUM_TEST = (int(PROTOCOL[key]) for key in ("num_train", "num_test"))  # type: ignore[call-overload]
L2 = 1e-4  # Goyal et al. sec. 5.1
GHOST_BATCH = 256  # SkipInit v0
NUM_CLASSES = 1000
CLASSIFIER_SD = 0.01  # Goyal et al. sec. 5.1


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """List the images of `folder`/imagenet/{train,val}/<class>/: paths and labels. ImageNet cannot be downloaded for you."""
    return image_folder.index(folder / "imagenet", {"train": NUM_TRAIN, "val": NUM_TEST})


def build(norm_decay: float, norm_eps: float) -> nn.Module:
    """Make torchvision's ResNet-50; the last norm of each residual branch starts at 0 (Goyal et al. sec. 5.1)."""
    from torchvision.models import resnet50  # 2 s of start-up, here only

    norm = partial(GhostBatchNorm, ghost_batch=GHOST_BATCH, decay=norm_decay, eps=norm_eps)
    network = resnet50(weights=None, num_classes=NUM_CLASSES, zero_init_residual=True, norm_layer=norm)
    nn.init.normal_(network.fc.weight, std=CLASSIFIER_SD)
    nn.init.zeros_(network.fc.bias)
    return network


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    smoothing = float(settings["label_smoothing"])
    return Benchmark(
        arrays=arrays,
        load=image_folder.load,
        build=partial(build, settings["norm_decay"], settings["norm_eps"]),
        batches=image_folder.batches,
        loss=partial(classification.loss, label_smoothing=smoothing),
        sampled_loss=classification.sampled_loss,
        evaluate=partial(image_folder.evaluate, label_smoothing=smoothing),
        l2=L2,
    )
