"""Wide residual networks (Zagoruyko and Komodakis 2016), with ghost batch norm or, without norm, SkipInit."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

GROUP_STRIDES = (1, 2, 2)  # later WRN code


class Block(nn.Module):
    """Add one residual branch: (norm and ReLU, 3x3 conv) twice, times a scalar that starts at zero if `scalar`.

    The first block of every group projects its skip path by a 1x1 conv, after that block's first norm and ReLU (later
    WRN code); no nonlinearity lies on the other skip paths (SkipInit v0).
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        stride: int,
        norm: Callable[[int], nn.Module],
        project: bool,
        scalar: bool,
        biases: bool,
    ):
        super().__init__()
        self.norm1, self.norm2 = norm(num_in), norm(num_out)
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=biases)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=biases)
        self.project = nn.Conv2d(num_in, num_out, 1, stride, bias=biases) if project else None
        self.scale = nn.Parameter(torch.zeros(())) if scalar else None

    def forward(self, images: Tensor) -> Tensor:
        active = self.norm1(images)
        branch = self.conv2(self.norm2(self.conv1(active)))
        if self.scale is not None:
            branch = self.scale * branch
        return branch + (images if self.project is None else self.project(active))


class WideResNet(nn.Module):
    """Map images (B, num_channels, H, W) to logits (B, num_classes).

    `norm` makes a normalisation layer and its ReLU from a channel count; without one there is only the ReLU. SkipInit is to have
    instead a zero-initialised `scalar` at the end of each residual branch, `biases` on every convolution, and `dropout`, the
    probability to drop, before the classifier (ICLR v5 App. C). `conv_init` is "he", variance 2/fan-in, or "lecun", 1/fan-in.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        num_channels: int,
        num_classes: int,
        norm: Callable[[int], nn.Module] | None = None,
        scalar: bool = False,
        biases: bool = False,
        dropout: float = 0.0,
        conv_init: str = "he",
    ):
        super().__init__()
        assert (depth - 4) % 6 == 0, "depth is 6 n + 4"
        make_norm = norm or (lambda _: nn.ReLU())
        channels = 16
        layers: list[nn.Module] = [nn.Conv2d(num_channels, channels, 3, padding=1, bias=biases)]
        for group, stride in enumerate(GROUP_STRIDES):
            num_out = 16 * width * 2**group
            for block in range((depth - 4) // 6):
                first = block == 0
                layers.append(Block(channels, num_out, stride if first else 1, make_norm, first, scalar, biases))
                channels = num_out
        self.features = nn.Sequential(*layers, make_norm(channels))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if conv_init == "he" else "linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.classifier.weight, std=channels**-0.5)  # variance 1/fan-in (later WRN code)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.features(images).mean(dim=(2, 3))))
