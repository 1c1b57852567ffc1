"""Measure what the advice "so many seeds more would decide" is worth: python performance/foresight_calibration.py (in make calibration).

The studies of calibration.py, with 3 or 7 seeds. Where noise leaves a comparison open and `foresight` names a number of seeds more, two
studies with so many are made up. A new one, in which the effect is just what the first measured: `foresight` promises that POWER of these
decide. And the first one itself with the seeds added, whose effect is what it is: that one is not promised, as the effect was not known.
Effects are in quarters of an octave of learning rate, or in s.d. of a difference of two means with 15 seeds, beyond the band's end.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from calibration import CLAIM, FIRST, LAST, QUANTITIES, SHAPES, STUDY, outcome_of, rows_of, runs_of
from decide_calibration import OCTAVES

from sgdnoise.analysis.looks import ONLY
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.claims.foresight import ALL, LADDER, foresight
from sgdnoise.claims.measurements import Key, Measurement, measure
from sgdnoise.claims.verdicts import AGREES, DISAGREES, NOISE, Decided

SEEDS = (3, 7)
NOISES = (0.3, 1.0)
EFFECTS = (1.0, 2.0, 4.0)
MOST = LADDER[-1]


def known(cells: pd.DataFrame, seeds: range, more: int = 0) -> dict[Key, Measurement]:
    """Measure with some of the seeds, as if there were `more`."""
    some = cells[cells["seed"].isin(seeds)].assign(keep=len(seeds) - 1)
    return measure(optimum_table(some, STUDY), some, more)


def study(scenario: dict[str, Any], random: np.random.Generator) -> list[dict[str, Any]]:
    """Make up one study; return a row per quantity and effect that noise leaves open: what was foreseen, and what became of it."""
    num = scenario["seeds"]
    points = [{"batch_size": FIRST, "lr": 0.0}, {"batch_size": LAST, "lr": 2.0}]
    made = [runs_of(scenario | point | {"seeds": 2 * (num + MOST)}, random) for point in points]
    cells = pd.concat([runs for runs, _ in made])
    now = known(cells, range(num))
    ahead = [known(cells, range(num), more) for more in (*LADDER, ALL)]
    rows = []
    for quantity, effect in product(QUANTITIES, EFFECTS):
        unit = OCTAVES if quantity == "lr" else scenario["noise"] * np.sqrt(2 / 15)
        truth = made[1][1][quantity] - made[0][1][quantity]
        low = truth - effect * unit
        outcome = outcome_of(quantity, low, np.inf, now)
        if outcome.state != NOISE:
            continue
        seen = foresight(Decided(CLAIM, "sibling", "autoencoder_digits", "", [outcome]), now, ahead, ONLY)
        row = {"quantity": quantity, "seeds": num, "noise": scenario["noise"], "effect": effect, "named": np.isfinite(seen.more)}
        if row["named"]:
            more = int(seen.more)
            anew = known(cells, range(num + MOST, 2 * num + MOST + more))
            own = known(cells, range(num + more))
            states = [outcome_of(quantity, truth - (outcome.value - low), np.inf, anew), outcome_of(quantity, low, np.inf, own)]
            as_measured, itself = (one.state in (AGREES, DISAGREES) for one in states)
            row |= {"more": more, "as measured": as_measured, "itself": itself}
        rows.append(row)
    return rows


def simulated(num: int, workers: int = 1) -> pd.DataFrame:
    """Make up `num` studies of each scenario; return a row per study, quantity and effect that noise leaves open."""
    common = {"variant": "plain", "offset": 0.0}
    kinds = product(SHAPES, SEEDS, NOISES)
    jobs = [(common | {"shape": shape, "seeds": seeds, "noise": noise}, num) for shape, seeds, noise in kinds]
    with ProcessPoolExecutor(workers) as pool:
        return pd.DataFrame([row for rows in pool.map(partial(rows_of, study), jobs) for row in rows])


def main() -> None:
    """Print the rates as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40, help="of each of the scenarios (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    table = simulated(options.studies, options.workers)
    table["quantity"] = table["quantity"].map(QUANTITIES)
    print(
        "| quantity | seeds | noise/fall | open | a number is named | its median | decides if the effect is as measured | decides the study |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for (quantity, seeds, noise), rows in table.groupby(["quantity", "seeds", "noise"], sort=False):
        named = rows[rows["named"]]
        shares = f"{named['as measured'].astype(float).mean():.2f} | {named['itself'].astype(float).mean():.2f}"
        print(f"| {quantity} | {seeds} | {noise:g} | {len(rows)} | {len(named)} | {named['more'].median():.0f} | {shares} |")


if __name__ == "__main__":
    main()
