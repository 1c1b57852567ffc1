"""Layers of several networks of one shape, for seeds that are trained together: forward and backward into buffers made once.

Images of K networks are (K, B, H, W, C): rows of a matrix product are pixels. A layer has `outputs` after `forward()`, and
`input_gradient` after `backward(gradient of its outputs)`, which also leaves the gradients of its parameters in theirs.
What a convolution reads is the inside of a buffer with a border of zeros.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from sgdnoise.networks.ghost_norm import GhostBatchNorm
from sgdnoise.training.packed.joint import Joint

BORDER = 1  # pixels; of a 3x3 convolution


def bordered(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Make a buffer of zeros for images (K, B, H, W, C), with a border; return it and its inside."""
    num_seeds, batch_size, height, width, channels = shape
    buffer = torch.zeros(num_seeds, batch_size, height + 2 * BORDER, width + 2 * BORDER, channels)
    return buffer, buffer[:, :, BORDER:-BORDER, BORDER:-BORDER]


def windows(buffer: Tensor, size: int, stride: int) -> Tensor:
    """View the windows under a convolution's kernel, (K, B, h, w, size, size, C), of a buffer with a border."""
    first = BORDER - size // 2
    inside = buffer[:, :, first : buffer.shape[2] - first, first : buffer.shape[3] - first]
    return inside.unfold(2, size, stride).unfold(3, size, stride).permute(0, 1, 2, 3, 5, 6, 4)


class Convolution:
    """A 3x3 or 1x1 convolution as one matrix product over the seeds, of the windows, copied side by side, and the weights.

    The gradient of the inputs is the same of the outputs' gradient and the weights turned around, or, with a stride, the
    product with the weights, added up where windows overlap. A 1x1 convolution adds it `onto` that of another layer. Without
    `scratch`, the first layer of a network, it keeps the copies, and its inputs need no gradient.
    """

    def __init__(self, module: nn.Conv2d, buffer: Tensor, joint: Joint, scratch: Tensor | None, onto: Tensor | None = None):
        size, stride, num_out = module.kernel_size[0], module.stride[0], module.out_channels
        self.weights, self.weight_gradient = joint.of(module.weight)  # (K, out, size * size * in)
        self.weights_t = self.weights.transpose(1, 2)
        self.bias = None if module.bias is None else joint.of(module.bias)  # and its gradient, (K, out) each
        self.windows = windows(buffer, size, stride)
        num_seeds, batch_size, height, width = self.windows.shape[:4]
        self.keeps = scratch is None
        scratch = torch.empty(self.windows.numel()) if scratch is None else scratch
        self.copies = scratch[: self.windows.numel()].view(self.windows.shape)
        self.columns = self.copies.view(num_seeds, -1, self.weights.shape[2])
        self.outputs = torch.empty(num_seeds, batch_size, height, width, num_out)
        self.rows = self.outputs.view(num_seeds, -1, num_out)
        self.turned = size > 1 and stride == 1
        if self.keeps:
            return
        inputs = (num_seeds, batch_size, *(side - 2 * BORDER for side in buffer.shape[2:4]), module.in_channels)
        if self.turned:
            self.input_gradient = torch.empty(inputs)
            bordered_gradient, self.inside = bordered(tuple(self.outputs.shape))
            self.gradient_windows = windows(bordered_gradient, size, 1)
            self.gradient_copies = scratch[: self.gradient_windows.numel()].view(self.gradient_windows.shape)
            self.gradient_columns = self.gradient_copies.view(num_seeds, -1, size * size * num_out)
            self.weights_turned = torch.empty(num_seeds, size * size, num_out, module.in_channels)
            return
        self.sums, inside = bordered(inputs) if onto is None else (onto, onto)
        self.adds, self.input_gradient = onto is not None, inside
        ends = (stride * (height - 1) + 1, stride * (width - 1) + 1)
        self.taps = [
            (self.sums[:, :, row : row + ends[0] : stride, column : column + ends[1] : stride], self.copies[..., row, column, :])
            for row, column in product(range(size), repeat=2)
        ]

    def forward(self) -> None:
        self.copies.copy_(self.windows)
        if self.bias:
            torch.baddbmm(self.bias[0][:, None], self.columns, self.weights_t, out=self.rows)
        else:
            torch.bmm(self.columns, self.weights_t, out=self.rows)

    def backward(self, gradient: Tensor) -> None:
        """Propagate the gradient of the outputs, contiguous."""
        rows = gradient.view(self.rows.shape)
        if not self.keeps:
            self.copies.copy_(self.windows)
        torch.bmm(rows.transpose(1, 2), self.columns, out=self.weight_gradient)
        if self.bias:
            torch.sum(rows, dim=1, out=self.bias[1])
        if self.keeps:
            return
        if self.turned:
            self.inside.copy_(gradient)
            self.gradient_copies.copy_(self.gradient_windows)
            num_seeds, taps, num_out, num_in = self.weights_turned.shape
            self.weights_turned.copy_(self.weights.view(num_seeds, num_out, taps, num_in).flip(2).transpose(1, 2))
            outputs = self.input_gradient.view(num_seeds, -1, num_in)
            torch.bmm(self.gradient_columns, self.weights_turned.flatten(1, 2), out=outputs)
        else:
            torch.bmm(rows, self.weights, out=self.columns)
            if not self.adds:
                self.sums.zero_()
            for place, tap in self.taps:
                place.add_(tap)


