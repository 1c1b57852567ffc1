"""Facts about the paper's own benchmarks, that need none of their data."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sgdnoise import benchmarks
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.study import budgets
from sgdnoise.training import loop
from sgdnoise.training.cell import use_device
from sgdnoise.training.gradients import backward
from sgdnoise.training.state import State

CPU = use_device("cpu", threads=1)
NUM_PARAMETERS = {
    "wrn_cifar10": 2_748_890,
    "wrn_skipinit_cifar10": 2_747_536,  # as before, less 2 x 1,808 of norms, more 2,256 biases and 6 scalars
    "autoencoder_mnist": 2_837_314,
    "lstm_ptb": 19_780_400,  # 10,000 x 650 embedding, 2 x (8 x 650 x 650 + 8 x 650), 651 x 10,000
    "resnet50_imagenet": 25_557_032,  # torchvision's
}
PAPER = list(NUM_PARAMETERS)


def random_batch(name, batch_size, side=32):
    """Return a batch of random examples in the benchmark's shapes."""
    torch.manual_seed(1)
    if name == "lstm_ptb":
        inputs, targets = torch.randint(10_000, (2, batch_size, 35))
        return inputs, targets, torch.zeros(batch_size)
    if name == "autoencoder_mnist":
        return (torch.rand(batch_size, 784),)
    return torch.randn(batch_size, 3, side, side), torch.randint(10, (batch_size,))


def mean_loss(name, model, batch):
    benchmark = benchmarks.load(name)
    with torch.no_grad():
        return float(benchmark.loss(model, batch, None)[0]) / len(batch[0]) / benchmark.loss_terms


@pytest.mark.parametrize("name", PAPER)
def test_parameter_counts(name):
    assert sum(parameter.numel() for parameter in benchmarks.load(name).build().parameters()) == NUM_PARAMETERS[name]


def test_the_wide_resnet_costs_what_was_derived_for_it():
    """2.356 GFLOP per image, forward and backward, within 2 %."""
    assert benchmarks.protocol("wrn_cifar10")["train_flops"] == pytest.approx(2.356e9, rel=0.02)


@pytest.mark.parametrize(
    "name", ["wrn_cifar10", "wrn_skipinit_cifar10", "wrn_cifar10_small", "autoencoder_mnist", "wrn_digits", "autoencoder_digits"]
)
def test_train_flops_are_what_torch_counts(name):
    benchmark, protocol = benchmarks.load(name), benchmarks.protocol(name)
    model = benchmark.build()
    batch = {
        "digits": (torch.randn(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)) if "wrn" in name else (torch.rand(2, 64),),
    }.get(protocol["dataset"]) or random_batch(name, 2, side=16 if "small" in name else 32)
    with FlopCounterMode(display=False) as counter:
        benchmark.loss(model, batch, None)[0].backward()
    assert counter.get_total_flops() / 2 == protocol["train_flops"]


@pytest.mark.parametrize("name", ["lstm_ptb", "lstm_ptb_small", "lstm_synthetic"])
def test_train_flops_of_an_lstm_are_six_per_weight_in_use(name):
    """A multiplication and an addition forward, twice that backward, per word and weight; the embedding multiplies nothing."""
    model = benchmarks.load(name).build()
    weights = sum(
        parameter.numel() for part, parameter in model.named_parameters() if parameter.ndim > 1 and "embedding" not in part
    )
    assert benchmarks.protocol(name)["train_flops"] == 6 * weights


@pytest.mark.parametrize(
    ("name", "budget", "batch_size", "steps"),
    [
        ("wrn_cifar10", "epochs200", 1024, 9765),
        ("wrn_skipinit_cifar10", "epochs200", 64, 156_250),
        ("autoencoder_mnist", "epochs200", 64, 156_250),
        ("lstm_ptb", "epochs1", 64, 414),
        ("lstm_ptb", "epochs40", 64, 16_560),
        ("resnet50_imagenet", "epochs90", 256, 450_410),
    ],
)
def test_budgets_have_the_papers_numbers_of_updates(name, budget, batch_size, steps):
    assert budgets.num_steps(budget, batch_size, benchmarks.protocol(name)) == steps


