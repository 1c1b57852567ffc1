"""The optimizers of the paper: what planning, training and figures need to know of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Optimizer:
    """An optimizer; `rule` is its update rule, one of `RULES` in training/updates.py."""

    label: str
    momentum: float = 0.0
    warmup_epochs: int = 0
    rule: str = "sgd"


OPTIMIZERS = {
    "sgd": Optimizer("SGD"),
    "momentum": Optimizer("SGD with momentum", momentum=0.9),  # ICLR v5 sec. 2
    "momentum_warmup": Optimizer("momentum with warmup", momentum=0.9, warmup_epochs=5),  # ICLR v5 App. A
}
