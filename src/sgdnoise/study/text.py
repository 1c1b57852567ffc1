"""Whether the batch sizes of a study read the same words of a text. Light: importing this imports neither torch, numpy nor pandas.

A text is cut into as many streams as a batch has examples, read an unrolled sequence at a time, and what is left at the end of each is not
read (TF PTB tutorial). Of a short text that may be a quarter at a large batch and nothing at a small one: then what looks like an effect
of the batch size is one of fewer words.
"""

from __future__ import annotations

from collections.abc import Iterator

from sgdnoise import benchmarks
from sgdnoise.study import budgets
from sgdnoise.study.config import Config
from sgdnoise.study.grid import cells
from sgdnoise.study.settings import resolve

ALIKE = 0.02  # our choice: so much longer an epoch of one batch size than of another may be


def shares(benchmark: str, config: Config) -> dict[int, float]:
    """Return the share of its text that each batch size of a benchmark reads in an epoch; nothing if it has no text."""
    entry = config["benchmarks"][benchmark]
    protocol = benchmarks.protocol(benchmark, entry.get("file"))
    protocol = benchmarks.sized(protocol, resolve(entry.get("settings", {}), protocol, "settings"))
    if "unroll" not in protocol:
        return {}
    sizes = sorted({cell.batch_size for cell in cells(config) if cell.benchmark == benchmark})
    return {size: budgets.read_share(size, protocol) for size in sizes}


def read_alike(benchmark: str, config: Config) -> str:
    """Say at which size of its text all batch sizes of a benchmark read the same."""
    entry = config["benchmarks"][benchmark]
    protocol = benchmarks.protocol(benchmark, entry.get("file"))
    protocol = benchmarks.sized(protocol, resolve(entry.get("settings", {}), protocol, "settings"))
    return f"num_train: {budgets.read_alike(max(shares(benchmark, config)), protocol)}"


def warnings(config: Config) -> Iterator[str]:
    """Name each benchmark whose batch sizes read unlike shares of their text."""
    for name in config["benchmarks"]:
        read = shares(name, config)
        if read and max(read.values()) > (1 + ALIKE) * min(read.values()):
            listed = ", ".join(f"{share:.0%} at {size}" for size, share in read.items())
            yield (
                f"{name}: batch sizes read unlike shares of the text in an epoch, {listed}, so they are not compared;"
                f" with {read_alike(name, config)} all read the same"
            )
