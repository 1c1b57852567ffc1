"""Seeds of the fully connected autoencoder, packed.

No autograd and no allocation: forward and backward are batched matrix products over the seeds into buffers that are made
once. Weights are updated block by block, right after their gradient, while both are in the core's cache: at small batch
sizes moving the weights through the memory is most of an update. Seeds share no number: each has its own streams of random
numbers, and whatever becomes of one leaves the others' bits alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sgdnoise.benchmarks import Benchmark
from sgdnoise.machine import precision
from sgdnoise.networks.autoencoder import Autoencoder
from sgdnoise.tasks import reconstruction
from sgdnoise.tasks.batches import index_stream
from sgdnoise.training.loop import l2_factor, seed_streams
from sgdnoise.training.state import Plan, State
from sgdnoise.training.together import equal_groups, made_of, no_plain_sgd, sgd, steps_done

BLOCK = {  # our choice: weights of a block
    "cpu": 2**17,  # measured; with their gradient and velocity 1.5 MB
    "cuda": 2**30,  # not measured: a layer at once
}
WINDOW = 32  # our choice: updates whose batches are drawn together
TOGETHER = 2**20  # our choice, measured: weights and units, of all examples, of seeds that are trained together


def fits(benchmark: Benchmark) -> bool:
    """Say whether a benchmark trains the fully connected autoencoder."""
    return made_of(benchmark) == (Autoencoder, reconstruction.batches, reconstruction.loss) and not benchmark.clip_norm


def obstacle(benchmark: Benchmark, plan: Plan) -> str | None:
    """Say why the seeds of a cell are not batched products, on whatever device; None if they are."""
    if precision.of(plan.settings) == "bfloat16":
        return "bfloat16 is not packed"
    return no_plain_sgd(plan)


def groups(benchmark: Benchmark, seeds: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut seeds into equal groups that are trained together: as many as keep their weights and units in a cache."""
    parameters = list(benchmark.build().parameters())
    num_weights, num_units = (sum(one.numel() for one in parameters if one.ndim == axes) for axes in (2, 1))
    return equal_groups(seeds, TOGETHER // (num_weights + num_units * batch_size))


def parts(
    benchmark: Benchmark, data: Any, plan: Plan, seeds: Sequence[int], states: list[State]
) -> tuple[Networks, Iterator[tuple[Tensor, ...]]]:
    """Make the networks of all seeds, and their batches from the update at which they are."""
    batches = indices(benchmark, plan, seeds, steps_done(states))
    images = data["train_pixels"]
    return Networks(states, benchmark, plan, images.dtype), ((images, index) for index in batches)


def indices(benchmark: Benchmark, plan: Plan, seeds: Sequence[int], steps_done: int) -> Iterator[Tensor]:
    """Yield the indices of the seeds' batches, (K, B), update by update, from `steps_done` on, as `batches_of` does for one.

    They are drawn WINDOW updates at a time, since batches that follow one another in a stream are a larger batch of it.
    """
    assert isinstance(benchmark.batches, partial)
    window = (benchmark.batches.keywords["num_train"], WINDOW * plan.batch_size)
    orders = [torch.Generator().manual_seed(seed_streams(seed)[1]) for seed in seeds]
    streams = [index_stream(*window, order, steps_done // WINDOW) for order in orders]
    skip = steps_done % WINDOW
    while True:
        yield from torch.stack([next(stream).view(WINDOW, -1) for stream in streams], dim=1)[skip:]
        skip = 0


@dataclass(frozen=True)
class Block:
    """Weights of k seeds that are updated at once, (k, rows, columns), and what that needs."""

    weights: Tensor
    velocities: list[Tensor]  # the one of these weights; none without momentum
    gradient: Tensor
    output_gradient: Tensor  # (k, B, rows)
    output_gradient_t: Tensor  # (k, rows, B)
    inputs: Tensor  # (k, B, columns)
    input_gradient: Tensor  # (k, B, columns)
    begins: bool  # the input gradient, to which the next blocks of these seeds add


class Networks:
    """K autoencoders, whose parameters and velocities become views of joint tensors, and the buffers for an update of each.

    Call `losses`, then `update`. Images are uint8, but a user's `load` may have made them floats.
    """

    def __init__(self, states: Sequence[State], benchmark: Benchmark, plan: Plan, images: torch.dtype = torch.uint8):
        assert isinstance(benchmark.loss, partial)
        self.kind, self.momentum = benchmark.loss.keywords["kind"], plan.optimizer.momentum
        self.l2 = l2_factor(benchmark, plan.settings)
        self.l2_biases = self.l2 if plan.settings["l2_scope"] == "all" else 0.0
        self.activations = [type(one) for one in states[0].model.modules() if isinstance(one, nn.Sigmoid | nn.Tanh | nn.Identity)]
        parameters = [list(state.model.parameters()) for state in states]
        self.weights, self.biases = join(parameters)
        zeros = [torch.zeros_like(parameter) for parameter in parameters[0]]
        velocities = [state.optimizer.get("velocities", zeros) for state in states] if self.momentum else []
        weight_velocities, bias_velocities = join(velocities) if self.momentum else ([], None)
        self.bias_velocities = [] if bias_velocities is None else [bias_velocities]
        for index, state in enumerate(states):
            for parameter, view in zip(parameters[index], of_seed(index, self.weights, self.biases), strict=True):
                parameter.data = view
            if bias_velocities is not None:
                state.optimizer["velocities"] = of_seed(index, weight_velocities, bias_velocities)

        widths = [self.weights[0].shape[2], *(weight.shape[1] for weight in self.weights)]
        shapes = [(len(states), plan.batch_size, width) for width in widths]
        self.values, self.gradients = ([self.biases.new_empty(shape) for shape in shapes] for _ in range(2))
        self.pixels = self.values[0].new_empty(shapes[0], dtype=images).flatten(0, 1)
        self.bias_gradient = torch.empty_like(self.biases)
        self.bias_gradients = self.bias_gradient.split(widths[1:], dim=1)
        self.affine = [
            (bias[:, None], weights.transpose(1, 2))
            for bias, weights in zip(self.biases.split(widths[1:], dim=1), self.weights, strict=True)
        ]
        self.block = BLOCK[self.biases.device.type]
        most = min(self.block, max(weights.numel() for weights in self.weights))
        scratch = self.biases.new_empty(max(most, *widths))
        self.blocks = [self.cut(layer, weight_velocities, scratch) for layer in range(len(self.weights))]

    def cut(self, layer: int, velocities: list[Tensor], scratch: Tensor) -> list[Block]:
        """Cut a layer into blocks: several seeds, or where the weights of one are too many, some of its rows."""
        weights = self.weights[layer]
        num_seeds, num_rows, num_columns = weights.shape
        rows = min(num_rows, max(1, self.block // num_columns))
        seeds = max(1, self.block // (num_rows * num_columns))
        blocks = []
        for first in range(0, num_seeds, seeds):
            for first_row in range(0, num_rows, rows):
                some, part = slice(first, first + seeds), slice(first_row, first_row + rows)
                chosen, output_gradient = weights[some, part], self.gradients[layer + 1][some, :, part]
                blocks.append(
                    Block(
                        chosen,
                        [velocities[layer][some, part]] if velocities else [],
                        scratch[: chosen.numel()].view(chosen.shape),
                        output_gradient,
                        output_gradient.transpose(1, 2),
                        self.values[layer][some],
                        self.gradients[layer][some],
                        first_row == 0,
                    )
                )
        return blocks

    def losses(self, images: Tensor, index: Tensor) -> Tensor:
        """Compute the loss of each seed, summed over its batch, (K,), and the gradient of its mean at the logits.

        images: (N, P), from 0 to 255; index: (K, B), of the batches.
        """
        torch.index_select(images, 0, index.flatten(), out=self.pixels)
        torch.div(self.pixels, 255, out=self.values[0].flatten(0, 1))
        for layer, (biases, weights) in enumerate(self.affine):
            outputs = self.values[layer + 1]
            torch.baddbmm(biases, self.values[layer], weights, out=outputs)
            if layer < len(self.activations) and self.activations[layer] in FORWARD:
                FORWARD[self.activations[layer]](outputs, out=outputs)
        pixels, logits, gradient = self.values[0], self.values[-1], self.gradients[-1]
        if self.kind == "cross_entropy":
            torch.ops.aten.softplus.out(logits, out=gradient)
            sums = gradient.addcmul_(logits, pixels, value=-1).sum(dim=(1, 2))
            torch.sigmoid(logits, out=gradient).sub_(pixels)
        else:
            logits.sigmoid_()
            sums = torch.sub(logits, pixels, out=gradient).square().sum(dim=(1, 2)) / 2
            BACKWARD[nn.Sigmoid](gradient, logits, grad_input=gradient)
        gradient.div_(pixels.shape[1])
        return sums

    def update(self, lr: float | Tensor) -> None:
        """Propagate the gradient from the logits down, and update every block of weights as soon as it was used.

        lr: the effective learning rate; as a tensor () float32.
        """
        step = sgd(lr, self.momentum)
        for layer in reversed(range(len(self.weights))):
            torch.sum(self.gradients[layer + 1], dim=1, out=self.bias_gradients[layer])
            for block in self.blocks[layer]:
                if layer and block.begins:
                    torch.bmm(block.output_gradient, block.weights, out=block.input_gradient)
                elif layer:
                    block.input_gradient.baddbmm_(block.output_gradient, block.weights)
                torch.bmm(block.output_gradient_t, block.inputs, out=block.gradient)
                step([block.weights], [block.gradient], block.velocities, weight_decay=self.l2)
            if layer and self.activations[layer - 1] in BACKWARD:
                gradient = self.gradients[layer]
                BACKWARD[self.activations[layer - 1]](gradient, self.values[layer], grad_input=gradient)
        step([self.biases], [self.bias_gradient], self.bias_velocities, weight_decay=self.l2_biases)


FORWARD = {nn.Sigmoid: torch.sigmoid, nn.Tanh: torch.tanh}
BACKWARD = {nn.Sigmoid: torch.ops.aten.sigmoid_backward.grad_input, nn.Tanh: torch.ops.aten.tanh_backward.grad_input}


def join(networks: Sequence[Sequence[Tensor]]) -> tuple[list[Tensor], Tensor]:
    """Stack the weights of every layer, (K, out, in) each, and all biases, (K, sum of out)."""
    weights = [torch.stack(same).detach() for same in zip(*(network[::2] for network in networks), strict=True)]
    return weights, torch.stack([torch.cat(list(network[1::2])) for network in networks]).detach()


def of_seed(index: int, weights: list[Tensor], biases: Tensor) -> list[Tensor]:
    """List the weights and biases of one network as views, in the order of its parameters."""
    parts = biases[index].split([weight.shape[1] for weight in weights])
    return [tensor for weight, bias in zip(weights, parts, strict=True) for tensor in (weight[index], bias)]
