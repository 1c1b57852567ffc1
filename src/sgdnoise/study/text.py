"""Whether the batch sizes of a study read the same words of a text. Light: importing this imports neither torch, numpy nor pandas.

A text is cut into as many streams as a batch has examples, read an unrolled sequence at a time, and what is left at the end of each is not
read (TF PTB tutorial). Of a short text that may be a quarter at a large batch and nothing at a small one: then what looks like an effect
of the batch size is one of fewer words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sgdnoise import benchmarks
from sgdnoise.study import budgets
from sgdnoise.study.config import Config, batch_sizes
from sgdnoise.study.grid import MODES
from sgdnoise.study.settings import resolve

ALIKE = 0.02  # our choice: so much longer an epoch of one batch size than of another may be


def protocol_of(benchmark: str, config: Config) -> dict[str, Any]:
    """Return the protocol of a benchmark at the size that a study chooses."""
    entry = config["benchmarks"][benchmark]
    protocol = benchmarks.protocol(benchmark, entry.get("file"))
    return benchmarks.sized(protocol, resolve(entry.get("settings", {}), protocol, "settings"))


def sizes_of(benchmark: str, config: Config) -> list[int]:
    """List the batch sizes of a benchmark, over its budget modes."""
    entry = config["benchmarks"][benchmark]
    return sorted({int(size) for mode in MODES if mode in entry for size in batch_sizes(entry, mode)})


def read_alike(benchmark: str, config: Config) -> str:
    """Say at which size of its text all batch sizes of a benchmark read the same."""
    return f"num_train: {budgets.read_alike(sizes_of(benchmark, config)[-1], protocol_of(benchmark, config))}"


def warnings(config: Config) -> Iterator[str]:
    """Name each benchmark whose batch sizes read unlike shares of their text."""
    for name in config["benchmarks"]:
        if "unroll" not in (protocol := protocol_of(name, config)):
            continue
        read = {size: budgets.read_share(size, protocol) for size in sizes_of(name, config)}
        if max(read.values()) > (1 + ALIKE) * min(read.values()):
            listed = ", ".join(f"{share:.0%} at {size}" for size, share in read.items())
            yield (
                f"{name}: batch sizes read unlike shares of the text in an epoch, {listed}, so they are not compared;"
                f" with {read_alike(name, config)} all read the same"
            )
