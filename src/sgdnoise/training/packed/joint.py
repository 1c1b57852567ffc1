"""The parameters of several networks of one shape as joint tensors, of which those of each network become views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.training.loop import l2_parameters
from sgdnoise.training.state import State
from sgdnoise.training.together import sgd


class Joint:
    """Parameters, gradients and velocities, (K, ...) each; the kernels of a convolution are rows, (K, out, rows columns in).

    Everything is asked for by what the first network has.
    """

    def __init__(self, states: Sequence[State], momentum: float, l2: float, l2_scope: str):
        self.states, self.momentum = states, momentum
        models = [list(state.model.parameters()) for state in states]
        self.parameters = [self.join(same) for same in zip(*models, strict=True)]
        self.gradients = [torch.empty_like(one) for one in self.parameters]
        self.velocities: list[Tensor] = []
        if momentum:
            kept = [state.optimizer.get("velocities") or [torch.zeros_like(one) for one in models[0]] for state in states]
            for state, own in zip(states, kept, strict=True):
                state.optimizer["velocities"] = own
            self.velocities = [self.join(same) for same in zip(*kept, strict=True)]
        self.place = {id(parameter): index for index, parameter in enumerate(models[0])}
        decayed = {id(one) for one in l2_parameters(states[0].model, l2_scope)} if l2 else set()
        covered = [id(parameter) in decayed for parameter in models[0]]
        parts = [([index for index, one in enumerate(covered) if one == part], l2 * part) for part in (True, False)]
        self.parts = [(part, decay) for part, decay in parts if part]

    @staticmethod
    def join(same: Sequence[Tensor]) -> Tensor:
        """Stack tensors of the networks, which become views of the stack, and return it."""
        rows = [one.detach().permute(0, 2, 3, 1) if one.ndim == 4 else one.detach() for one in same]
        stack = torch.stack(rows)
        for one, own in zip(same, stack, strict=True):
            one.data = own.permute(0, 3, 1, 2) if one.ndim == 4 else own
        return stack.flatten(2) if stack.ndim == 5 else stack

    def of(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Return a parameter and its gradient, (K, ...)."""
        index = self.place[id(parameter)]
        return self.parameters[index], self.gradients[index]

    def of_buffers(self, module: GhostBatchNorm) -> list[Tensor]:
        """Return the running mean and variance of a norm, (K, C)."""
        name = next(name for name, one in self.states[0].model.named_modules() if one is module)
        norms = [state.model.get_submodule(name) for state in self.states]
        return [self.join([getattr(norm, kind) for norm in norms]) for kind in ("running_mean", "running_var")]

    def update(self, lr: float) -> None:
        """Update all parameters at an effective learning rate, as the rule `sgd` does."""
        for part, decay in self.parts:  # what L2 covers, and the rest
            parameters, gradients, velocities = (
                [some[index] for index in part] if some else [] for some in (self.parameters, self.gradients, self.velocities)
            )
            sgd(lr, self.momentum)(parameters, gradients, velocities, weight_decay=decay)
