"""A deep fully connected autoencoder with a linear code (Sutskever et al. 2013, sec. 3)."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Map pixels (B, P) to the logits of their reconstruction (B, P).

    `widths` runs from the pixels to the code; the decoder mirrors it. All hidden units are `activation` ("logistic" or
    "tanh") but the code's. Each unit starts with `num_incoming` weights (see `sparse_linear`), or densely, if None.
    """

    def __init__(self, widths: list[int], activation: str = "logistic", num_incoming: int | None = None):
        super().__init__()
        layers: list[nn.Module] = []
        for num_in, num_out in pairwise(widths + widths[-2::-1]):
            layers.append(sparse_linear(num_in, num_out, num_incoming) if num_incoming else dense_linear(num_in, num_out))
            is_code = num_out == widths[-1]
            layers.append(nn.Identity() if is_code else {"logistic": nn.Sigmoid, "tanh": nn.Tanh}[activation]())
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


def sparse_linear(num_in: int, num_out: int, num_incoming: int) -> nn.Linear:
    """Make a layer each of whose units has `num_incoming` weights from N(0, 1), the others 0, and bias 0."""
    layer = nn.Linear(num_in, num_out)
    with torch.no_grad():
        chosen = torch.rand(num_out, num_in).argsort(dim=1)[:, :num_incoming]
        layer.weight.zero_().scatter_(1, chosen, torch.randn(chosen.shape))
        layer.bias.zero_()
    return layer


def dense_linear(num_in: int, num_out: int) -> nn.Linear:
    """Make a layer of weights from N(0, 1/num_in), and bias 0."""
    layer = nn.Linear(num_in, num_out)
    nn.init.normal_(layer.weight, std=num_in**-0.5)
    nn.init.zeros_(layer.bias)
    return layer
