"""Word-level language modelling: cross-entropy in nats per token, and perplexity."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.tasks.batches import Batches, drawn

EVALUATION_BATCH = 16  # our choice: parallel streams of an evaluation


def streams(tokens: Tensor, batch_size: int, unroll: int, tail: bool = False) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut a text into `batch_size` parallel streams and yield one epoch of them, `unroll` tokens at a time.

    Yields inputs (B, T), targets (B, T), the inputs moved by one token, and continues (B,): 1 where the hidden state of
    the batch before goes on, 0 at the start of the epoch (TF PTB tutorial). What is left of the streams after the last
    whole batch is yielded only as a `tail`.
    """
    length = len(tokens) // batch_size
    rows = tokens[: batch_size * length].view(batch_size, length)
    for start in range(0, length - 1 if tail else (length - 1) // unroll * unroll, unroll):
        end = min(start + unroll, length - 1)
        continues = torch.full((batch_size,), float(start > 0), device=tokens.device)
        yield rows[:, start:end].long(), rows[:, start + 1 : end + 1].long(), continues


def batches(data: dict[str, Tensor], batch_size: int, order: torch.Generator, start: int, shard: slice, unroll: int) -> Batches:
    """Yield the training text epoch after epoch, in its own order: `order` is not used."""
    tokens = data["train_tokens"]
    epoch_steps = (len(tokens) // batch_size - 1) // unroll
    skip = start % epoch_steps
    while True:
        for batch in islice(streams(tokens, batch_size, unroll), skip, None):
            yield tuple(tensor[shard] for tensor in batch)
        skip = 0


def loss(
    model: nn.Module, batch: tuple[Tensor, ...], carry: Any, scale: float = 1.0, label_smoothing: float = 0.0
) -> tuple[Tensor, Any]:
    """Return the cross-entropy summed over the time steps and the streams, times `scale`, and the hidden state, detached."""
    logits, state = predict(model, batch, carry)
    loss_sum = F.cross_entropy(logits, batch[1].flatten(), reduction="sum", label_smoothing=label_smoothing)
    return loss_sum * scale, state


def sampled_loss(model: nn.Module, batch: tuple[Tensor, ...], carry: Any, scale: float = 1.0) -> tuple[Tensor, Any]:
    """Return the cross-entropy as `loss` does, but of words that the network draws, and times the root of `scale`."""
    logits, state = predict(model, batch, carry)
    return F.cross_entropy(logits, drawn(logits), reduction="sum") * scale**0.5, state


def predict(model: nn.Module, batch: tuple[Tensor, ...], carry: Any) -> tuple[Tensor, Any]:
    """Return the logits of all words of a batch, (B T, V), and the hidden state, detached."""
    inputs, _, continues = batch
    logits, carry = model(inputs, None if carry is None else tuple(state * continues[:, None] for state in carry))
    return logits.flatten(0, 1), tuple(state.detach() for state in carry)


def evaluate(model: nn.Module, data: dict[str, Tensor], split: str, unroll: int) -> dict[str, float]:
    """Return the loss per token and the perplexity, with the state carried through the text and dropout off.

    Every token is predicted but the first of each of the parallel streams (and the few that do not fill them).
    """
    loss_sum, num_tokens, carry = 0.0, 0, None
    for batch in streams(data[f"{split}_tokens"], EVALUATION_BATCH, unroll, tail=True):
        batch_loss, carry = loss(model, batch, carry)
        loss_sum, num_tokens = loss_sum + batch_loss.item(), num_tokens + batch[0].numel()
    with np.errstate(over="ignore"):  # infinite for a loss beyond 709 nats
        return {"loss": loss_sum / num_tokens, "perplexity": float(np.exp(loss_sum / num_tokens))}
