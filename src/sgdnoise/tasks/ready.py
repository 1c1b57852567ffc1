"""Ready tasks: a network and its data become the record of a benchmark in one line of a user's own file.

    def benchmark(settings):
        return ready.classification(network, data, PROTOCOL)

What `data()` may return says `examples.py`. All of it is kept in memory; for what does not fit there, write the record yourself
(`record.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgdnoise.tasks.batches import Batches, drawn, index_stream
from sgdnoise.tasks.examples import ROUNDING, as_array, images, not_whole, split, text
from sgdnoise.tasks.record import Benchmark

__all__ = ["classification", "images", "language_model", "regression", "text"]  # for the files of users

EVALUATION_BATCH = 256  # our choice: any size gives the same sums

Data = Callable[[], Any]
Loss = Callable[[Any, Tensor], Tensor]  # of outputs and targets: summed over the examples
Metrics = Mapping[str, Callable[[Any, Tensor], Tensor]]  # of outputs and targets: a value for each example, (B,)


def classification(
    network: Callable[[], nn.Module],
    data: Data,
    protocol: Mapping[str, Any],
    loss: Loss | None = None,
    metrics: Metrics | None = None,
    **details: Any,
) -> Benchmark:
    """Return the record of a classifier; the network returns logits (B, classes), targets are numbers or names of classes.

    Metrics: loss (nats per example), accuracy (a fraction), and those given. `details` are those of `record`.
    """
    check_given(protocol, metrics)

    def arrays(folder: Path) -> dict[str, np.ndarray]:
        made = split(data(), protocol)
        for name in ("train_targets", "test_targets"):
            if made[name].dtype.kind not in "US" and len(odd := not_whole(made[name])):
                raise ValueError(
                    f"targets are classes, whole numbers or names, but one is {odd[0]}; mend it (for other numbers, such as shares of"
                    " classes, take ready.regression with standardize=False and a loss of your own)"
                )
        known = np.unique(made["train_targets"])
        if unknown := set(np.unique(made["test_targets"])) - set(known):
            raise ValueError(f"the test examples have the class {min(unknown)}, which no training example has; give it some")
        if made["train_targets"].dtype.kind not in "iu" or known[0] != 0:  # names, or numbers from elsewhere on
            for name in ("train_targets", "test_targets"):
                made[name] = np.searchsorted(known, made[name])
        return made | {name: made[name].astype(np.int64) for name in ("train_targets", "test_targets")}

    all_metrics = {"accuracy": accuracy} | dict(metrics or {})
    if loss is not None:
        return record(network, arrays, loss, all_metrics, **details)
    details = {"sampled_loss": partial(sampled, classes_drawn)} | details
    return replace(record(network, arrays, cross_entropy, all_metrics, **details), loss=partial(smoothable, cross_entropy))


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 for each example whose largest logit is that of its class, else 0: (B,)."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or targets.ndim != 1:
        raise ValueError(
            f"the accuracy is of logits (B, classes) and a class for each example, but the network returns {tuple(outputs.shape)} and"
            f" the targets are {tuple(targets.shape)}; return a logit for each class, or give a metric 'accuracy' of your own"
        )
    return (outputs.argmax(dim=1) == targets).float()


def cross_entropy(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the summed cross-entropy of logits, whose second axis is the classes."""
    if outputs.ndim < 2 or (len(outputs), *outputs.shape[2:]) != tuple(targets.shape):
        raise ValueError(
            f"outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}; return logits, whose second axis is the classes"
        )
    try:
        return F.cross_entropy(outputs, targets, reduction="sum", label_smoothing=label_smoothing)
    except IndexError:  # looked for only now, as it would make a GPU wait
        raise ValueError(
            f"the network has logits for {outputs.shape[1]} classes, and a target is class {int(targets.max())}, counted from 0;"
            " make its last layer as wide as there are classes"
        ) from None


