"""The update rules, which optimizers name: each a function of parameters, gradients and a state of its own; and torch's own.

Optimizers of torch, by name or made by a function of the user's, are objects that keep their state by themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim.sgd import sgd as torch_sgd  # the functional form: torch.optim.SGD imports torch._dynamo, 1.1 s for every cell

from sgdnoise.study.optimizers import OURS, Optimizer

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer

Gradients = Sequence["Tensor | None"]  # None: the loss does not depend on the parameter, which stays as it is
Rule = Callable[[Optimizer, list[Tensor], Gradients, dict[str, Any], "float | Tensor"], None]
Factory = Callable[[nn.Module, float], "TorchOptimizer"]


def sgd(optimizer: Optimizer, parameters: list[Tensor], gradients: Gradients, state: dict[str, Any], lr: float | Tensor) -> None:
    """Update `parameters` in place: v = m v + g; w -= eps v, with eps = lr (1 - m) (ICLR v5 sec. 2).

    `lr` is the effective learning rate eps / (1 - m), a number or a tensor () float64.
    `state` is empty at the first update.
    """
    eps = lr * (1 - optimizer.momentum)
    velocities = state.setdefault("velocities", [None] * len(parameters))
    used = [(index, gradient) for index, gradient in enumerate(gradients) if gradient is not None]
    some = [velocities[index] for index, _ in used]
    torch_sgd(
        [parameters[index] for index, _ in used],
        [gradient for _, gradient in used],
        some,
        lr=eps if isinstance(eps, float) else eps.float(),  # of a tensor, fused kernels want float32
        momentum=optimizer.momentum,
        weight_decay=0.0,  # L2 is already in the gradients
        dampening=0.0,
        nesterov=False,
        maximize=False,
        fused=True,  # one pass over the memory; bitwise the same on a CPU
    )
    for (index, _), velocity in zip(used, some, strict=True):
        velocities[index] = velocity


RULES: dict[str, Rule] = {"sgd": sgd}


def make(factory: Factory, model: nn.Module, lr: float) -> TorchOptimizer:
    """Make the optimizer of a network, and write down the learning rate that each group has where the run's is `lr`."""
    from torch.optim import Optimizer as TorchOptimizer

    made = factory(model, lr)
    if not isinstance(made, TorchOptimizer):
        raise ValueError(f"the factory of the optimizer returns a {type(made).__name__}; return an optimizer of torch")
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
        known = sorted(set(kinds) - {"Optimizer", "LBFGS"})  # LBFGS: evaluates the loss several times in an update
        if said["class"] not in known:
            raise ValueError(f"optimizer {optimizer.label}: class {said['class']!r} is none of torch.optim's {', '.join(known)}")
        groups = groups_of(model, said.get("groups", []), lr, optimizer.label)
        try:
            return kinds[said["class"]](groups, lr=lr, **settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer {optimizer.label}: torch.optim.{said['class']} refuses its settings: {error}") from error

    return factory


def groups_of(model: nn.Module, wanted: Sequence[dict[str, Any]], lr: float, label: str) -> list[dict[str, Any]]:
    """Sort the trained parameters into groups, each by the first whose `match` is found in its name, the rest into one more."""
    found: list[list[Tensor]] = [[] for _ in (*wanted, None)]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            place = next((index for index, one in enumerate(wanted) if re.search(one["match"], name)), len(wanted))
            found[place].append(parameter)
    groups = []
    for index, one in enumerate(wanted):
        if not found[index]:
            names = ", ".join(name for name, _ in model.named_parameters())
            raise ValueError(
                f"optimizer {label}: no trained parameter is left for the group {one['match']!r}; there are: {names}"
            )
        settings = {key: as_torch_has_it(value) for key, value in one.items() if key not in ("match", "lr_factor")}
        groups.append({"params": found[index], "lr": lr * one.get("lr_factor", 1.0)} | settings)
    return groups + [{"params": found[-1]}] * bool(found[-1])


def as_torch_has_it(value: Any) -> Any:
    """Return a setting as torch writes it: pairs are tuples."""
    return tuple(value) if isinstance(value, list) else value
