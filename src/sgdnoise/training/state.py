"""What a run is asked to do, and all that the rest of it depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sgdnoise.study import schedule
from sgdnoise.study.optimizers import Optimizer
from sgdnoise.training import updates

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer


@dataclass(frozen=True)
class Plan:
    """What one run is asked to do; `lr` is the learning rate, of SGD the effective one; `warmup_steps` count updates.

    `epoch_steps` are the updates of an epoch, as a fraction where an epoch ends within a batch. `gamma` is of the paper's schedule, in place of which a run may have another `shape(step, num_steps, warmup_steps)`. The `factory`
    makes an optimizer of torch, if it is one.
    """

    optimizer: Optimizer
    batch_size: int
    lr: float
    num_steps: int
    warmup_steps: int
    evaluations: int
    settings: dict[str, Any]
    epoch_steps: Fraction | float = 0.0
    gamma: float = 2.0
    shape: Callable[[int, int, int], float] | None = None
    factory: updates.Factory | None = None

    def lr_at(self, step: int) -> float:
        """Return the learning rate of update `step` (from 0)."""
        if self.shape:
            return self.lr * self.shape(step, self.num_steps, self.warmup_steps)
        return self.lr * schedule.multiplier(step, self.num_steps, self.warmup_steps, self.gamma)


@dataclass
class Curves:
    """What one run measured: a row of metrics per evaluation, NaN where it was found diverged; seconds spent in updates."""

    rows: list[dict[str, float]] = field(default_factory=list)
    diverged: bool = False
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    steps_done: int = 0


@dataclass
class State:
    """All that the rest of a run depends on, besides its plan. `packed` is what a checkpoint holds of it."""

    model: nn.Module
    device: torch.device
    optimizer: dict[str, Any] = field(default_factory=dict)
    carries: dict[int, Any] = field(default_factory=dict)
    stream_loss: float = 0.0  # summed over the `stream_terms` seen since the last evaluation
    stream_terms: int = 0
    curves: Curves = field(default_factory=Curves)
    precision: str = "float32"
    random: list[Tensor] = field(default_factory=list)  # what `random_state` was; empty: torch's own is this run's
    torch_optimizer: TorchOptimizer | None = None  # which keeps its state by itself

    PLAIN = ("optimizer", "carries", "stream_loss", "stream_terms")

    def packed(self) -> dict[str, Any]:
        """Return the state as tensors and plain values, between two updates."""
        random = self.random or random_state(self.device)
        plain = {name: getattr(self, name) for name in self.PLAIN}
        if self.torch_optimizer:
            plain["optimizer"] = self.torch_optimizer.state_dict()
        return plain | {"model": self.model.state_dict(), "curves": asdict(self.curves), "random": random}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Go on from where `packed` was taken, bitwise."""
        self.model.load_state_dict(packed["model"])
        for name in self.PLAIN:
            setattr(self, name, packed[name])
        if self.torch_optimizer:
            self.torch_optimizer.load_state_dict(packed["optimizer"])
        self.curves = Curves(**packed["curves"])
        set_random_state(packed["random"], self.device)


def random_state(device: torch.device) -> list[Tensor]:
    """Return where torch's random numbers are, on the CPU and on the device."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(random: list[Tensor], device: torch.device) -> None:
    """Go on with the random numbers from where they were."""
    torch.set_rng_state(random[0].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(random[1].cpu(), device)


def trained_parameters(model: nn.Module) -> list[Tensor]:
    """List the parameters that are trained: all that are not frozen (`requires_grad_(False)`)."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
