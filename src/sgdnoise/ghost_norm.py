"""Ghost batch normalisation: batch statistics over a fixed ghost batch, running statistics once per update."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise import parallel


class GhostBatchNorm(nn.Module):
    """Normalise every ghost batch of `ghost_batch` consecutive images by its own statistics.

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

    def __init__(self, num_channels: int, ghost_batch: int, decay: float, eps: float):
        super().__init__()
        self.ghost_batch, self.decay, self.eps = ghost_batch, decay, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))
        # Mean over the ghost batches seen since the last update.
        self.register_buffer("update_mean", torch.zeros(num_channels), persistent=False)
        self.register_buffer("update_var", torch.zeros(num_channels), persistent=False)
        self.num_ghosts = 0

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(images, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        normalized = []
        for ghost in images.split(self.ghost_batch):
            self.num_ghosts += 1
            # F.batch_norm moves its running statistics by `momentum`: 1/j makes them the mean of the first j ghosts.
            normalized.append(
                F.batch_norm(
                    ghost, self.update_mean, self.update_var, self.weight, self.bias, True, 1 / self.num_ghosts, self.eps
                )
            )
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)

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
