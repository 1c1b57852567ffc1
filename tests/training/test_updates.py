"""The update rules."""

import pytest
import torch
from torch import nn

from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.training.updates import RULES


def quadratic_run(optimizer, lr, num_steps, curvature):
    weights = [torch.ones(len(curvature), dtype=torch.double)]
    state = {}
    for _ in range(num_steps):
        RULES[optimizer.rule](optimizer, weights, [curvature * weights[0]], state, lr)
    return weights[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_equals_torch_sgd_with_coupled_l2(name):
    optimizer, l2, lr = OPTIMIZERS[name], 0.01, 0.3
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    reference = torch.optim.SGD(theirs.parameters(), lr * (1 - optimizer.momentum), optimizer.momentum, weight_decay=l2)
    state = {}
    for _ in range(5):
        inputs = torch.randn(8, 5)
        for model in (ours, theirs):
            model.zero_grad()
            model(inputs).square().mean().backward()
        reference.step()
        with torch.no_grad():
            parameters = list(ours.parameters())
            gradients = [parameter.grad + l2 * parameter for parameter in parameters]
            RULES[optimizer.rule](optimizer, parameters, gradients, state, lr)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_curvature_limit_of_a_quadratic(name):
    """eps < 2 (1 + m) / curvature converges, above it diverges (Goh 2017; ICLR v5 sec. 2)."""
    optimizer, curvature = OPTIMIZERS[name], torch.tensor([1.0], dtype=torch.double)
    critical = 2 * (1 + optimizer.momentum) / (1 - optimizer.momentum)  # as an effective learning rate
    assert quadratic_run(optimizer, 0.98 * critical, 2000, curvature).abs() < 1e-3
    assert quadratic_run(optimizer, 1.02 * critical, 2000, curvature).abs() > 1e3


def test_effective_learning_rate_gives_both_optimizers_one_drift():
    """At small rates SGD and momentum move alike for equal eps / (1 - m)."""
    curvature = torch.tensor([1.0, 0.1], dtype=torch.double)
    sgd, momentum = (quadratic_run(OPTIMIZERS[name], 1e-3, 3000, curvature) for name in ("sgd", "momentum"))
    torch.testing.assert_close(sgd, momentum, rtol=0.02, atol=0)
