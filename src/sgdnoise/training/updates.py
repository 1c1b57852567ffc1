"""The update rules, which optimizers name: each a function of parameters, gradients and a state of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim.sgd import sgd as torch_sgd  # the functional form: torch.optim.SGD imports torch._dynamo, 1.1 s for every cell

from sgdnoise.study.optimizers import Optimizer

Rule = Callable[[Optimizer, list[Tensor], list[Tensor], dict[str, Any], "float | Tensor"], None]


def sgd(
    optimizer: Optimizer, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, Any], lr: float | Tensor
) -> None:
    """Update `parameters` in place: v = m v + g; w -= eps v, with eps = lr (1 - m) (ICLR v5 sec. 2).

    `lr` is the effective learning rate eps / (1 - m), a number or a tensor () float64.
    `state` is empty at the first update.
    """
    eps = lr * (1 - optimizer.momentum)
    torch_sgd(
        parameters,
        gradients,
        state.setdefault("velocities", [None] * len(parameters)),
        lr=eps if isinstance(eps, float) else eps.float(),  # of a tensor, fused kernels want float32
        momentum=optimizer.momentum,
        weight_decay=0.0,  # L2 is already in the gradients
        dampening=0.0,
        nesterov=False,
        maximize=False,
        fused=True,  # one pass over the memory; bitwise the same on a CPU
    )


RULES: dict[str, Rule] = {"sgd": sgd}