@pytest.mark.parametrize(
    ("name", "num_classes", "tolerance"),
    [("wrn_skipinit_cifar10", 10, 0.1), ("lstm_ptb", 10_000, 0.001), ("resnet50_imagenet", 1000, 0.05), ("wrn_cifar10", 10, 0.1)],
)
def test_initial_loss_is_that_of_a_guess(name, num_classes, tolerance):
    """ln of the number of classes, within `tolerance`."""
    torch.manual_seed(0)
    model = benchmarks.load(name).build()
    for dropout in (module for module in model.modules() if isinstance(module, nn.Dropout)):
        dropout.p = 0.0
    batch = random_batch(name, 64 if "wrn" in name else 8)
    assert mean_loss(name, model, batch) == pytest.approx(math.log(num_classes), rel=tolerance)


def test_residual_branches_of_skip_init_start_at_zero():
    """The network computes what is left of it without its branches: projections, ReLU, and the classifier."""
    torch.manual_seed(0)
    model = benchmarks.load("wrn_skipinit_cifar10").build().eval()
    images = random_batch("wrn_skipinit_cifar10", 4)[0]
    first, *blocks, _, _ = model.features
    signal = first(images)
    for block in blocks:
        signal = signal if block.project is None else block.project(F.relu(signal))
    torch.testing.assert_close(model(images), model.classifier(F.relu(signal).mean(dim=(2, 3))))


def test_the_residual_branches_of_resnet50_start_at_zero():
    norms = [module for module in benchmarks.load("resnet50_imagenet").build().modules() if isinstance(module, GhostBatchNorm)]
    assert sum(not norm.weight.any() for norm in norms) == 16
    assert {norm.ghost_batch for norm in norms} == {256}


@pytest.mark.parametrize(
    ("name", "micro_batch"),
    [("wrn_cifar10", 64), pytest.param("wrn_skipinit_cifar10", 32, marks=pytest.mark.slow), ("lstm_ptb", 2)],
)
def test_micro_batches_add_up_to_the_batch(name, micro_batch):
    """The gradient at batch size 128 (LSTM: 4) is that of the whole batch in float64; without dropout, on small images."""
    torch.manual_seed(0)
    benchmark, model, gradients = benchmarks.load(name), benchmarks.load(name).build().double(), []
    for dropout in (module for module in model.modules() if isinstance(module, nn.Dropout)):
        dropout.p = 0.0
    batch_size = 4 if name == "lstm_ptb" else 128
    batch = [tensor.double() if tensor.is_floating_point() else tensor for tensor in random_batch(name, batch_size, side=8)]
    for size in (batch_size, micro_batch):
        backward(benchmark, State(model, CPU), tuple(batch), size, batch_size)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        model.zero_grad()
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert gradients[0].norm() > 1e-3


def test_settings_reach_what_they_name():
    def loss(name, **settings):
        torch.manual_seed(0)
        benchmark = benchmarks.load(name, settings=settings)
        return benchmark.loss(benchmark.build().eval(), random_batch(name, 4), None)[0].item()

    assert loss("lstm_ptb", loss_over_time="mean") == pytest.approx(loss("lstm_ptb") / 35)
    defaults = {"autoencoder_mnist": loss("autoencoder_mnist"), "wrn_cifar10": loss("wrn_cifar10")}
    others = [("activation", "tanh"), ("loss", "squared_error"), ("init", "lecun")]
    assert len({defaults["autoencoder_mnist"]} | {loss("autoencoder_mnist", **{key: value}) for key, value in others}) == 4
    assert loss("wrn_cifar10", conv_init="lecun") != defaults["wrn_cifar10"]
    half, full = (
        loop.l2_factor(benchmarks.load("wrn_cifar10"), {"l2_convention": convention}) for convention in ("half", "full")
    )
    assert (half, full) == (5e-4, 1e-3)


def test_label_smoothing_raises_the_smallest_loss_that_can_be_reached():
    certain = torch.zeros(2, 1000).scatter(1, torch.tensor([[3], [3]]), 50.0)
    batch = (torch.zeros(2, 1), torch.tensor([3, 3]))
    plain, smoothed = (
        float(benchmarks.load("resnet50_imagenet", settings={"label_smoothing": s}).loss(lambda _: certain, batch, None)[0])
        for s in (0.0, 0.1)
    )
    assert plain == pytest.approx(0, abs=1e-6)
    assert smoothed == pytest.approx(2 * 0.1 * 50 * 999 / 1000, rel=1e-4)


def test_fewer_training_images_make_shorter_epochs():
    settings = {"num_train": 5000}
    assert budgets.num_steps("epochs10", 100, benchmarks.sized(benchmarks.protocol("autoencoder_mnist"), settings)) == 500
