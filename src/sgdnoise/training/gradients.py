"""The gradient of a batch, and what it takes to evaluate one again, at other weights, so that the run does not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import parallel, precision
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.tasks.batches import Batch
from sgdnoise.training.state import Plan, State, random_state, set_random_state

DROP_INSIDE = (nn.RNNBase, nn.MultiheadAttention)

Gradient = Callable[[Batch], Tensor]  # leaves the gradient of a batch in the parameters, and returns its summed loss, () float64


def backward(benchmark: Benchmark, state: State, batch: Batch, micro_batch: int, batch_size: int) -> Tensor:
    """Accumulate the gradient of the mean loss over `batch_size` examples; return their summed loss, () float64.

    `batch` is this process's part of them. The gradients of micro-batches add up to that of the whole batch, since each
    is of a sum over examples.
    """
    loss_sum = torch.zeros((), dtype=torch.double, device=state.device)
    with precision.products(state.precision):
        for index, micro in enumerate(zip(*(tensor.split(micro_batch) for tensor in batch), strict=True)):
            with precision.forward(state.precision, state.device):
                loss, state.carries[index] = benchmark.loss(state.model, micro, state.carries.get(index))
            (loss / batch_size).backward()
            loss_sum += loss.detach()
    return loss_sum


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """List the gradients that `backward` left; a parameter that the loss does not depend on has none."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def micro_batch_of(plan: Plan, model: nn.Module) -> int:
    """Return the examples per forward pass, by default this process's whole part of a batch.

    A ValueError for splits of a batch that would change what is computed.
    """
    part = parallel.shard(plan.batch_size)
    batch_size = part.stop - part.start
    micro_batch = int(plan.settings["micro_batch"]) or batch_size
    shared = f" of each of {parallel.size()} processes" if parallel.size() > 1 else ""
    if shared and dropouts(model):
        raise ValueError("a network with dropout cannot share its batches: every process would draw the same; use 1 process")
    for module in model.modules():
        whole = isinstance(module, _BatchNorm) and (module.training or not module.track_running_stats)
        if whole and (shared or micro_batch < batch_size):
            what = f"the part{shared}" if shared else f"a micro_batch of {micro_batch}"
            raise ValueError(
                f"{type(module).__name__} would normalise {what} by itself, and so compute something else than of the batch;"
                " leave the batch whole, or use GhostBatchNorm of sgdnoise.networks.ghost_norm"
            )
        if isinstance(module, GhostBatchNorm):
            # A batch below the ghost batch is one ghost batch, which cannot be shared either.
            ghost_batch = module.ghost_batch if shared else min(module.ghost_batch, batch_size)
            for name, number in ((f"batch size{shared}", batch_size), ("micro_batch", micro_batch)):
                if number % ghost_batch:
                    raise ValueError(f"{name} {number} is not a multiple of the ghost batch {ghost_batch}; choose one that is")
    return micro_batch


def dropouts(model: nn.Module) -> list[nn.Module]:
    """List the modules of torch in a network that drop at random: layers of dropout, recurrent and attention layers that have it inside."""
    return [
        module
        for module in model.modules()
        if (isinstance(module, _DropoutNd) and module.p) or (isinstance(module, DROP_INSIDE) and module.dropout)
    ]


def turn_off_dropout(model: nn.Module) -> None:
    """Let no module of torch in a network drop; what its own modules draw by functions is not seen."""
    for module in dropouts(model):
        if isinstance(module, DROP_INSIDE):
            module.dropout = 0.0
        else:
            module.eval()


def taken(parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Take the gradients out of parameters, None where there is none."""
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients


@dataclass(frozen=True)
class Moment:
    """What a forward pass leaves behind besides a gradient: where random numbers are, carries, statistics of norms."""

    random: list[Tensor]
    carries: dict[int, Any]
    buffers: list[Tensor]
    num_ghosts: list[int]


def moment(state: State) -> Moment:
    """Keep what a forward pass is about to change."""
    buffers = [buffer.clone() for buffer in state.model.buffers()]
    return Moment(
        random_state(state.device), dict(state.carries), buffers, [norm.num_ghosts for norm in ghost_norms(state.model)]
    )


def back_to(kept: Moment, state: State) -> None:
    """Undo the forward passes since a moment."""
    set_random_state(kept.random, state.device)
    state.carries = dict(kept.carries)
    with torch.no_grad():
        for buffer, value in zip(state.model.buffers(), kept.buffers, strict=True):
            buffer.copy_(value)
    for norm, number in zip(ghost_norms(state.model), kept.num_ghosts, strict=True):
        norm.num_ghosts = number


@contextmanager
def again(state: State, before: Moment) -> Iterator[None]:
    """Let forward passes have the random numbers and carries of an earlier moment, and leave nothing of them."""
    now = moment(state)
    back_to(before, state)
    try:
        yield
    finally:
        back_to(now, state)


@contextmanager
def at(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Give parameters other values for a while."""
    own = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        torch._foreach_copy_(list(parameters), list(values))
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), own)


def ghost_norms(model: nn.Module) -> list[GhostBatchNorm]:
    """List the ghost batch norms of a network."""
    return [module for module in model.modules() if isinstance(module, GhostBatchNorm)]


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Compute a network by operations that have second derivatives: attention written out, no RNN of cuDNN, nothing compiled."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with (
        torch.backends.cudnn.flags(enabled=not recurrent, deterministic=True, allow_tf32=False),
        sdpa_kernel(SDPBackend.MATH),
        eager(model),
    ):
        yield


def eager(model: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which nothing of a network is compiled."""
    compiled = any(hasattr(module, "_orig_mod") or module._compiled_call_impl for module in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
