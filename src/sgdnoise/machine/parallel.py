"""One batch shared by several processes of a node, one GPU each, started by `torchrun` or in the same way by `launch`.

Every process computes the gradient of its part of the batch; since the loss is a sum over examples, the parts add up to
the gradient of the whole batch. That sum is all there is to it: torch's DistributedDataParallel would average instead,
overwrite the statistics of ghost batch norm, and add up every micro-batch.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def size() -> int:
    """Count the processes that share a batch."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Return the number of this process; process 0 writes the files."""
    return int(os.environ.get("RANK", 0))


@contextmanager
def as_one_of(processes: int) -> Iterator[None]:
    """Let this process count so many that share a batch, to see what would be refused; they do not meet."""
    before = os.environ.get("WORLD_SIZE")
    os.environ["WORLD_SIZE"] = str(processes)
    try:
        yield
    finally:
        del os.environ["WORLD_SIZE"]
        if before is not None:
            os.environ["WORLD_SIZE"] = before


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `sgdnoise` with `arguments` in so many processes, as `torchrun --standalone` does; return the exit code.

    A ValueError with the first error that one of them wrote down.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes say themselves what is wrong
    heard = [
        one.name for one in STOPS if signal.getsignal(one) != signal.SIG_IGN
    ]  # torch would also listen to what nohup ignores
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        max_restarts=0,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        signals_to_handle=",".join(heard),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "sgdnoise", *arguments)
    except ChildFailedError as error:
        first = error.get_first_failure()[1]
        if "timestamp" in first.error_file_data:
            raise ValueError(first.message) from error
        return first.exitcode
    except SignalException as stop:
        return 128 + stop.sigval
    return 0


def write_down(error: Exception, path: str) -> None:
    """Leave an error where `launch` or torchrun looks for it; of those of all processes, they say the first."""
    Path(path).write_text(json.dumps({"message": str(error), "timestamp": int(time.time())}), encoding="utf-8")


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
    try:
        dist.all_reduce(flat)
    except RuntimeError as error:
        time.sleep(2)  # so that the other's error is the first, in whole seconds
        raise ValueError("another of the processes that share the batches has ended; its own message says why") from error
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))


def total(*numbers: float, device: torch.device) -> list[float]:
    """Add up numbers over the processes."""
    sums = torch.tensor(numbers, dtype=torch.double, device=device)
    add_up([sums])
    return sums.tolist()
