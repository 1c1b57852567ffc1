"""K-FAC: the Fisher information of each layer as a Kronecker product, whose inverse preconditions its gradient.

Of a linear layer (Martens & Grosse 2015) with inputs a, a 1 appended where it has a bias, and gradients g by its outputs, at targets
that the network draws, it is A (x) G with A = E[a a^T] and G = E[g g^T]. Of a convolution (Grosse & Martens 2016), and of a linear layer
that is applied to several places of an example ("expand" of Eschenhagen et al. 2023), A sums over places and G is a mean over them.
Weight and bias of a layer are one matrix. Of a batch a single target is drawn for each output, from random numbers apart from the run's.

    average      of A and G over updates: what is kept of the old at update k is min(1 - 1/k, 0.95) (Martens & Grosse 2015 sec. 5)
    damping      LAMBDA to the Fisher information of the mean loss, factored: A + pi sqrt(LAMBDA), G + sqrt(LAMBDA) / pi with
                 pi^2 = (tr A / dim A) / (tr G / dim G) (sec. 6.3); constant, where they adapt it
    inverses     anew at each of the first 10 updates, then at every 10th; the paper has every 20th
    momentum     0.9, after the preconditioning; theirs is adapted, as is the length of an update: here it is the learning rate, torch's own

Clipping to a norm and the gradient of L2 come first: both are preconditioned. Everything else (recurrent cells, embeddings, norms,
convolutions in groups, layers that share a parameter or whose weight is made of others) has SGD with the same momentum and learning rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine.precision import Logits
from sgdnoise.tasks.batches import Batch
from sgdnoise.training.gradients import Gradient, again, backward, eager, micro_batch_of, moment, taken
from sgdnoise.training.state import Plan, State, trained_parameters

DECAY = 0.95
LAMBDA = 1e-3  # our choice, not scheduled
AT_FIRST, EVERY = 10, 10  # our choice: small networks change fast, and their inverses are cheap


@dataclass
class Layer:
    """A layer with the numbers of its parameters among the trained ones, and sums over the examples of an update."""

    module: nn.Module
    parameters: list[int]
    inputs: Tensor | float = 0.0  # of a a^T, (I, I)
    outputs: Tensor | float = 0.0  # of g g^T, (O, O)
    places: int = 0

    def see(self, module: nn.Module, arguments: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Add the inputs of a forward pass, and have it add the gradients by its outputs."""
        rows = input_rows(module, arguments[0].detach())
        if len(self.parameters) == 2:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        self.places += len(rows)
        self.inputs = self.inputs + gram(rows)
        outputs.register_hook(self.see_gradient)

    def see_gradient(self, gradient: Tensor) -> None:
        """Add the gradients of a backward pass by the layer's outputs."""
        rows = gradient.flatten(2).transpose(1, 2) if isinstance(self.module, nn.Conv2d) else gradient
        self.outputs = self.outputs + gram(rows.reshape(-1, rows.shape[-1]))


def source(benchmark: Benchmark, data: Any, plan: Plan, state: State, seed: int, gradient: Gradient) -> Gradient:
    """Return what makes the gradients of a run from those of its batches, and keeps factors and their inverses for the rule."""
    if benchmark.sampled_loss is None:
        raise ValueError(
            f"{plan.optimizer.label}: this benchmark has no sampled_loss; give its record one, or leave the optimizer out"
        )
    if not layers_of(state.model):
        raise ValueError(f"{plan.optimizer.label}: the network has no linear layer or convolution; use another optimizer")
    sampled, parameters = replace(benchmark, loss=benchmark.sampled_loss), trained_parameters(state.model)
    micro_batch = (plan.optimizer.micro_batch if plan.optimizer.active else 0) or micro_batch_of(plan, state.model)

    def with_factors(batch: Batch) -> Tensor:
        before = moment(state)
        loss_sum = gradient(batch)
        if not loss_sum.isfinite():
            return loss_sum  # diverged
        own = taken(parameters)
        noise = np.random.SeedSequence((seed, state.curves.steps_done, 2)).generate_state(1, np.uint64)[0]
        with again(state, before), eager(state.model), watched(state.model) as layers:
            torch.manual_seed(int(noise))
            backward(sampled, state, batch, micro_batch, 1)
        taken(parameters)
        for parameter, one in zip(parameters, own, strict=True):
            parameter.grad = one
        keep(state.optimizer, layers, len(batch[0]))
        return loss_sum

    return with_factors


