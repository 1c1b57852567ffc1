"""The regularised optimizers of a study, and what each is compared with: itself without its regulariser.

Light: importing this imports neither torch, numpy nor pandas.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sgdnoise.study import regularisers
from sgdnoise.study.config import Config
from sgdnoise.study.optimizers import EQUAL, OPTIMIZERS, PLANNED, Optimizer, optimizer

Swept = Mapping[str, Sequence[int]]  # of each optimizer of a benchmark in a budget mode, the batch sizes


def arms(config: Config) -> dict[str, dict[str, Any]]:
    """Return the definitions of a study's optimizers that have a regulariser."""
    return {name: said for name, said in config["optimizers"].items() if "regulariser" in said}


def at_of(arm: str, swept: Swept) -> list[int]:
    """List the batch sizes of a regularised optimizer, over its coefficients but 0, at which it is none."""
    names = [name for name in swept if name.startswith(f"{arm}@") and name != f"{arm}@0"]
    return sorted({size for name in names for size in swept[name]})


def plain(said: Mapping[str, Any]) -> Optimizer:
    """Return what a definition makes without its regulariser, the same for each that makes the same updates.

    >>> plain({"momentum": 0.9, "regulariser": "weight_decay"}) == plain({"optimizer": "momentum"})
    True
    """
    left = {key: value for key, value in said.items() if key not in (*regularisers.OURS, EQUAL)}
    one = optimizer("", json.dumps(left))
    told = {key: value for key, value in left.items() if key not in PLANNED} if one.rule == "torch" else {}
    return replace(one, label="", definition=json.dumps(told, sort_keys=True))


def base_of(arm: str, swept: Swept, config: Config) -> str | None:
    """Name what a regularised optimizer is compared with: the same without its regulariser, or with the coefficient 0; None if not swept."""
    own = config["optimizers"]
    others = {name: own.get(name, {"optimizer": name}) for name in (*OPTIMIZERS, *own)}
    unregularised = [name for name, said in others.items() if "regulariser" not in said and EQUAL not in said]
    same = (name for name in unregularised if name in swept and plain(others[name]) == plain(own[arm]))
    return next(same, f"{arm}@0" if f"{arm}@0" in swept else None)


def compared(swept: Swept, config: Config) -> dict[str, str]:
    """Return the regularised optimizers that may recover a gap, {name: base}: trained at the largest of the batch sizes of their base."""
    bases = {arm: base for arm in arms(config) if (base := base_of(arm, swept, config)) is not None}
    return {arm: base for arm, base in bases.items() if min(swept[base]) < max(swept[base]) in at_of(arm, swept)}


def at_equal_updates(entry: Config) -> dict[str, list[int]]:
    """Return the optimizers that a benchmark of the config has under a constant step budget, with their batch sizes."""
    windows = entry.get("constant_step", {})
    return {name: sorted(map(int, sizes)) for name, sizes in windows.items() if name != "steps"}


def lacking(benchmark: str, config: Config) -> Iterator[str]:
    """Name each regularised optimizer of a benchmark at equal updates that has nothing to be compared with, and what to add."""
    swept = at_equal_updates(config["benchmarks"][benchmark])
    has = compared(swept, config)
    for arm in (name for name in arms(config) if at_of(name, swept) and name not in has):
        yield (
            f"{benchmark}: {arm} has nothing to be compared with, so what it recovers of the gap between batch sizes stays unknown; add to"
            f" benchmarks.{benchmark}.constant_step what it is without its regulariser, or {arm}@0, at a small batch size and, as the"
            f" largest, at {at_of(arm, swept)[-1]}"
        )


def warnings(config: Config) -> Iterator[str]:
    """Say of each benchmark what its regularised optimizers lack."""
    for name in config["benchmarks"]:
        yield from lacking(name, config)
