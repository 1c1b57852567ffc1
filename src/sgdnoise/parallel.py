"""One batch shared by several processes of a node, one GPU each, as `torchrun` starts them.

Every process computes the gradient of its part of the batch; since the loss is a sum over examples, the parts add up to
the gradient of the whole batch. That sum is all there is to it: torch's DistributedDataParallel would average instead,
overwrite the statistics of ghost batch norm, and add up every micro-batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """Count the processes that share a batch."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Return the number of this process; process 0 writes the files."""
    return int(os.environ.get("RANK", 0))


def join(device: torch.device) -> torch.device:
    """Meet the other processes, and return the device of this one: on GPUs, the one with its number."""
    if size() == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def shard(batch_size: int) -> slice:
    """Return the part of every batch that this process computes."""
    if batch_size % size():
        raise ValueError(f"batch size {batch_size} cannot be shared equally by {size()} processes; use a number that divides it")
    part = batch_size // size()
    return slice(rank() * part, (rank() + 1) * part)


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors in place by their sums over the processes."""
    if size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))


def total(*numbers: float, device: torch.device) -> list[float]:
    """Add up numbers over the processes."""
    sums = torch.tensor(numbers, dtype=torch.double, device=device)
    add_up([sums])
    return sums.tolist()
