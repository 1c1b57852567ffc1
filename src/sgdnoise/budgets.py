"""Turn a compute budget, `epochs200` or `steps9765`, into a number of parameter updates."""

import re
from typing import Any, NamedTuple


class Budget(NamedTuple):
    """A budget read from its string: `kind` is "epochs" or "steps"."""

    kind: str
    amount: int


def parse(text: str) -> Budget:
    """Read a budget string.

    >>> parse("epochs200")
    Budget(kind='epochs', amount=200)
    """
    match = re.fullmatch(r"(epochs|steps)([1-9]\d*)", text)
    if not match:
        raise ValueError(f"budget {text!r}: write epochsN or stepsN with a positive whole number N, for example epochs200")
    return Budget(match[1], int(match[2]))


def epochs_to_steps(epochs: int, batch_size: int, protocol: dict[str, Any]) -> int:
    """Count the updates of `epochs` epochs at `batch_size`.

    Examples are one continuous stream of shuffled epochs, and only whole batches are updates:

    >>> epochs_to_steps(200, 1024, {"num_train": 50_000})
    9765

    Text is cut into `batch_size` parallel streams, read `unroll` tokens at a time; every epoch starts anew:

    >>> epochs_to_steps(40, 64, {"num_train": 929_589, "unroll": 35})
    16560
    """
    num_train, unroll = protocol["num_train"], protocol.get("unroll")
    if unroll:
        return epochs * ((num_train // batch_size - 1) // unroll)
    return epochs * num_train // batch_size


def num_steps(budget: str, batch_size: int, protocol: dict[str, Any]) -> int:
    """Count the updates of `budget` at `batch_size` on a benchmark with `protocol` (`num_train`, `unroll`)."""
    kind, amount = parse(budget)
    steps = amount if kind == "steps" else epochs_to_steps(amount, batch_size, protocol)
    if steps < 1:
        raise ValueError(f"budget {budget} at batch size {batch_size} has no whole update; use more epochs or a smaller batch")
    return steps


def canonical(budget: str, batch_size: int, protocol: dict[str, Any]) -> str:
    """Write a budget in epochs where it is a whole number of epochs, so that equal runs have one name.

    >>> canonical("steps9765", 4096, {"num_train": 50_000})
    'epochs800'
    >>> canonical("steps9000", 4096, {"num_train": 50_000})
    'steps9000'
    """
    kind, amount = parse(budget)
    if kind == "epochs":
        return budget
    per_epoch = num_epochs(1, batch_size, protocol)
    epochs = round(amount * per_epoch)
    return f"epochs{epochs}" if epochs and epochs_to_steps(epochs, batch_size, protocol) == amount else budget


def num_epochs(steps: int, batch_size: int, protocol: dict[str, Any]) -> float:
    """Convert updates to passes over the training set."""
    return steps * batch_size * (protocol.get("unroll") or 1) / protocol["num_train"]