def layers_of(model: nn.Module) -> list[Layer]:
    """List the layers that have factors: each alone trains its parameters."""
    trained = {id(parameter): index for index, parameter in enumerate(trained_parameters(model))}
    modules = list(model.modules())
    users = Counter(id(parameter) for module in modules for parameter in module.parameters(recurse=False))
    found = []
    for module in modules:
        own = {name: id(parameter) for name, parameter in module.named_parameters(recurse=False)}
        own_weight = "weight" in own and set(own) <= {"weight", "bias"}  # not made of others, as by torch.nn.utils.weight_norm
        plain = type(module) in (nn.Linear, Logits) or (type(module) is nn.Conv2d and module.groups == 1)
        if plain and own_weight and all(one in trained and users[one] == 1 for one in own.values()):
            found.append(Layer(module, [trained[own[name]] for name in ("weight", "bias") if name in own]))
    return found


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Layer]]:
    """Let the layers of a network see their forward and backward passes."""
    layers = layers_of(model)
    handles = [layer.module.register_forward_hook(layer.see) for layer in layers]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def input_rows(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return what each place has as inputs (places, I): of a convolution the patches that its kernel sees."""
    if not isinstance(module, nn.Conv2d):
        return inputs.reshape(-1, inputs.shape[-1])
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(inputs, module._reversed_padding_repeated_twice, mode=mode)
    patches = F.unfold(padded, module.kernel_size, dilation=module.dilation, stride=module.stride)
    return patches.transpose(1, 2).flatten(0, 1)


def gram(rows: Tensor) -> Tensor:
    """Return the sum over rows (N, D) of their outer products, (D, D) float32."""
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        return rows.float().T @ rows.float()


def keep(kept: dict[str, Any], layers: Sequence[Layer], num_examples: int) -> None:
    """Average the factors of an update into those before, and invert them where that is due."""
    kept["update"] = update = kept.get("update", 0) + 1
    kept.setdefault("layers", [{"parameters": layer.parameters} for layer in layers])
    for one, layer in zip(kept["layers"], layers, strict=True):
        if not isinstance(layer.inputs, Tensor) or not isinstance(layer.outputs, Tensor):
            continue  # a layer without a pass
        new = [layer.inputs / num_examples, layer.outputs / layer.places]
        share = 1 - min(1 - 1 / update, DECAY)
        one["factors"] = [old.lerp(made, share) for old, made in zip(one.get("factors", new), new, strict=True)]
        if update <= AT_FIRST or update % EVERY == 0 or "inverses" not in one:
            one["inverses"] = inverses(*one["factors"])


def inverses(inputs: Tensor, outputs: Tensor) -> list[Tensor]:
    """Return the inverses of both factors with their parts of the damping."""
    scales = [float(factor.trace()) / len(factor) for factor in (inputs, outputs)]
    pi = (scales[0] / scales[1]) ** 0.5 if min(scales) > 0 else 1.0
    return [inverse(inputs, pi * LAMBDA**0.5), inverse(outputs, LAMBDA**0.5 / pi)]


def inverse(factor: Tensor, damping: float) -> Tensor:
    """Invert a damped factor in float64; what has no inverse, of a run that diverges, becomes NaN."""
    damped = factor.double() + damping * torch.eye(len(factor), dtype=torch.double, device=factor.device)
    root, failed = torch.linalg.cholesky_ex(damped)
    return torch.cholesky_inverse(root).masked_fill(failed > 0, torch.nan).to(factor.dtype)
