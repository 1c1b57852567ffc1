"""Turn a compute budget, `epochs200` or `steps9765`, into a number of parameter updates."""

import re
from typing import Any, NamedTuple

MOST_STEPS = 10**12  # our choice: more is a slip


class Budget(NamedTuple):
    """A budget read from its string: `kind` is "epochs" or "steps"."""

    kind: str
    amount: int


def parse(text: str) -> Budget:
    """Read a budget string.

    >>> parse("epochs200")
    Budget(kind='epochs', amount=200)
    """
    match = re.fullmatch(r"(epochs|steps)([1-9][0-9]{0,12})", text)
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
    if "unroll" in protocol:
        return epochs * text_epoch_steps(batch_size, protocol)
    return epochs * protocol["num_train"] // batch_size


def text_epoch_steps(batch_size: int, protocol: dict[str, Any]) -> int:
    """Count the updates of an epoch of text: as many as fit whole into its streams."""
    steps = (protocol["num_train"] // batch_size - 1) // protocol["unroll"]
    if steps < 1:
        raise ValueError(
            f"batch size {batch_size} cuts the text into streams shorter than {protocol['unroll']} tokens; use a smaller one"
        )
    return steps


def read_share(batch_size: int, protocol: dict[str, Any]) -> float:
    """Return the share of a text that an epoch reads: the ends of its streams make no whole unrolled sequence."""
    return text_epoch_steps(batch_size, protocol) * batch_size * protocol["unroll"] / protocol["num_train"]


def read_alike(batch_size: int, protocol: dict[str, Any]) -> int:
    """Return the words of a text, no more than it has, of which this batch size and each that divides it read the same in an epoch.

    >>> read_alike(16, {"num_train": 1100, "unroll": 16})
    1040
    >>> {size: text_epoch_steps(size, {"num_train": 1040, "unroll": 16}) * size * 16 for size in (2, 4, 16)}
    {2: 1024, 4: 1024, 16: 1024}
    """
    return batch_size * (protocol["unroll"] * text_epoch_steps(batch_size, protocol) + 1)


def num_steps(budget: str, batch_size: int, protocol: dict[str, Any]) -> int:
    """Count the updates of `budget` at `batch_size` on a benchmark with `protocol` (`num_train`, `unroll`)."""
    kind, amount = parse(budget)
    steps = amount if kind == "steps" else epochs_to_steps(amount, batch_size, protocol)
    if steps > MOST_STEPS:
        raise ValueError(f"budget {budget} at batch size {batch_size} has {steps:,} updates, more than {MOST_STEPS:,}")
    if steps < 1:
        raise ValueError(f"budget {budget} at batch size {batch_size} has no whole update; use more epochs or a smaller batch")
    if batch_size > protocol["num_train"]:
        raise ValueError(f"batch size {batch_size} is more than the {protocol['num_train']:,} training examples")
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
    epochs = round(num_epochs(amount, batch_size, protocol))
    return f"epochs{epochs}" if epochs and epochs_to_steps(epochs, batch_size, protocol) == amount else budget


def num_epochs(steps: int, batch_size: int, protocol: dict[str, Any]) -> float:
    """Convert updates to epochs."""
    if "unroll" in protocol:
        return steps / text_epoch_steps(batch_size, protocol)
    return steps * batch_size / protocol["num_train"]
