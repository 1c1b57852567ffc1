"""What the tests of packed networks share: seeds trained alone and together, and how equal they are to be."""

import pytest
import torch

from sgdnoise.training import loop
from sgdnoise.training import packed as engine
from sgdnoise.training.cell import use_device

CPU = use_device("cpu", threads=1)
SEEDS = [3, 4, 5]


def plain(benchmark, data, plan, seed):
    """Return the curves and the last weights."""
    last = []
    curves = loop.train(benchmark, data, plan, seed, CPU, lambda state: last.append(state.model))
    return curves, weights(last[-1])


def packed(benchmark, data, plan, seeds=SEEDS, resume=None):
    """Return the same of each seed."""
    last = []
    curves = engine.train(benchmark, data, plan, seeds, CPU, last.append, resume)
    return list(zip(curves, [weights(state.model) for state in last[-1]], strict=True))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def assert_equal_to_rounding(one, other):
    (curves, last), (expected, expected_last) = one, other
    assert torch.linalg.norm(last - expected_last) <= 1e-5 * torch.linalg.norm(expected_last)
    assert (curves.steps_done, curves.diverged) == (expected.steps_done, expected.diverged)
    for row, expected_row in zip(curves.rows, expected.rows, strict=True):
        assert row == pytest.approx(expected_row, rel=1e-5)
