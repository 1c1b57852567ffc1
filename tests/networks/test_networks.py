"""How networks start."""

import math

import pytest
import torch
from torch import nn

from sgdnoise import benchmarks
from sgdnoise.networks.wide_resnet import Block


@pytest.mark.parametrize(
    ("name", "count"),
    [("wrn_digits", 77_818), ("wrn_skipinit_digits", 77_693), ("autoencoder_digits", 26_122), ("lstm_synthetic", 20_146)],
)
def test_parameter_counts(name, count):
    model = benchmarks.load(name).build()
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_skip_init_starts_as_its_skip_path():
    torch.manual_seed(0)
    block, images = Block(16, 16, 1, lambda _: nn.ReLU(), project=False, scalar=True, biases=True), torch.randn(2, 16, 8, 8)
    assert torch.equal(block(images), images)
    model = benchmarks.load("wrn_skipinit_digits").build()
    scales = [parameter for name, parameter in model.named_parameters() if name.endswith("scale")]
    assert len(scales) == 3
    assert not any(scales)


@pytest.mark.parametrize(("name", "expected"), [("wrn_skipinit_digits", math.log(10)), ("lstm_synthetic", math.log(50))])
def test_initial_loss_is_that_of_a_guess(load, name, expected):
    benchmark, data = load(name)
    torch.manual_seed(0)
    model = benchmark.build().eval()
    with torch.no_grad():
        assert benchmark.evaluate(model, data, "test")["loss"] == pytest.approx(expected, rel=0.1)


def test_autoencoder_starts_sparse():
    model = benchmarks.load("autoencoder_mnist").build()
    weights = [parameter.detach() for parameter in model.parameters() if parameter.ndim == 2]
    assert [weight.shape[1] for weight in weights] == [784, 1000, 500, 250, 30, 250, 500, 1000]
    for weight in weights:
        assert ((weight != 0).sum(dim=1) == 15).all()
        assert weight[weight != 0].std() == pytest.approx(1, abs=0.1)
