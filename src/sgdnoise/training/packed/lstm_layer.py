"""A layer of packed LSTMs, forward and backward by hand, step by step in buffers that are made once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
        cells = (self.cells[:-1], self.cells[1:], self.tanh_cells)
        self.steps = list(zip(scratch.projected.unbind(1), before, self.gates, *self.gates.unbind(1), *cells, after, strict=True))
        at_outputs, following, next_forgets = values[1].unbind(1), scratch.projected.unbind(1)[1:], self.gates[1:, 1]
        by_gate, factors = scratch.projected.unflatten(3, (4, width)).permute(1, 3, 0, 2, 4), scratch.factors
        wheres = (self.tanh_cells, factors[:, :3], factors[:, 3], by_gate[:, :3], by_gate[:, 3])
        self.backward_steps = list(zip(at_outputs, [*following, None], [*next_forgets, None], *wheres, strict=True))[::-1]
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
