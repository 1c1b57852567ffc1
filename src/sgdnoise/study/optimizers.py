"""The optimizers of the paper. Importing this module does not import torch: the plan needs only the names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Update = Callable[["Optimizer", "list[Tensor]", "list[Tensor]", dict[str, Any], "float | Tensor"], None]


def sgd_update(
    optimizer: Optimizer, parameters: list[Tensor], gradients: list[Tensor], state: dict[str, Any], lr: float | Tensor
) -> None:
    """Update `parameters` in place: v = m v + g; w -= eps v, with eps = lr (1 - m) (ICLR v5 sec. 2).

    `lr` is the effective learning rate eps / (1 - m), a number or a tensor () float64.
    `state` is empty at the first update.
    """
    # The functional form: torch.optim.SGD itself imports torch._dynamo, 1.1 s of start-up for every cell.
    from torch.optim.sgd import sgd

    eps = lr * (1 - optimizer.momentum)
    sgd(
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


@dataclass(frozen=True)
class Optimizer:
    """What the training loop and the figures need to know of an optimizer."""

    label: str
    momentum: float = 0.0
    warmup_epochs: int = 0
    update: Update = sgd_update


OPTIMIZERS = {
    "sgd": Optimizer("SGD"),
    "momentum": Optimizer("SGD with momentum", momentum=0.9),  # ICLR v5 sec. 2
    "momentum_warmup": Optimizer("momentum with warmup", momentum=0.9, warmup_epochs=5),  # ICLR v5 App. A
}