def classes_drawn(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of a classifier for classes that it draws."""
    return cross_entropy(outputs, drawn(outputs, axis=1))


def regression(
    network: Callable[[], nn.Module],
    data: Data,
    protocol: Mapping[str, Any],
    loss: Loss | None = None,
    metrics: Metrics | None = None,
    standardize: bool = True,
    **details: Any,
) -> Benchmark:
    """Return the record of a regression on numbers; the network returns (B, K), or (B, 1) for one target.

    Inputs and targets are centred and scaled to one s.d. of the training examples, unless `standardize` is false. The loss is the
    squared error of scaled targets; rmse, the root of the mean squared error, is in the unit of the targets.
    """
    check_given(protocol, metrics, taken=("loss", "rmse"))

    def arrays(folder: Path) -> dict[str, np.ndarray]:
        made = split(data(), protocol, np.float64 if standardize else np.float32)
        for name, array in made.items():
            if array.dtype.kind not in "iufb":
                raise ValueError(f"{name} are not numbers, such as {array.flat[0]!r}; make numbers of them, or classify")
        scale = np.ones((), np.float32)
        for kind in ("inputs", "targets") if standardize else ():
            train = made[f"train_{kind}"].astype(np.float64)
            mean, sd = train.mean(axis=0), train.std(axis=0)
            sd = np.where(sd > ROUNDING * np.abs(train).max(axis=0), sd, 1.0)
            for name in (f"train_{kind}", f"test_{kind}"):
                made[name] = (made[name] - mean) / sd
            scale = np.asarray(sd)
        return {name: np.asarray(array, np.float32) for name, array in (made | {"target_scale": scale}).items()}

    def shaped(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.numel() != targets.numel():
            raise ValueError(
                f"outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}; return a number for each target"
            )
        return outputs.reshape(targets.shape)

    def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(shaped(outputs, targets), targets, reduction="sum")

    def values_drawn(outputs: Tensor, targets: Tensor) -> Tensor:  # the loss is a log-likelihood for the variance 1/2
        values = shaped(outputs.detach(), targets)
        return squared_error(outputs, values + 0.5**0.5 * torch.randn_like(values))

    def evaluate(model: nn.Module, data: Any, split: str) -> dict[str, float]:
        def squares(outputs: Tensor, targets: Tensor) -> Tensor:
            errors = (shaped(outputs, targets) - targets) * data["target_scale"]
            return errors.double().square().reshape(len(errors), -1).mean(dim=1)

        found = measured(model, data, split, loss or squared_error, dict(metrics or {}) | {"rmse": squares})
        return found | {"rmse": found["rmse"] ** 0.5}

    if loss is None:
        details = {"sampled_loss": partial(sampled, values_drawn)} | details
    return record(network, arrays, loss or squared_error, metrics or {}, evaluate=evaluate, **details)


def language_model(
    network: Callable[[], nn.Module],
    data: Data,
    protocol: Mapping[str, Any],
    **details: Any,
) -> Benchmark:
    """Return the record of a language model without a state; the network maps tokens (B, T) to logits (B, T, vocabulary).

    `data()` returns a text as numbers, (N,), or two, train and test. An example is a sequence of `context` tokens (PROTOCOL), which
    the next token follows each. The loss is the mean over its tokens, in nats per token; a metric besides: perplexity.
    """
    context = protocol.get("context")
    if type(context) is not int or context < 1:
        raise ValueError(f"PROTOCOL['context']: {context!r} is not a whole number of tokens from 1")
    check_given(protocol, None)

    def arrays(folder: Path) -> dict[str, np.ndarray]:
        found, sizes = data(), {name: protocol[f"num_{name}"] * context + 1 for name in ("train", "test")}
        texts = list(map(as_array, found)) if isinstance(found, tuple) else [as_array(found)]
        if len(texts) not in (1, 2):
            raise ValueError(f"data() returns {len(texts)} texts; return one, or two, for training and for test")
        wanted = [sizes["train"], sizes["test"]] if len(texts) == 2 else [sum(sizes.values())]
        for one, tokens in zip(texts, wanted, strict=True):
            if one.ndim != 1 or len(not_whole(one)) or (one < 0).any():
                raise ValueError(
                    f"data() returns a text of the shape {one.shape} ({one.dtype}); return tokens (N,), whole numbers from 0"
                    " (ready.text reads those of a file)"
                )
            if len(one) < tokens:
                raise ValueError(
                    f"PROTOCOL asks for {tokens:,} tokens (num_train and num_test sequences of {context}), but the text has"
                    f" {len(one):,}; write smaller numbers"
                )
        train, test = texts if len(texts) == 2 else (texts[0], texts[0][sizes["train"] :])
        return {
            f"{name}_sequences": np.lib.stride_tricks.sliding_window_view(tokens[: sizes[name]], context + 1)[::context]
            for name, tokens in (("train", train), ("test", test))
        }

    def load(path: Path, device: torch.device) -> dict[str, Tensor]:
        from sgdnoise.machine import datasets

        read = datasets.load(path, device)
        sequences = {name: read[f"{name}_sequences"].long() for name in ("train", "test")}
        inputs = {f"{name}_inputs": one[:, :-1] for name, one in sequences.items()}
        return inputs | {f"{name}_targets": one[:, 1:] for name, one in sequences.items()}

    def loss(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing) / targets.shape[1]

    def tokens_drawn(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, drawn(outputs)) * targets.shape[1] ** 0.5

    def evaluate(model: nn.Module, data: Any, split: str) -> dict[str, float]:
        found = measured(model, data, split, loss, {})
        with np.errstate(over="ignore"):  # infinite for a loss beyond 709 nats
            return found | {"perplexity": float(np.exp(found["loss"]))}

    details = {"sampled_loss": partial(sampled, tokens_drawn)} | details
    return replace(record(network, arrays, loss, {}, evaluate=evaluate, load=load, **details), loss=partial(smoothable, loss))


def check_given(protocol: Mapping[str, Any], metrics: Metrics | None, taken: Collection[str] = ("loss",)) -> None:
    """Refuse metrics by the names that a task itself gives, and a setting that its batches would not follow."""
    if names := [name for name in metrics or {} if name in taken]:
        raise ValueError(
            f"the metric {names[0]!r} has a name that is taken: this task measures {', '.join(taken)} by itself; rename it"
        )
    if "num_train" in protocol.get("settings", {}):
        raise ValueError(
            "PROTOCOL['settings']: a ready task trains on all that data() returns, so 'num_train' cannot be a setting; leave it out"
        )


def record(
    network: Callable[[], nn.Module],
    arrays: Callable[[Path], Mapping[str, np.ndarray]],
    loss: Loss,
    metrics: Metrics,
    augment: Callable[[Tensor], Tensor] | None = None,
    evaluate: Callable[[nn.Module, Any, str], dict[str, float]] | None = None,
    **details: Any,
) -> Benchmark:
    """Return the record of any task whose data are inputs and targets.

    `augment` changes the inputs of a training batch, by torch's random numbers. `details` are those of the record: `l2`, the factor
    of a penalty l2 / 2 ||w||^2, and `clip_norm`, to which the norm of the gradient is clipped (0: it is not).
    """

    def batches(data: Any, batch_size: int, order: torch.Generator, start: int, shard: slice) -> Batches:
        inputs, targets = data["train_inputs"], data["train_targets"]
        for index in index_stream(len(inputs), batch_size, order, start):
            index = index.to(inputs.device)
            chosen = numbers(inputs[index])
            yield (augment(chosen) if augment else chosen)[shard], targets[index][shard]

    def loss_of(model: nn.Module, batch: tuple[Tensor, ...], carry: Any) -> tuple[Tensor, None]:
        return loss(outputs_of(model, batch[0]), batch[1]), None

    known = [field.name for field in fields(Benchmark)]
    if unknown := set(details) - set(known):
        raise ValueError(f"{min(unknown)} is no detail of a ready task; known: augment, {', '.join(known)}")
    measure = evaluate or partial(measured, loss=loss, metrics=metrics)
    return Benchmark(arrays=arrays, build=network, batches=batches, loss=loss_of, evaluate=measure, **details)


def smoothable(
    loss: Callable[..., Tensor], model: nn.Module, batch: tuple[Tensor, ...], carry: Any, label_smoothing: float = 0.0
) -> tuple[Tensor, None]:
    """Return a loss that may spread a share of the target over all classes."""
    return loss(outputs_of(model, batch[0]), batch[1], label_smoothing), None


def sampled(loss: Loss, model: nn.Module, batch: tuple[Tensor, ...], carry: Any) -> tuple[Tensor, None]:
    """Return a loss that draws its targets by itself."""
    return loss(outputs_of(model, batch[0]), batch[1]), None


def measured(model: nn.Module, data: Any, split: str, loss: Loss, metrics: Metrics) -> dict[str, float]:
    """Return the mean loss of a split and the mean of each metric."""
    sums = dict.fromkeys(("loss", *metrics), 0.0)
    for inputs, targets in slices(data, split):
        outputs = outputs_of(model, inputs)
        sums["loss"] += float(loss(outputs, targets))
        for name, metric in metrics.items():
            values = torch.as_tensor(metric(outputs, targets))
            if values.numel() != len(inputs):
                raise ValueError(
                    f"the metric {name!r} is of the shape {tuple(values.shape)} for {len(inputs)} examples; return a value for each,"
                    f" ({len(inputs)},) (outputs (B, 1) with targets (B,) make (B, B): use outputs[:, 0])"
                )
            sums[name] += float(values.double().sum())
    return {name: value / len(data[f"{split}_inputs"]) for name, value in sums.items()}


def slices(data: Any, split: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all inputs and targets of a split, some at a time."""
    for inputs, targets in zip(*(data[f"{split}_{kind}"].split(EVALUATION_BATCH) for kind in ("inputs", "targets")), strict=True):
        yield numbers(inputs), targets


def outputs_of(model: nn.Module, inputs: Tensor) -> Any:
    """Return what a network makes of inputs; of the transformers library's record the logits."""
    outputs = model(inputs)
    return getattr(outputs, "logits", outputs)


def numbers(inputs: Tensor) -> Tensor:
    """Return inputs as a network takes them: bytes, of images, from 0 to 1; images (B, C, H, W) channels last."""
    inputs = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
