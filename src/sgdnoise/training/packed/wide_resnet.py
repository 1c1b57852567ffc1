"""Seeds of a Wide-ResNet, packed: with ghost batch norm, or without norm and with what SkipInit has instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from sgdnoise.benchmarks import Benchmark
from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.networks.wide_resnet import Block, WideResNet
from sgdnoise.tasks import classification
from sgdnoise.tasks.batches import index_stream
from sgdnoise.training.gradients import micro_batch_of
from sgdnoise.training.loop import l2_factor, seed_streams
from sgdnoise.training.packed.joint import Joint
from sgdnoise.training.packed.layers import Convolution, GhostNorm, Relu, bordered
from sgdnoise.training.state import Plan, State
from sgdnoise.training.together import equal_groups, made_of, no_plain_sgd, steps_done

MOST_PIXELS = 2**11  # of a batch; our choice, measured: from twice as many on the plain loop is about as fast
TOGETHER = 2**13  # our choice, measured: pixels of the batches of seeds that are trained together


def fits(benchmark: Benchmark) -> bool:
    """Say whether a benchmark trains a Wide-ResNet, on images whose size it says."""
    if made_of(benchmark) != (WideResNet, classification.batches, classification.loss) or isinstance(benchmark.loss, partial):
        return False
    assert isinstance(benchmark.build, partial)
    assert isinstance(benchmark.batches, partial)
    said = signature(WideResNet).bind_partial(*benchmark.build.args, **benchmark.build.keywords).arguments
    norm, usual = said.get("norm"), said["depth"] > 4 and said.get("dropout", 0.0) < 1  # has blocks, and drops not all
    augment, normalize = (benchmark.batches.keywords[name] for name in ("augment", "normalize"))
    known_norm = norm is None or (isinstance(norm, partial) and norm.func is GhostBatchNorm and norm.keywords.get("relu"))
    known_augment = augment is Tensor.float or (isinstance(augment, partial) and augment.func is classification.augment)
    known = known_norm and known_augment and isinstance(normalize, partial) and normalize.func is classification.normalize
    return bool(known and usual and benchmark.image_pixels and not benchmark.clip_norm)


def obstacle(benchmark: Benchmark, plan: Plan) -> str | None:
    """Say why the seeds of a cell are not packed; None if they are."""
    assert benchmark.image_pixels
    if plan.batch_size * benchmark.image_pixels > MOST_PIXELS:
        return f"a batch of {plan.batch_size} images of {benchmark.image_pixels} pixels is about as fast in the plain loop"
    return no_plain_sgd(plan)


def groups(benchmark: Benchmark, seeds: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut seeds into equal groups that are trained together: as many as keep what a layer copies in a cache."""
    assert benchmark.image_pixels
    return equal_groups(seeds, TOGETHER // (batch_size * benchmark.image_pixels))


def parts(
    benchmark: Benchmark, data: Any, plan: Plan, seeds: Sequence[int], states: list[State]
) -> tuple[Networks, Iterator[tuple[Tensor, Tensor, Tensor | None]]]:
    """Make the networks of all seeds, and their batches from the update at which they are."""
    micro_batch_of(plan, states[0].model)  # refuses batches that are no multiple of the ghost batch
    batches = Batches(benchmark, data, plan, seeds, states)
    return Networks(states, benchmark, plan, batches.shape), iter(batches.draw, None)  # without end


class Batches:
    """The batches of all seeds, and the noise of dropout: every seed draws what it draws alone, in that order."""

    def __init__(self, benchmark: Benchmark, data: dict[str, Tensor], plan: Plan, seeds: Sequence[int], states: list[State]):
        assert isinstance(benchmark.batches, partial)
        augment, self.normalize = (benchmark.batches.keywords[name] for name in ("augment", "normalize"))
        self.crop: dict[str, Any] | None = None
        if isinstance(augment, partial):
            self.crop = {"padding": "reflect", "flip": False} | augment.keywords
        model: Any = states[0].model
        self.dropout, self.features = model.dropout.p, model.classifier.in_features
        self.images, self.labels, self.states, self.batch_size = (
            data["train_images"],
            data["train_labels"],
            states,
            plan.batch_size,
        )
        self.random = [torch.Generator() for _ in states]
        for random, state in zip(self.random, states, strict=True):
            random.set_state(state.random[0])
        orders = [torch.Generator().manual_seed(seed_streams(seed)[1]) for seed in seeds]
        self.streams = [index_stream(len(self.images), plan.batch_size, order, steps_done(states)) for order in orders]
        _, channels, height, width = self.images.shape
        self.shape = (plan.batch_size, height, width, channels)

    def draw(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the next images (K, B, H, W, C) and labels (K, B), and if there is dropout its noise (K, B, features)."""
        index = torch.cat([next(stream) for stream in self.streams])
        images = self.images[index]
        if self.crop:
            reach, flip, shape = self.crop["reach"], self.crop["flip"], (self.batch_size, *images.shape[1:])
            drawn = [classification.draw_crops(shape, reach, flip, images.device, random) for random in self.random]
            rows, columns = (torch.cat(same) for same in zip(*drawn, strict=True))
            images = classification.crop(images, rows, columns, reach, self.crop["padding"])
        keep, noise = 1 - self.dropout, None
        if self.dropout:
            noise = torch.empty(len(self.random), self.batch_size, self.features)
            for own, random in zip(noise, self.random, strict=True):
                own.bernoulli_(keep, generator=random).div_(keep)
        if self.crop or self.dropout:
            for state, random in zip(self.states, self.random, strict=True):
                state.random = [random.get_state()]
        images = self.normalize(images).permute(0, 2, 3, 1)
        return images.unflatten(0, (-1, self.batch_size)), self.labels[index].view(-1, self.batch_size), noise


class Networks:
    """K networks and the buffers for an update of each: call `losses`, then `update`.

    shape: (B, H, W, C) of a batch of images.
    """

    def __init__(self, states: Sequence[State], benchmark: Benchmark, plan: Plan, shape: tuple[int, ...]):
        model: Any = states[0].model
        self.joint = Joint(states, plan.optimizer.momentum, l2_factor(benchmark, plan.settings), plan.settings["l2_scope"])
        first, *blocks, last = model.features
        buffer, self.images = bordered((len(states), *shape))
        self.scratch = torch.empty(9 * self.images[..., 0].numel() * blocks[0].conv1.out_channels)
        self.norms: list[GhostNorm] = []
        self.first = Convolution(first, buffer, self.joint, None)
        self.blocks: list[Branch] = []
        outputs = self.first.outputs
        for block in blocks:
            self.blocks.append(Branch(block, outputs, self))
            outputs = self.blocks[-1].outputs
        self.last = self.norm(last, outputs)
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
        self.first.forward()
        for block in self.blocks:
            block.forward()
        self.last.forward()
        outputs = self.last.outputs
        pooled = outputs.flatten(2, 3).mean(dim=2)
        if noise is not None:
            pooled *= noise
        logits = torch.baddbmm(self.bias[:, None], pooled, self.weights.transpose(1, 2))
        logs = logits.log_softmax(dim=2)
        losses = -logs.gather(2, labels[..., None]).sum(dim=(1, 2))
        gradient = (
            logs.exp_().scatter_add_(2, labels[..., None], logs.new_tensor(-1).expand(*labels.shape, 1)).div_(labels.shape[1])
        )
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
        self.first.backward(gradient)
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
        self.scale = None if block.scale is None else networks.joint.of(block.scale)  # and its gradient, (K,) each
        self.outputs, self.input_gradient = torch.empty_like(self.conv2.outputs), self.norm1.input_gradient

    def forward(self) -> None:
        self.norm1.forward()
        self.conv1.forward()
        self.norm2.forward()
        self.conv2.forward()
        if self.project:
            self.project.forward()
        if self.scale:
            torch.addcmul(self.skip, self.conv2.outputs, self.scale[0].view(-1, 1, 1, 1, 1), out=self.outputs)
        else:
            torch.add(self.conv2.outputs, self.skip, out=self.outputs)

    def backward(self, gradient: Tensor) -> None:
        """Propagate the gradient of the outputs, which the skip path leaves as it is."""
        branch = gradient
        if self.scale:
            scale, scale_gradient = self.scale
            torch.sum((gradient * self.conv2.outputs).flatten(1), dim=1, out=scale_gradient)
            branch = gradient * scale.view(-1, 1, 1, 1, 1)
        self.conv2.backward(branch)
        self.norm2.backward(self.conv2.input_gradient)
        self.conv1.backward(self.norm2.input_gradient)
        if self.project:
            self.project.backward(gradient)
        self.norm1.backward(self.conv1.input_gradient)
        if not self.project:
            self.input_gradient.add_(gradient)