class Relu:
    """A ReLU; `buffer` has a border around the `outputs`."""

    def __init__(self, inputs: Tensor):
        self.inputs, self.input_gradient = inputs, torch.empty_like(inputs)
        self.buffer, self.outputs = bordered(tuple(inputs.shape))

    def forward(self) -> None:
        torch.clamp_min(self.inputs, 0, out=self.outputs)

    def backward(self, gradient: Tensor) -> None:
        torch.ops.aten.threshold_backward(gradient, self.outputs, 0, grad_input=self.input_gradient)


class GhostNorm(Relu):
    """Ghost batch norm and its ReLU, as `ghost_norm.GhostBatchNorm`, all ghost batches of all seeds at once.

    A ghost batch is (rows, W C) here, so that what is given per channel is repeated W times and a row is long.
    """

    def __init__(self, module: GhostBatchNorm, inputs: Tensor, joint: Joint, scratch: Tensor):
        super().__init__(inputs)
        num_seeds, batch_size, height, width, channels = inputs.shape
        size = min(module.ghost_batch, batch_size)
        self.eps, self.decay, self.number = module.eps, module.decay, size * height * width
        self.weight, self.weight_gradient = joint.of(module.weight)
        self.bias, self.bias_gradient = joint.of(module.bias)
        self.running = joint.of_buffers(module)
        ghosts = (-1, size, height, width * channels)
        self.ghosts, self.normalized = inputs.view(ghosts), self.outputs.view(ghosts)
        self.gradient = self.input_gradient.view(ghosts)
        self.centred, self.scratch = torch.empty_like(self.ghosts), scratch[: inputs.numel()].view(self.ghosts.shape)
        number = len(self.ghosts)
        self.wide = [torch.empty(number, 1, 1, width * channels) for _ in range(3)]
        self.mean, self.var, self.rstd, self.scale = (torch.empty(number, channels) for _ in range(4))
        self.per_seed = (num_seeds, -1, channels)

    def summed(self, values: Tensor) -> Tensor:
        """Sum values like `ghosts` over each ghost batch, (ghosts, C)."""
        rows = values.flatten(1, 2).sum(dim=1)
        return rows.view(len(rows), -1, self.per_seed[2]).sum(dim=1)

    def repeated(self, index: int, values: Tensor) -> Tensor:
        """Repeat values (ghosts, C), or (K, C), for every pixel of a row, into one of three buffers."""
        wide = self.wide[index]
        wide.view(len(values), -1, self.per_seed[2]).copy_(values[:, None])
        return wide

    def forward(self) -> None:
        torch.div(self.summed(self.ghosts), self.number, out=self.mean)
        torch.sub(self.ghosts, self.repeated(0, self.mean), out=self.centred)
        torch.div(self.summed(torch.mul(self.centred, self.centred, out=self.scratch)), self.number, out=self.var)
        torch.add(self.var, self.eps, out=self.rstd).rsqrt_()
        torch.mul(self.weight[:, None], self.rstd.view(self.per_seed), out=self.scale.view(self.per_seed))
        torch.addcmul(self.repeated(1, self.bias), self.centred, self.repeated(0, self.scale), out=self.normalized)
        self.normalized.clamp_min_(0)

    def backward(self, gradient: Tensor) -> None:
        super().backward(gradient)
        shift = self.summed(self.gradient)
        slope = self.summed(torch.mul(self.gradient, self.centred, out=self.scratch)).mul_(self.rstd)
        torch.sum(shift.view(self.per_seed), dim=1, out=self.bias_gradient)
        torch.sum(slope.view(self.per_seed), dim=1, out=self.weight_gradient)
        factor = self.scale / -self.number
        constant, linear = self.repeated(1, shift.mul_(factor)), self.repeated(2, slope.mul_(factor).mul_(self.rstd))
        torch.addcmul(constant, self.centred, linear, out=self.scratch)
        torch.addcmul(self.scratch, self.gradient, self.wide[0], out=self.gradient)

    def finish_update(self) -> None:
        """Move the running averages, as `GhostBatchNorm.finish_update`."""
        mean, var = (one.view(self.per_seed).mean(dim=1) for one in (self.mean, self.var))
        seen = [mean, var.mul_(self.number / (self.number - 1))]
        torch._foreach_lerp_(self.running, seen, 1 - self.decay)
