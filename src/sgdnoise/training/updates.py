"""Optimizers that are objects of torch and keep their state by themselves: by name, made by a function of the user's, or of a package."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sgdnoise.study.optimizers import OURS, Optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer

Factory = Callable[[nn.Module, float], "TorchOptimizer"]

BETA = 0.95  # of both averages of SOAP (Vyas et al. 2024)


def make(factory: Factory, model: nn.Module, lr: float) -> TorchOptimizer:
    """Make the optimizer of a network, and write down the learning rate that each group has where the run's is `lr`."""
    from torch.optim import LBFGS
    from torch.optim import Optimizer as TorchOptimizer

    made = factory(model, lr)
    if not isinstance(made, TorchOptimizer) or isinstance(made, LBFGS):  # which evaluates the loss several times in an update
        raise ValueError(
            f"the factory of the optimizer returns a {type(made).__name__}; return an optimizer of torch, but not LBFGS"
        )
    ours = {id(parameter) for parameter in model.parameters()}
    for group in made.param_groups:
        if not ours.issuperset(map(id, group["params"])):
            raise ValueError(
                "the factory returns an optimizer of other parameters; give it those of the network that it is called with"
            )
        group["initial_lr"] = group["lr"]
    return made


def step(made: TorchOptimizer, initial_lr: float, lr: float) -> None:
    """Update by an optimizer of torch at the learning rate `lr` of a run that began with `initial_lr`."""
    for group in made.param_groups:
        group["lr"] = group["initial_lr"] / initial_lr * lr
    made.step()


def named(optimizer: Optimizer) -> Factory:
    """Return what makes the optimizer of torch that a definition names, with its settings and groups of parameters."""
    said = json.loads(optimizer.definition)
    settings = {key: as_torch_has_it(value) for key, value in said.items() if key not in OURS}

    def factory(model: nn.Module, lr: float) -> TorchOptimizer:
        import torch.optim

        kinds = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
        known = sorted(set(kinds) - {"Optimizer", "LBFGS", "SparseAdam"})  # SparseAdam takes no gradients but sparse ones
        if said["class"] not in known:
            raise ValueError(f"optimizer {optimizer.label}: class {said['class']!r} is none of torch.optim's {', '.join(known)}")

        def made(parameters: Any, lr: float, settings: dict[str, Any], whose: str = "its settings") -> TorchOptimizer:
            try:
                return kinds[said["class"]](parameters, lr=lr, **settings)
            except Exception as error:  # of whatever kind a class of torch raises
                raise ValueError(f"optimizer {optimizer.label}: torch.optim.{said['class']} refuses {whose}: {error}") from error

        groups = []
        for one, parameters in groups_of(model, said.get("groups", []), optimizer.label):
            own = {key: as_torch_has_it(value) for key, value in one.items() if key not in ("match", "lr_factor")}
            whose = f"the settings of its group {one['match']!r}" if one else "its settings"
            # By an optimizer of its own, since torch looks at no setting of a group.
            groups += made(parameters, lr * one.get("lr_factor", 1.0), settings | own, whose).param_groups
        return made(groups, lr, settings)

    return factory


def groups_of(model: nn.Module, wanted: Sequence[dict[str, Any]], label: str) -> list[tuple[dict[str, Any], list[Tensor]]]:
    """Sort the trained parameters into groups, each by the first whose `match` is found in its name, the rest into one more, {}."""
    found: list[list[Tensor]] = [[] for _ in (*wanted, None)]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            place = next((index for index, one in enumerate(wanted) if re.search(one["match"], name)), len(wanted))
            found[place].append(parameter)
    for one, parameters in zip(wanted, found, strict=False):
        if not parameters:
            names = ", ".join(name for name, _ in model.named_parameters())
            raise ValueError(
                f"optimizer {label}: no trained parameter is left for the group {one['match']!r}; there are: {names}"
            )
    return [(one, parameters) for one, parameters in zip((*wanted, {}), found, strict=True) if parameters]


def as_torch_has_it(value: Any) -> Any:
    """Return a setting as torch writes it: pairs are tuples."""
    return tuple(value) if isinstance(value, list) else value


def soap(model: nn.Module, lr: float) -> TorchOptimizer:
    """Make SOAP with the settings of its authors (Vyas et al. 2024), and no weight decay of its own.

    The package, as the authors' code, moves no weights at its first step: that starts the preconditioner, in whose basis the same
    gradient is but its singular values and rounding. Here every update moves them: the first as Adam, without a basis, in which its
    squares are written down thereafter.
    """
    from pytorch_optimizer.optimizer.soap import SOAP

    class MovesAtOnce(SOAP):
        def step(self, closure: Any = None) -> Any:
            if self.state:
                return super().step(closure)
            super().step()
            bases = {parameter: kept["Q"] for parameter, kept in self.state.items()}
            for kept in self.state.values():
                kept["Q"] = [[] for _ in kept["Q"]]
            super().step()
            for parameter, basis in bases.items():
                kept = self.state[parameter]
                kept["Q"] = basis
                kept["exp_avg_sq"] = (1 - BETA) * self.project(parameter.grad, kept).square()
            return None

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return MovesAtOnce(trained, lr=lr, betas=(BETA, BETA), precondition_frequency=10, weight_decay=0.0)


FACTORIES: dict[str, Factory] = {"soap": soap}  # by the rule that an optimizer names
