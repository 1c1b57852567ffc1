"""The number formats of training, chosen by the setting `precision`.

Whatever it is, weights, velocities, updates, the statistics of norms, logits and losses are float32, and so is all of the
evaluation: only the products of forward and backward pass differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

WEIGHTS = torch.float32
DESCRIPTIONS = {  # for the provenance of a result
    "float32": "float32, TF32 off",
    "tf32": "float32, products of training in TF32; evaluated with TF32 off",
    "bfloat16": "float32, products of training but the logits' in bfloat16 (autocast), TF32 off; evaluated in float32",
}


def of(settings: dict[str, Any]) -> str:
    """Return the precision that settings choose."""
    return settings.get("precision", "float32")


class Logits(nn.Linear):
    """A linear layer that autocast leaves in float32."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float())


def prepare(model: nn.Module, name: str, device: torch.device) -> None:
    """Make a network ready for a precision: the linear layer that it registers last, which makes its logits, stays float32."""
    for parameter, one in model.named_parameters():
        if (one.is_floating_point() or one.is_complex()) and one.dtype != WEIGHTS:
            raise ValueError(
                f"the parameter {parameter} is {one.dtype}, but weights are float32, whatever the precision of products: convert the"
                " network by .float(), or hold real and imaginary parts (torch.view_as_complex makes one of both)"
            )
    if name == "tf32" and device.type != "cuda":
        raise ValueError("precision tf32: only GPUs of NVIDIA have it; use device cuda, or the precision float32 or bfloat16")
    if name == "bfloat16":
        if device.type == "cpu" and any(isinstance(one, nn.RNNBase) for one in model.modules()) and not recurrent_bfloat16():
            raise ValueError(
                "precision bfloat16: this processor has no LSTM in it (no AVX-512); use a GPU, or the precision float32"
            )
        for layer in [module for module in model.modules() if type(module) is nn.Linear][-1:]:
            layer.__class__ = Logits
        model.register_forward_hook(check_outputs)


def check_outputs(model: nn.Module, inputs: Any, outputs: Any) -> None:
    """Raise a ValueError if the logits that a network puts out, of several tensors the first, are bfloat16."""
    first = next((one for one in tree_leaves(getattr(outputs, "logits", outputs)) if isinstance(one, Tensor)), None)
    if first is not None and first.dtype == torch.bfloat16:
        raise ValueError(
            "precision bfloat16: the network puts out bfloat16, but logits are float32; let it register last the linear layer that"
            " makes them, or use the precision float32"
        )


def recurrent_bfloat16() -> bool:
    """Tell whether this processor has recurrent layers in bfloat16, for which torch has no code of its own."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def forward(name: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


@contextmanager
def products(name: str) -> Iterator[None]:
    """Set the flags of a forward and its backward pass; outside of them TF32 is off."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
