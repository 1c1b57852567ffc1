"""Seeds of the LSTM language model, packed.

No autograd and no allocation over the time steps: what a step computes of all seeds are few batched operations on buffers that
are made once, the gates of a step one behind the other. Whatever does not hang on the step before is computed of all steps at
once: the projections of a layer's inputs, all but three operations of the backward pass of the gates, and every gradient of a
weight. Seeds share no number: each has its own streams of random numbers, and whatever becomes of one leaves the others' bits
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark
from sgdnoise.networks.lstm import LSTMLanguageModel
from sgdnoise.tasks import language_model
from sgdnoise.training.loop import Curves, Plan, State, batches_of, l2_factor
from sgdnoise.training.together import Resume, equal_groups, made_of, no_plain_sgd, start_all, steps_done, train_all

UNITS = 22  # numbers that a layer keeps per unit and token
TOGETHER = 5 * 2**20  # our choice, measured: numbers of seeds that are trained together
LARGE = 2**20  # our choice, measured: weights of a network beyond which large products take all the time


def fits(benchmark: Benchmark) -> bool:
    """Say whether a benchmark trains the LSTM language model."""
    return made_of(benchmark) == (LSTMLanguageModel, language_model.batches, language_model.loss)


def obstacle(benchmark: Benchmark, plan: Plan) -> str | None:
    """Say why the seeds of a cell are not packed; None if they are."""
    if size_of(benchmark)[0] > LARGE:
        return "an LSTM with so many weights is no faster packed"
    return no_plain_sgd(plan)


def groups(benchmark: Benchmark, seeds: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut seeds into equal groups that are trained together: as many as keep their weights and units in a cache."""
    num_weights, num_units = size_of(benchmark)
    return equal_groups(seeds, TOGETHER // (3 * num_weights + num_units * batch_size))  # their gradients and velocities, too


def size_of(benchmark: Benchmark) -> tuple[int, int]:
    """Count the weights of a network, and the numbers that are kept of an example."""
    assert isinstance(benchmark.batches, partial)
    with torch.device("meta"):
        model = benchmark.build()
    num_tokens, width = model.embedding.weight.shape
    num_units = benchmark.batches.keywords["unroll"] * (num_tokens + UNITS * width * len(model.layers))
    return sum(parameter.numel() for parameter in model.parameters()), num_units


def train(
    benchmark: Benchmark,
    data: Any,
    plan: Plan,
    seeds: Sequence[int],
    device: torch.device,
    on_step: Callable[[list[State]], object] = lambda states: None,
    resume: Resume = None,
) -> list[Curves]:
    """Train seeds together and return the curves of each, as `loop.train` does for one."""
    states = start_all(benchmark, plan, seeds, device, resume)
    first = steps_done(states)
    networks = Networks(states, benchmark, plan)
    batches = batches_of(benchmark, data, plan, seeds[0], first)  # the text in its own order: the same for every seed

    def updates() -> Iterator[list[list[float]]]:
        for step in range(first, plan.num_steps):
            loss_sums = networks.losses(*next(batches)).tolist()
            networks.update(plan.lr_at(step))
            yield [loss_sums]

    return train_all(benchmark, data, plan, states, updates(), on_step)


class Networks:
    """K language models, whose parameters, velocities and carries become views of joint tensors; buffers for an update of each.

    Call `losses`, then `update`. Of a buffer the axes are seeds K, time steps T, streams of text B, features.
    """

    def __init__(self, states: Sequence[State], benchmark: Benchmark, plan: Plan):
        assert isinstance(benchmark.batches, partial)
        model = states[0].model
        assert isinstance(model, LSTMLanguageModel)
        scale = benchmark.loss.keywords.get("scale", 1.0) if isinstance(benchmark.loss, partial) else 1.0
        self.scale, self.scale_of_gradient = scale, scale / plan.batch_size
        self.clip_norm, self.momentum, self.dropout = benchmark.clip_norm, plan.optimizer.momentum, model.dropout.p

        self.weights = torch.stack([flat(list(state.model.parameters())) for state in states])
        self.gradient = torch.empty_like(self.weights)
        shapes = [parameter.shape for parameter in model.parameters()]
        parameters, gradients = views(self.weights, shapes), views(self.gradient, shapes)
        self.l2 = l2_factor(benchmark, plan.settings)
        decays = [plan.settings["l2_scope"] == "all" or len(shape) > 1 for shape in shapes]
        self.decayed = [(gradient, one) for gradient, one, decay in zip(gradients, parameters, decays, strict=True) if decay]
        self.velocities: list[Tensor] = []
        if self.momentum:
            before = [state.optimizer.get("velocities") for state in states]
            self.velocities = [torch.stack([flat(one) if one else torch.zeros_like(self.weights[0]) for one in before])]
        for index, state in enumerate(states):
            for parameter, joint in zip(state.model.parameters(), parameters, strict=True):
                parameter.data = joint[index]
            if self.momentum:
                state.optimizer["velocities"] = [joint[index] for joint in views(self.velocities[0], shapes)]

        num_seeds, width, unroll = len(states), model.embedding.embedding_dim, benchmark.batches.keywords["unroll"]
        axes = (num_seeds, unroll, plan.batch_size)
        self.embedding, self.readout = parameters[0], parameters[-2:]
        self.embedding_gradient, self.readout_gradient = gradients[0], gradients[-2:]
        new = self.weights.new_empty
        # The inputs of every layer and of the readout, and in the backward pass the gradient there.
        self.values = [new(*axes, width) for _ in range(len(model.layers) + 1)]
        self.noise = [torch.ones_like(inputs) for inputs in self.values]
        # As dropout draws it: torch's LSTM leaves its outputs with the time steps in front, the embedding has the streams there.
        self.noise[0] = self.noise[0].new_ones(num_seeds, plan.batch_size, unroll, width).transpose(1, 2)
        self.draw = bernoulli_like()
        self.noise_of_seed = [self.noise[0].transpose(1, 2).flatten(1), *(noise.flatten(1) for noise in self.noise[1:])]
        self.states, self.random = states, [torch.Generator() for _ in states]
        for random, state in zip(self.random, states, strict=True):
            random.set_state(state.random[0])

        carries = [state.carries.get(0) for state in states]
        zeros = [new(plan.batch_size, width).zero_()] * (2 * len(model.layers))
        self.carries = [torch.stack(same) for same in zip(*(carry or zeros for carry in carries), strict=True)]
        for index, state in enumerate(states):
            state.carries[0] = tuple(carry[index] for carry in self.carries)
        scratch = Scratch(new, axes, width)
        self.layers = [
            Layer(parameters[first : first + 4], gradients[first : first + 4], self.values[index : index + 2], scratch)
            for index, first in enumerate(range(1, len(parameters) - 2, 4))
        ]
        num_tokens = model.embedding.num_embeddings
        self.logits, self.log_probabilities = (new(num_seeds, unroll * plan.batch_size, num_tokens) for _ in range(2))

    def losses(self, inputs: Tensor, targets: Tensor, continues: Tensor) -> Tensor:
        """Compute the loss of each seed, summed over its batch, (K,), and the gradient of its mean at the logits.

        inputs, targets: (B, T) int64; continues: (B,), by which the carries are multiplied.
        """
        self.draw_noise()
        self.tokens = inputs.T.flatten()
        torch.index_select(self.embedding, 1, self.tokens, out=self.values[0].flatten(1, 2))
        self.values[0].mul_(self.noise[0])
        for index, layer in enumerate(self.layers):
            hidden, cell = self.carries[2 * index : 2 * index + 2]
            torch.mul(hidden, continues[:, None], out=layer.hidden[:, 0])
            torch.mul(cell, continues[:, None], out=layer.cells[0])
            layer.forward()
            hidden.copy_(layer.hidden[:, -1])
            cell.copy_(layer.cells[-1])
            torch.mul(layer.hidden[:, 1:], self.noise[index + 1], out=self.values[index + 1])
        weight, bias = self.readout
        torch.baddbmm(bias[:, None], self.values[-1].flatten(1, 2), weight.mT, out=self.logits)
        self.logits.sub_(self.logits.amax(dim=2, keepdim=True))
        index = targets.T.flatten()[None, :, None].expand(*self.logits.shape[:2], 1)
        chosen = self.logits.gather(2, index)
        sums = self.logits.exp_().sum(dim=2, keepdim=True)
        losses = chosen.sub_(sums.log()).sum(dim=(1, 2)).mul_(-self.scale)
        self.logits.mul_(sums.reciprocal_().mul_(self.scale_of_gradient))
        self.logits.scatter_add_(2, index, sums.fill_(-self.scale_of_gradient))
        return losses

    def draw_noise(self) -> None:
        """Draw the noise of every dropout from each seed's own random numbers, call by call as the network does."""
        if self.dropout == 0:
            return
        for state, random, *noises in zip(self.states, self.random, *self.noise_of_seed, strict=True):
            for noise in noises:
                self.draw(noise, 1 - self.dropout, random)
                noise.mul_(1 / (1 - self.dropout))
            state.random = [random.get_state()]

    def update(self, lr: float) -> None:
        """Propagate the gradient from the logits down, clip it, and update all weights at the effective learning rate `lr`."""
        weight, _ = self.readout
        torch.bmm(self.logits.mT, self.values[-1].flatten(1, 2), out=self.readout_gradient[0])
        torch.sum(self.logits, dim=1, out=self.readout_gradient[1])
        torch.bmm(self.logits, weight, out=self.values[-1].flatten(1, 2))
        for index in reversed(range(len(self.layers))):
            self.values[index + 1].mul_(self.noise[index + 1])
            self.layers[index].backward()
        self.values[0].mul_(self.noise[0])
        self.embedding_gradient.zero_().index_add_(1, self.tokens, self.values[0].flatten(1, 2))
        if self.l2:
            for gradient, weight in self.decayed:
                gradient.add_(weight, alpha=self.l2)
        if self.clip_norm:  # as torch's clip_grad_norm_
            norms = torch.linalg.vector_norm(self.gradient, dim=1, keepdim=True)
            self.gradient.mul_((self.clip_norm / (norms + 1e-6)).clamp_(max=1))
        constants = {"momentum": self.momentum, "lr": lr * (1 - self.momentum), "dampening": 0, "weight_decay": 0}
        switches = {"nesterov": False, "maximize": False, "is_first_step": False}
        torch._fused_sgd_([self.weights], [self.gradient], self.velocities, **constants, **switches)


class Scratch:
    """Buffers that the layers use one after the other."""

    def __init__(self, new: Callable[..., Tensor], axes: tuple[int, int, int], width: int):
        num_seeds, unroll, batch_size = axes
        self.projected = new(*axes, 4 * width)  # the inputs; in the backward pass the gradient at the gates
        self.gates = new(num_seeds, batch_size, 4 * width)
        self.factors = new(unroll, 4, num_seeds, batch_size, width)
        self.hidden, self.cell = (new(num_seeds, batch_size, width) for _ in range(2))  # the gradients there


class Layer:
    """One layer of K networks. Its gates are torch's: input, forget, cell, output."""

    def __init__(self, parameters: list[Tensor], gradients: list[Tensor], values: list[Tensor], scratch: Scratch):
        """Of `values`, (K, T, B, H) each, the first are the inputs; in the second the gradient at the outputs will be."""
        self.parameters, self.gradients, self.scratch = parameters, gradients, scratch
        num_seeds, unroll, batch_size, width = values[0].shape
        new = values[0].new_empty
        self.hidden = new(num_seeds, unroll + 1, batch_size, width)
        self.cells = new(unroll + 1, num_seeds, batch_size, width)
        self.tanh_cells = new(unroll, num_seeds, batch_size, width)
        self.gates = new(unroll, 4, num_seeds, batch_size, width)
        # tanh(x) = 2 sigmoid(2 x) - 1, so that one operation serves all gates: the weights of the cell's are doubled.
        self.doubling = new(4 * width).fill_(1)
        self.doubling[2 * width : 3 * width] = 2
        self.doubled = [torch.empty_like(weight) for weight in parameters[:2]]
        self.minus_one = new(()).fill_(-1)

        # Views, since making them takes as long as computing.
        self.inputs, self.projected = values[0].flatten(1, 2), scratch.projected.flatten(1, 2)
        self.all_hidden = self.hidden[:, :-1].flatten(1, 2)
        before, after = self.hidden[:, :-1].unbind(1), self.hidden[:, 1:].unbind(1)
        self.steps = list(
            zip(
                scratch.projected.unbind(1),
                before,
                self.gates,
                *self.gates.unbind(1),
                self.cells[:-1],
                self.cells[1:],
                self.tanh_cells,
                after,
                strict=True,
            )
        )
        by_gate = scratch.projected.unflatten(3, (4, width)).permute(1, 3, 0, 2, 4)
        inner, outer = by_gate[:, :3], by_gate[:, 3]
        following = [*scratch.projected.unbind(1)[1:], None]
        forgets = [*self.gates[1:, 1], None]
        self.backward_steps = list(
            zip(
                values[1].unbind(1),
                following,
                forgets,
                self.tanh_cells,
                scratch.factors[:, :3],
                scratch.factors[:, 3],
                inner,
                outer,
                strict=True,
            )
        )[::-1]
        self.by_gate = scratch.gates.unflatten(2, (4, width)).permute(2, 0, 1, 3)

    def forward(self) -> None:
        """Compute hidden states and cells from the inputs and from what they are before the first step."""
        w_ih, w_hh, b_ih, b_hh = self.parameters
        for weight, doubled in zip((w_ih, w_hh), self.doubled, strict=True):
            torch.mul(weight, self.doubling[:, None], out=doubled)
        bias = (b_ih + b_hh).mul_(self.doubling)[:, None]
        torch.baddbmm(bias, self.inputs, self.doubled[0].mT, out=self.projected)
        recurrent, sums, by_gate, minus_one = self.doubled[1].mT, self.scratch.gates, self.by_gate, self.minus_one
        for projected, hidden, gates, into, forget, new, out, cell, next_cell, tanh_cell, next_hidden in self.steps:
            torch.baddbmm(projected, hidden, recurrent, out=sums)
            torch.sigmoid(by_gate, out=gates)
            torch.add(minus_one, new, alpha=2, out=new)
            torch.mul(forget, cell, out=next_cell).addcmul_(into, new)
            torch.tanh(next_cell, out=tanh_cell)
            torch.mul(out, tanh_cell, out=next_hidden)

    def backward(self) -> None:
        """Compute the gradients of the parameters, and that at the inputs in their place."""
        self.factor()
        recurrent, at_hidden, at_cell = self.parameters[1], self.scratch.hidden, self.scratch.cell.zero_()
        for at_output, following, forget, of_cell, inner_factors, outer_factor, inner, outer in self.backward_steps:
            if following is None:
                at_hidden.copy_(at_output)
            else:
                torch.baddbmm(at_output, following, recurrent, out=at_hidden)
                at_cell.mul_(forget)
            at_cell.addcmul_(at_hidden, of_cell)
            torch.mul(inner_factors, at_cell, out=inner)
            torch.mul(outer_factor, at_hidden, out=outer)
        at_gates = self.projected
        torch.bmm(at_gates.mT, self.inputs, out=self.gradients[0])
        torch.bmm(at_gates.mT, self.all_hidden, out=self.gradients[1])
        torch.sum(at_gates, dim=1, out=self.gradients[2])
        self.gradients[3].copy_(self.gradients[2])
        torch.bmm(at_gates, self.parameters[0], out=self.inputs)

    def factor(self) -> None:
        """Compute, of all steps, by what the gradient at a cell or an output is multiplied on its way to the gates."""
        into, forget, new, out = self.gates.unbind(1)
        factors = self.scratch.factors.unbind(1)
        sigmoid, tanh = torch.ops.aten.sigmoid_backward.grad_input, torch.ops.aten.tanh_backward.grad_input
        sigmoid(new, into, grad_input=factors[0])
        sigmoid(self.cells[:-1], forget, grad_input=factors[1])
        tanh(into, new, grad_input=factors[2])
        sigmoid(self.tanh_cells, out, grad_input=factors[3])
        tanh(out, self.tanh_cells, grad_input=self.tanh_cells)  # to the cell


def bernoulli(numbers: Tensor, probability: float, random: torch.Generator) -> None:
    """Draw ones and zeros (N,) as dropout does."""
    numbers.bernoulli_(probability, generator=random)


def compared(numbers: Tensor, probability: float, random: torch.Generator) -> None:
    """Draw them from uniform numbers, in half the time: the same where torch itself draws, not the library MKL for it."""
    uniform = torch.empty(numbers.shape, dtype=torch.double).uniform_(generator=random)
    torch.lt(uniform, probability, out=numbers)


def bernoulli_like() -> Callable[[Tensor, float, torch.Generator], None]:
    """Return the faster of these functions if it is seen to draw the same numbers here."""
    drawn, states = torch.empty(2, 1000), []
    for numbers, draw in zip(drawn, (bernoulli, compared), strict=True):
        random = torch.Generator().manual_seed(0)
        draw(numbers, 0.3, random)
        states.append(random.get_state())
    return compared if torch.equal(*drawn) and torch.equal(*states) else bernoulli


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors into one axis."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def views(joint: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Cut (K, P) into views (K, *shape)."""
    parts = joint.split([shape.numel() for shape in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
