"""Seeds of a Wide-ResNet, packed: with ghost batch norm, or without norm and with what SkipInit has instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sgdnoise.benchmarks import Benchmark
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import Block, WideResNet
from sgdnoise.tasks import classification
from sgdnoise.tasks.batches import index_stream
from sgdnoise.training.loop import Curves, Plan, State, l2_factor, micro_batch_of, seed_streams
from sgdnoise.training.packed.joint import Joint
from sgdnoise.training.packed.layers import Convolution, GhostNorm, Relu, bordered
from sgdnoise.training.together import Resume, equal_groups, made_of, no_plain_sgd, start_all, steps_done, train_all

TOGETHER = 2**19  # our choice


class Networks:
    """K networks and the buffers for an update of each: call `losses`, then `update`.

    shape: (B, H, W, C) of a batch of images.
    """

    def __init__(self, states: Sequence[State], benchmark: Benchmark, plan: Plan, shape: tuple[int, ...]):
        model: Any = states[0].model
        self.joint = Joint(states, plan.optimizer.momentum, l2_factor(benchmark, plan.settings), plan.settings["l2_scope"])
        first, *blocks, last = model.features
        self.buffer, self.images = bordered((len(states), *shape))
        self.scratch = torch.empty(9 * self.images[..., 0].numel() * max(first.out_channels, blocks[0].conv1.out_channels, shape[3]))
        self.norms: list[GhostNorm] = []
        self.first = Convolution(first, self.buffer, self.joint, self.scratch)
        self.blocks: list[Branch] = []
        for block in blocks:
            self.blocks.append(Branch(block, (self.blocks or [self.first])[-1].outputs, self))
        self.last = self.norm(last, self.blocks[-1].outputs)
        self.weights, self.weight_gradient = self.joint.of(model.classifier.weight)
        self.bias, self.bias_gradient = self.joint.of(model.classifier.bias)

    def norm(self, module: nn.Module, inputs: Tensor) -> Relu:
        """Make a norm with its ReLU, or the ReLU alone."""
        if not isinstance(module, GhostBatchNorm):
            return Relu(inputs)
        self.norms.append(GhostNorm(module, inputs, self.joint, self.scratch))
        return self.norms[-1]

    def losses(self, images: Tensor, labels: Tensor, noise: Tensor | None) -> Tensor:
        """Compute the loss of each seed, summed over its batch, (K,), and the gradients of its mean.

        images: (K, B, H, W, C); labels: (K, B); noise: (K, B, C) of dropout, before the classifier.
        """
        self.images.copy_(images)
        for layer in (self.first, *self.blocks, self.last):
            layer.forward()
        outputs = self.last.outputs
        pooled = outputs.mean(dim=(2, 3))
        if noise is not None:
            pooled *= noise
        logits = torch.baddbmm(self.bias[:, None], pooled, self.weights.transpose(1, 2))
        logs = logits.log_softmax(dim=2)
        losses = -logs.gather(2, labels[..., None]).sum(dim=(1, 2))
        gradient = logs.exp_().scatter_add_(2, labels[..., None], logs.new_tensor(-1).expand(*labels.shape, 1)).div_(labels.shape[1])
        torch.bmm(gradient.transpose(1, 2), pooled, out=self.weight_gradient)
        torch.sum(gradient, dim=1, out=self.bias_gradient)
        gradient = torch.bmm(gradient, self.weights) / (outputs.shape[2] * outputs.shape[3])
        if noise is not None:
            gradient *= noise
        self.last.backward(gradient[:, :, None, None].expand(outputs.shape))
        gradient = self.last.input_gradient
        for block in reversed(self.blocks):
            block.backward(gradient)
            gradient = block.input_gradient
        self.first.backward(gradient, inputs=False)
        return losses

    def update(self, lr: float) -> None:
        """Update all networks at an effective learning rate, from the gradients that `losses` left."""
        self.joint.update(lr)
        for norm in self.norms:
            norm.finish_update()


class Branch:
    """One residual branch and its skip path, of `wide_resnet.Block`."""

    def __init__(self, block: Block, inputs: Tensor, networks: Networks):
        self.norm1 = networks.norm(block.norm1, inputs)
        made = (networks.joint, networks.scratch)
        self.conv1 = Convolution(block.conv1, self.norm1.buffer, *made)
        self.norm2 = networks.norm(block.norm2, self.conv1.outputs)
        self.conv2 = Convolution(block.conv2, self.norm2.buffer, *made)
        onto = self.conv1.input_gradient
        self.project = Convolution(block.project, self.norm1.buffer, *made, onto=onto) if block.project else None
        self.skip = self.project.outputs if self.project else inputs
        self.scale, self.scale_gradient = (None, None) if block.scale is None else networks.joint.of(block.scale)
        self.outputs, self.input_gradient = torch.empty_like(self.conv2.outputs), self.norm1.input_gradient

    def forward(self) -> None:
        for layer in (self.norm1, self.conv1, self.norm2, self.conv2, *[self.project] * bool(self.project)):
            layer.forward()
        if self.scale is None:
            torch.add(self.conv2.outputs, self.skip, out=self.outputs)
        else:
            torch.addcmul(self.skip, self.conv2.outputs, self.scale.view(-1, 1, 1, 1, 1), out=self.outputs)

    def backward(self, gradient: Tensor) -> None:
        """Propagate the gradient of the outputs, which the skip path leaves as it is."""
        branch = gradient
        if self.scale is not None:
            torch.sum((gradient * self.conv2.outputs).flatten(1), dim=1, out=self.scale_gradient)
            branch = gradient * self.scale.view(-1, 1, 1, 1, 1)
        self.conv2.backward(branch)
        self.norm2.backward(self.conv2.input_gradient)
        self.conv1.backward(self.norm2.input_gradient)
        if self.project:
            self.project.backward(gradient)
        self.norm1.backward(self.conv1.input_gradient)
        if not self.project:
            self.input_gradient.add_(gradient)
