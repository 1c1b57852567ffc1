"""Ghost batch normalisation: batch statistics over a fixed ghost batch, running statistics once per update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.machine import parallel

SHAPES = 64  # for which `fuse` compiles at most; torch falls back to eager after 8


class GhostBatchNorm(nn.Module):
    """Normalise every ghost batch of `ghost_batch` consecutive images by its own statistics; then, with `relu`, a ReLU.

    Input and output: (B, C, H, W). B is below `ghost_batch` (then it is one ghost batch) or a multiple of it.
    A ghost batch that is the whole batch is ordinary batch norm. Source: ICLR v5 and SkipInit v0, "evaluate the batch
    statistics over a fixed ghost batch size [...] before accumulating gradients to form larger batches".

    The running averages, used at evaluation, move once per *update* by the mean over all ghost batches of that update of
    the ghost mean and of the unbiased within-ghost variance (`finish_update`); moving them once per ghost batch would
    make their horizon depend on the batch size.
    """

    running_mean: Tensor
    running_var: Tensor
    update_mean: Tensor
    update_var: Tensor

    def __init__(self, num_channels: int, ghost_batch: int, decay: float, eps: float, relu: bool = False):
        super().__init__()
        self.ghost_batch, self.decay, self.eps, self.relu = ghost_batch, decay, eps, relu
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        # Mean over the ghost batches seen since the last update.
        self.register_buffer("update_mean", torch.zeros(num_channels), persistent=False)
        self.register_buffer("update_var", torch.zeros(num_channels), persistent=False)
        self.num_ghosts = 0
        self.at_once: Callable[..., tuple[Tensor, Tensor, Tensor]] | None = None  # `normalize`, as `fuse` makes it

    def forward(self, images: Tensor) -> Tensor:
        if self.training and self.at_once:
            size = min(self.ghost_batch, len(images))
            normalized, mean, var = self.at_once(images, self.weight, self.bias, size, self.eps, self.relu)
            self.num_ghosts += len(images) // size
            for kept, seen in ((self.update_mean, mean), (self.update_var, var)):
                kept.lerp_(seen, len(images) // size / self.num_ghosts)
            return normalized
        if self.training:
            normalized = self.in_turn(images)
        else:
            normalized = F.batch_norm(images, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return F.relu(normalized) if self.relu else normalized

    def in_turn(self, images: Tensor) -> Tensor:
        """Normalise one ghost batch after another."""
        ghosts = []
        for ghost in images.split(self.ghost_batch):
            self.num_ghosts += 1
            # F.batch_norm moves its running statistics by `momentum`: 1/j makes them the mean of the first j ghosts.
            momentum = 1 / self.num_ghosts
            ghosts.append(
                F.batch_norm(ghost, self.update_mean, self.update_var, self.weight, self.bias, True, momentum, self.eps)
            )
        return ghosts[0] if len(ghosts) == 1 else torch.cat(ghosts)

    @torch.no_grad()
    def finish_update(self) -> None:
        """Move the running averages by the statistics of one update, of which every process has as many ghost batches."""
        if parallel.size() > 1:
            parallel.add_up([self.update_mean, self.update_var])
            self.update_mean /= parallel.size()
            self.update_var /= parallel.size()
        self.running_mean.lerp_(self.update_mean, 1 - self.decay)
        self.running_var.lerp_(self.update_var, 1 - self.decay)
        self.num_ghosts = 0


def normalize(images: Tensor, weight: Tensor, bias: Tensor, size: int, eps: float, relu: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise all ghost batches of `size` images at once, in float32.

    Returns the images (B, C, H, W) in their own number format, and the means over the ghost batches of the ghost mean (C,)
    and of the unbiased within-ghost variance (C,), without gradients.
    """
    ghosts = images.float().view(-1, size, *images.shape[1:])  # torch 2.11's compiler cannot trace unflatten
    var, mean = torch.var_mean(ghosts, dim=(1, 3, 4), correction=0, keepdim=True)
    normalized = (ghosts - mean) * (torch.rsqrt(var + eps) * weight[:, None, None]) + bias[:, None, None]
    normalized = normalized.flatten(0, 1).to(images.dtype)
    number = size * images.shape[2] * images.shape[3]
    seen = mean.detach().mean(0).flatten(), var.detach().mean(0).flatten() * (number / (number - 1))
    return F.relu(normalized) if relu else normalized, *seen


def fuse(model: nn.Module) -> None:
    """Let the ghost batch norms of a network normalise all ghost batches at once, in few compiled kernels."""
    for module in model.modules():
        if isinstance(module, GhostBatchNorm):
            module.at_once = compiled()


@functools.cache
def compiled() -> Any:
    """Return `normalize`, which torch compiles for every shape that it meets."""
    import torch._dynamo  # a second of start-up, here only

    torch._dynamo.config.recompile_limit = SHAPES
    return torch.compile(normalize, dynamic=False, fullgraph=True)
