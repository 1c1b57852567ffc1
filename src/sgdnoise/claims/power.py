"""How often the full study confirms a claim that is true just as the paper has it: `make power` counts, and writes power.csv."""

from __future__ import annotations

import functools
from importlib.resources import files

import pandas as pd

from sgdnoise.claims.contrasts import Claim

ENOUGH = 0.8


@functools.cache
def power_table() -> pd.DataFrame:
    """Read the verdicts of the simulated studies: a row per claim, in how many it is confirmed, contradicted, undetermined."""
    with files("sgdnoise.claims").joinpath("power.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"claim": str}).set_index("claim")


def power(claim: Claim) -> str:
    """Write how often a claim is confirmed, and what is short if that is not often."""
    counts = power_table().loc[claim.name]
    why = claim.short or (f"the source contradicts itself: {claim.doubt}" if claim.doubt else "")
    often = (
        f"if it is true as the paper has it, the full study confirms it in {counts['confirmed']} of {counts.sum()} simulations"
    )
    return often + (f": {why}" if why else "")
