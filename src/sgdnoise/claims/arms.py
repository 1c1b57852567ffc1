"""The regularised optimizers of a study: their coefficients, and what is known of each at its best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sgdnoise.analysis.gap import Best, best_coefficient
from sgdnoise.claims.measurements import Key, Measurement
from sgdnoise.study.config import Config

Swept = Mapping[str, Sequence[int]]  # of each optimizer of a benchmark in a budget mode, the batch sizes


def arms(config: Config) -> dict[str, dict[str, Any]]:
    """Return the definitions of a study's optimizers that have a regulariser."""
    return {name: said for name, said in config["optimizers"].items() if "regulariser" in said}


def base_of(said: Mapping[str, Any]) -> str:
    """Name the optimizer that a regularised one is without its regulariser."""
    return said.get("optimizer", "sgd")


def at_of(arm: str, swept: Swept) -> list[int]:
    """List the batch sizes of a regularised optimizer, over its coefficients."""
    return sorted({size for name, sizes in swept.items() if name.startswith(f"{arm}@") for size in sizes})


def coefficients(arm: str, size: int, swept: Swept) -> dict[float, str]:
    """Return the coefficients of a regularised optimizer at a batch size, from the lowest, with its name at each."""
    names = [name for name, sizes in swept.items() if name.startswith(f"{arm}@") and size in sizes]
    return dict(sorted((float(name.partition("@")[2]), name) for name in names))


def best_at(
    benchmark: str, mode: str, arm: str, said: Mapping[str, Any], size: int, swept: Swept, found: dict[Key, Measurement]
) -> Best | None:
    """Return what is known of a regularised optimizer at its best coefficient; None if some of it was not measured."""
    plain = found.get((benchmark, mode, base_of(said), size, "error"))
    known = {
        coefficient: found[benchmark, mode, name, size, "error"]
        for coefficient, name in coefficients(arm, size, swept).items()
        if coefficient
    }
    if plain is None or plain.draws is None or not known or any(one.draws is None for one in known.values()):
        return None
    draws = {coefficient: one.draws for coefficient, one in known.items() if one.draws is not None}
    best = best_coefficient(draws, plain.draws, f"{benchmark}/{mode}/{arm}/{size}")
    used = min(known, key=lambda coefficient: abs(np.log2(coefficient) - np.median(best.log_coefficient)))
    return best._replace(edge=f"{best.edge} lr".strip()) if known[used].edge else best
