"""A classification of a few made-up images, small enough for a run in a moment: convolutions, ghost batch norm, augmentation, L2."""

from functools import partial

import torch
from torch import nn

from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.tasks import classification
from sgdnoise.tasks.record import Benchmark
from sgdnoise.training.state import Plan

SETTINGS = {"l2_scope": "weights", "l2_convention": "half", "micro_batch": 0}
NUM_TRAIN, BATCH_SIZE, CLASSES = 20, 8, 4
LR = {"adam": 0.03, "muon": 0.05, "kfac": 0.02, "soap": 0.03}  # by the rule, else 3: what an update changes is to be seen


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),  # before a norm a bias has no gradient but rounding, of which Adam makes steps
        GhostBatchNorm(4, ghost_batch=4, decay=0.9, eps=1e-5, relu=True),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


def data():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(NUM_TRAIN) % CLASSES
    images = torch.randint(200, (NUM_TRAIN, 1, 8, 8), generator=random)
    images[:, :, :4] += 18 * labels[:, None, None, None]
    images = images.to(torch.uint8)
    return {"train_images": images, "train_labels": labels, "test_images": images[:8], "test_labels": labels[:8]}


normalize = partial(classification.normalize, mean=(100.0,), sd=(60.0,))
BENCHMARK = Benchmark(
    arrays=lambda folder: {},
    build=network,
    batches=partial(classification.batches, augment=partial(classification.augment, reach=1), normalize=normalize),
    loss=classification.loss,
    sampled_loss=classification.sampled_loss,
    evaluate=partial(classification.evaluate, normalize=normalize),
    l2=0.01,
)


def plan(optimizer, lr=None, num_steps=6):
    """Plan a run of an optimizer, or of the one of a name."""
    from sgdnoise.training.updates import FACTORIES

    one = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    lr = lr or LR.get(one.rule, 3.0)
    factory = FACTORIES.get(one.rule)
    return Plan(one, BATCH_SIZE, lr, num_steps, 0, 3, SETTINGS, epoch_steps=NUM_TRAIN / BATCH_SIZE, factory=factory)
