"""Measure what looking again costs and saves: python performance/decide_calibration.py (in make calibration), half an hour.

The studies of calibration.py, looked at with 3, 7 and 15 seeds by the levels of `analysis.looks` until a claim is decided. Printed
per quantity and noise/fall: how often a look decides wrongly where the truth is at an end of the band; for effects of several sizes
(in quarters of an octave, or s.d. of a difference of two means with 15 seeds) how often the claim is decided, with how many seeds on
average, and with how many a design that looks once decides as often.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from calibration import FIRST, KEEP, LAST, QUANTITIES, SHAPES, STUDY, outcome_of, rows_of, runs_of

from sgdnoise.analysis.looks import Look
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.claims.measurements import Key, Measurement, measure
from sgdnoise.claims.verdicts import AGREES, DISAGREES

LOOKS = (3, 7, 15)
ONCE = (3, 5, 7, 9, 11, 13, 15)  # seeds of the designs that look once
NOISE = (0.3, 1.0)
EFFECTS = (1.0, 2.0, 3.0, 5.0, 8.0)
OCTAVES = 0.25  # of an effect of 1 on the learning rate


def study(scenario: dict[str, Any], random: np.random.Generator) -> list[dict[str, Any]]:
    """Make up a study of 15 seeds, judge it at LOOKS and once with the first of ONCE; return a row per quantity and effect."""
    points = [{"batch_size": FIRST, "lr": 0.0}, {"batch_size": LAST, "lr": 2.0}]
    made = [runs_of(scenario | point, random) for point in points]
    cells = pd.concat([runs for runs, _ in made])

    def known(seeds: int) -> dict[Key, Measurement]:
        some = cells[cells["seed"] < seeds].assign(keep=KEEP.get(seeds, seeds - 2))
        return measure(optimum_table(some, STUDY), some)

    at = {seeds: known(seeds) for seeds in ONCE}
    rows = []
    for quantity, effect in product(QUANTITIES, (0.0, *EFFECTS)):
        unit = OCTAVES if quantity == "lr" else scenario["noise"] * np.sqrt(2 / LOOKS[-1])
        truth = made[1][1][quantity] - made[0][1][quantity]
        looks = [
            outcome_of(quantity, truth - effect * unit, np.inf, at[seeds], Look(LOOKS, index)).state
            for index, seeds in enumerate(LOOKS)
        ]
        decided = [one in (AGREES, DISAGREES) for one in looks]
        last = decided.index(True) if any(decided) else len(LOOKS) - 1
        row = {"quantity": quantity, "noise": scenario["noise"], "effect": effect, "seeds": LOOKS[last]}
        row |= {"agrees": looks[last] == AGREES, "disagrees": looks[last] == DISAGREES}
        if effect:
            row |= {str(seeds): outcome_of(quantity, truth - effect * unit, np.inf, at[seeds]).state == AGREES for seeds in ONCE}
        rows.append(row)
    return rows


def simulated(num: int, workers: int = 1) -> pd.DataFrame:
    """Make up `num` studies of each scenario; return a row per study, quantity and effect."""
    common = {"variant": "plain", "seeds": LOOKS[-1], "offset": 0.0}
    jobs = [(common | {"shape": shape, "noise": noise}, num) for shape, noise in product(SHAPES, NOISE)]
    with ProcessPoolExecutor(workers) as pool:
        return pd.DataFrame([row for rows in pool.map(partial(rows_of, study), jobs) for row in rows])


def seeds_once(power: float, once: pd.Series) -> str:
    """Write how many seeds a design that looks once needs for a power, from its power by ONCE."""
    if power > once.iloc[-1]:
        return f"over {ONCE[-1]}"
    return f"up to {ONCE[0]}" if power <= once.iloc[0] else f"{np.interp(power, once, ONCE):.1f}"


def main() -> None:
    """Print the rates as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100, help="of each of the scenarios (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    table = simulated(options.studies, options.workers)
    table["quantity"] = table["quantity"].map(QUANTITIES)
    print("| quantity | noise/fall | effect | agrees | disagrees | seeds | seeds of a design that looks once | studies |")
    print("|---|---|---|---|---|---|---|---|")
    for (quantity, noise, effect), rows in table.groupby(["quantity", "noise", "effect"], sort=False):
        power = rows["agrees"].mean()
        once = rows[list(map(str, ONCE))].astype(float).mean().cummax() if effect else None
        same = "" if once is None else seeds_once(power, once)
        print(
            f"| {quantity} | {noise:g} | {effect:g} | {power:.3f} | {rows['disagrees'].mean():.3f} | {rows['seeds'].mean():.1f} "
            f"| {same} | {len(rows):,} |"
        )


if __name__ == "__main__":
    main()
