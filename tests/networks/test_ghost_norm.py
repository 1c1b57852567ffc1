"""Ghost batch norm: statistics, and all ghost batches at once."""

import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sgdnoise.networks import ghost_norm
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.training import branches


def randomized_norm(channels, ghost_batch):
    norm = GhostBatchNorm(channels, ghost_batch, decay=0.9, eps=1e-5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def test_one_ghost_is_batch_norm():
    torch.manual_seed(0)
    norm, reference = randomized_norm(4, 16), nn.BatchNorm2d(4, momentum=0.1)
    reference.load_state_dict(norm.state_dict(), strict=False)
    for _ in range(3):
        images = torch.randn(16, 4, 3, 3)
        torch.testing.assert_close(norm(images), reference(images))
        norm.finish_update()
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)
    norm.eval(), reference.eval()
    torch.testing.assert_close(norm(images), reference(images))


def test_two_ghosts_are_two_halves():
    torch.manual_seed(0)
    norm, images = randomized_norm(4, 8), torch.randn(16, 4, 3, 3)
    halves = [F.batch_norm(half, None, None, norm.weight, norm.bias, training=True) for half in images.split(8)]
    torch.testing.assert_close(norm(images), torch.cat(halves))


def test_running_statistics_move_once_per_update():
    """By the mean of the ghosts' means and unbiased variances, however the batch was cut into micro-batches."""
    torch.manual_seed(0)
    images = 3 + 2 * torch.randn(32, 4, 3, 3)
    whole, cut = (GhostBatchNorm(4, 8, decay=0.9, eps=1e-5) for _ in range(2))
    whole(images), whole.finish_update()
    [cut(some) for some in images.split(16)], cut.finish_update()
    ghosts = images.view(4, 8, 4, 9)
    mean, var = ghosts.mean(dim=(1, 3)).mean(0), ghosts.transpose(1, 2).flatten(2).var(dim=2).mean(0)
    torch.testing.assert_close(whole.running_mean, 0.1 * mean)
    torch.testing.assert_close(whole.running_var, 0.9 + 0.1 * var)
    torch.testing.assert_close(cut.running_mean, whole.running_mean)
    torch.testing.assert_close(cut.running_var, whole.running_var)


def assert_at_once_is_one_after_the_other(at_once, sizes, relu, dtype, tolerance):
    """Outputs, gradients and statistics of an update in micro-batches of `sizes` images, as a graph's update makes it."""
    torch.manual_seed(0)
    norms = [randomized_norm(6, 8) for _ in range(2)]
    norms[1].load_state_dict(norms[0].state_dict())
    norms[1].at_once = at_once
    for size in sizes:
        images = (3 + 2 * torch.randn(size, 6, 5, 5)).to(dtype, memory_format=torch.channels_last)
        inputs = [images.clone().requires_grad_() for _ in norms]
        for norm in norms:
            norm.relu = relu
        with branches.Noise():
            expected, found = (norm(one) for norm, one in zip(norms, inputs, strict=True))
        assert (found.dtype, found.stride()) == (dtype, expected.stride())
        torch.testing.assert_close(found, expected)
        direction = torch.randn_like(expected) * (expected != 0)
        for output in (expected, found):
            output.backward(direction)
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, **tolerance)
    for norm in norms:
        norm.finish_update()
    for name in ("weight", "bias"):
        torch.testing.assert_close(*(getattr(norm, name).grad for norm in norms), **tolerance)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(*(getattr(norm, name) for norm in norms))


FLOAT32, BFLOAT16 = ({"rtol": 1e-5, "atol": 1e-4}, {"rtol": 2e-2, "atol": 2e-2})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sizes", [(8, 16, 24), (4, 4)])
def test_all_ghosts_at_once(sizes, relu, dtype, tolerance):
    assert_at_once_is_one_after_the_other(ghost_norm.normalize, sizes, relu, dtype, tolerance)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler, g++")
def test_all_ghosts_at_once_compiled():
    model = nn.Sequential(GhostBatchNorm(6, 8, decay=0.9, eps=1e-5))
    ghost_norm.fuse(model)
    assert_at_once_is_one_after_the_other(model[0].at_once, (16,), True, torch.float32, FLOAT32)
