"""What is known of the regularised optimizers of a study at their coefficients, and at the best one."""

from __future__ import annotations

import numpy as np

from sgdnoise.analysis.gap import Best, best_coefficient
from sgdnoise.claims.measurements import Key, Measurement
from sgdnoise.study.arms import Swept


def coefficients(arm: str, size: int, swept: Swept) -> dict[float, str]:
    """Return the coefficients of a regularised optimizer at a batch size, from the lowest, with its name at each."""
    names = [name for name, sizes in swept.items() if name.startswith(f"{arm}@") and size in sizes]
    return dict(sorted((float(name.partition("@")[2]), name) for name in names))


def best_at(
    benchmark: str, mode: str, arm: str, base: str, size: int, swept: Swept, found: dict[Key, Measurement]
) -> Best | None:
    """Return what is known of a regularised optimizer at its best coefficient, `base` without; None if some of it was not measured."""
    plain = found.get((benchmark, mode, base, size, "error"))
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
