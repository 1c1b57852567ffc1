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
from sgdnoise.training.loop import batches_of, l2_factor
from sgdnoise.training.packed.lstm_layer import Layer, Scratch
from sgdnoise.training.state import Plan, State
from sgdnoise.training.together import equal_groups, made_of, no_plain_sgd, sgd, steps_done

UNITS = 22  # numbers that a layer keeps per unit and token
TOGETHER = 5 * 2**20  # our choice, measured: numbers of seeds that are trained together
LARGE = 2**20  # our choice, measured: weights of a network beyond which large products take all the time


def fits(benchmark: Benchmark) -> bool:
    """Say whether a benchmark trains the LSTM language model, by a loss of which nothing is set but its scale."""
    known_loss = set(getattr(benchmark.loss, "keywords", ())) <= {"scale"}
    return made_of(benchmark) == (LSTMLanguageModel, language_model.batches, language_model.loss) and known_loss


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
    assert isinstance(model, LSTMLanguageModel)
    num_tokens, width = model.embedding.weight.shape
    num_units = benchmark.batches.keywords["unroll"] * (num_tokens + UNITS * width * len(model.layers))
    return sum(parameter.numel() for parameter in model.parameters()), num_units


def parts(
    benchmark: Benchmark, data: Any, plan: Plan, seeds: Sequence[int], states: list[State]
) -> tuple[Networks, Iterator[tuple[Tensor, ...]]]:
    """Make the networks of all seeds, and their batches from the update at which they are."""
    # The text comes in its own order, the same for every seed.
    return Networks(states, benchmark, plan), batches_of(benchmark, data, plan, seeds[0], steps_done(states))


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
        self.logits = new(num_seeds, unroll * plan.batch_size, model.embedding.num_embeddings)

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
        target = targets.T.flatten()[None, :, None].expand(*self.logits.shape[:2], 1)
        chosen = self.logits.gather(2, target)
        sums = self.logits.exp_().sum(dim=2, keepdim=True)
        losses = chosen.sub_(sums.log()).sum(dim=(1, 2)).mul_(-self.scale)
        self.logits.mul_(sums.reciprocal_().mul_(self.scale_of_gradient))
        self.logits.scatter_add_(2, target, sums.fill_(-self.scale_of_gradient))
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
        sgd(lr, self.momentum)([self.weights], [self.gradient], self.velocities, weight_decay=0)


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
