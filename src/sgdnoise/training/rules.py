"""The update rules, which optimizers name: each a function of parameters, gradients and a state of its own.

A state is a dictionary of tensors and numbers, empty at the first update. A parameter whose gradient is None, on which the loss does
not depend, stays as it is. `lr` is a number or a tensor () float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam as torch_adam
from torch.optim.sgd import sgd as torch_sgd  # the functional form: torch.optim.SGD imports torch._dynamo, 1.1 s for every cell

from sgdnoise.study.optimizers import Optimizer

Gradients = Sequence["Tensor | None"]
Rule = Callable[[Optimizer, list[Tensor], Gradients, dict[str, Any], "float | Tensor"], None]

BETAS, EPS = (0.9, 0.999), 1e-8  # Kingma & Ba 2015
MUON_MOMENTUM = 0.95  # Jordan et al. 2024, as are the steps and the coefficients
NEWTON_SCHULZ_STEPS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
MATCH_RMS = 0.2  # Liu et al. 2025 (Moonlight): the root mean square of Adam's updates


def sgd(optimizer: Optimizer, parameters: list[Tensor], gradients: Gradients, state: dict[str, Any], lr: float | Tensor) -> None:
    """Update `parameters` in place: v = m v + g; w -= eps v, with eps = lr (1 - m) (ICLR v5 sec. 2).

    `lr` is the effective learning rate eps / (1 - m).
    """
    descend(optimizer, parameters, gradients, state, lr * (1 - optimizer.momentum))


def descend(
    optimizer: Optimizer, parameters: list[Tensor], gradients: Gradients, state: dict[str, Any], eps: float | Tensor
) -> None:
    """Update `parameters` in place: v = m v + g; w -= eps v."""
    velocities = state.setdefault("velocities", [None] * len(parameters))
    used = [(index, gradient) for index, gradient in enumerate(gradients) if gradient is not None]
    some = [velocities[index] for index, _ in used]
    if any(one is not None for one in some):  # torch takes velocities of all or of none
        some = [torch.zeros_like(gradient) if one is None else one for one, (_, gradient) in zip(some, used, strict=True)]
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


def adam(optimizer: Optimizer, parameters: list[Tensor], gradients: Gradients, state: dict[str, Any], lr: float | Tensor) -> None:
    """Update `parameters` in place as torch.optim.Adam does, bitwise (Kingma & Ba 2015)."""
    kept = state.setdefault("adam", [None] * len(parameters))  # of each the number of its updates and both moments
    used = [index for index, gradient in enumerate(gradients) if gradient is not None]
    for index in used:
        kept[index] = kept[index] or [0, torch.zeros_like(parameters[index]), torch.zeros_like(parameters[index])]
    torch_adam(
        [parameters[index] for index in used],
        [gradient for gradient in gradients if gradient is not None],
        [kept[index][1] for index in used],
        [kept[index][2] for index in used],
        [],
        [torch.tensor(float(kept[index][0])) for index in used],
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=lr,
        weight_decay=0.0,  # L2 is already in the gradients, or has been taken off the weights
        eps=EPS,
        amsgrad=False,
        maximize=False,
    )
    for index in used:
        kept[index][0] += 1


def muon(optimizer: Optimizer, parameters: list[Tensor], gradients: Gradients, state: dict[str, Any], lr: float | Tensor) -> None:
    """Update matrices in place by their orthogonalised momentum, the others by Adam (Jordan et al. 2024).

    The momentum is an exponential average with Nesterov's step, as torch.optim.Muon has it; the sum of the authors' code has the same
    direction, and of its length nothing is left. A matrix moves by lr 0.2 sqrt(max(rows, columns)) times an orthogonal one, whose root
    mean square is that of Adam's updates (Liu et al. 2025): so one learning rate serves both.
    """
    momenta = state.setdefault("momenta", [None] * len(parameters))
    others: list[Tensor | None] = list(gradients)
    for index, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        if gradient is None or not is_matrix(parameter):
            continue
        others[index] = None
        if momenta[index] is None:
            momenta[index] = torch.zeros_like(parameter)
        momentum = momenta[index].lerp_(gradient, 1 - MUON_MOMENTUM)
        made = orthogonalised(gradient.lerp(momentum, MUON_MOMENTUM).flatten(1))
        parameter.sub_((lr * MATCH_RMS * max(made.shape) ** 0.5 * made).reshape(parameter.shape))
    adam(optimizer, parameters, others, state, lr)


def is_matrix(parameter: Tensor) -> bool:
    """Tell whether a parameter, flattened to (outputs, the rest), has two of each at least.

    Its authors leave embeddings and the last layer to Adam, too. A rule knows parameters, not what they are for, and
    which layer is the last is not the same question in every network; so here they are matrices like any other.
    """
    return parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) > 1


def orthogonalised(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix (R, C) near 1, to 0.7 to 1.2 or so, by five steps of a quintic iteration in float32."""
    a, b, c = QUINTIC
    wide = matrix.float().T if matrix.shape[0] > matrix.shape[1] else matrix.float()
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def kfac(optimizer: Optimizer, parameters: list[Tensor], gradients: Gradients, state: dict[str, Any], lr: float | Tensor) -> None:
    """Update `parameters` in place by SGD with momentum from gradients that layers with Kronecker factors have preconditioned.

    What kfac.py keeps of a layer: the numbers of its weight and bias among the parameters, and both inverses. `lr` is torch's own.
    """
    for layer in state.get("layers", []):
        some = [gradients[index] for index in layer["parameters"]]
        made = [gradient for gradient in some if gradient is not None]
        if len(made) == len(some) and "inverses" in layer:  # not before its first pass at targets that are drawn
            precondition(made, *layer["inverses"])
    descend(optimizer, parameters, gradients, state, lr)


def precondition(gradients: Sequence[Tensor], inputs: Tensor, outputs: Tensor) -> None:
    """Change the gradients of a weight (O, ...) and perhaps of a bias (O,) in place: outputs (O, O) G inputs (I, I)."""
    columns = torch.cat([gradient.reshape(len(gradient), -1) for gradient in gradients], dim=1)
    made = outputs @ columns @ inputs
    for gradient, part in zip(gradients, made.split([one[0].numel() for one in gradients], dim=1), strict=True):
        gradient.copy_(part.reshape(gradient.shape))


RULES: dict[str, Rule] = {"sgd": sgd, "adam": adam, "muon": muon, "kfac": kfac}
