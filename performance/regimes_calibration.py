"""Measure how often the regimes found are true, and their intervals hold: python performance/regimes_calibration.py, about an hour.

Sweeps whose truth is known are made up and go through the package's own way: runs, estimates of the optima, fit, decision. The mean
metric against log2 lr is one of SHAPES about the true optimum, which follows one of TRUTHS over batch sizes a factor of two apart,
from 16 on. `noise/fall` is one run's s.d. over the rise of the mean metric one step of the grid away. Where the grid lies, the
break (half an octave about the middle), the windows (5 to 7 learning rates, off by a step or not) and the shape are random.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any

import calibration
import numpy as np
import pandas as pd
from calibration import KEEP, MORE_NOISE, NOISE

from sgdnoise.analysis.regimes import FAMILIES, UNDECIDED, estimates, fit_sweep
from sgdnoise.analysis.sweep import sweep

SHAPES = {name: shape for name, shape in calibration.SHAPES.items() if name != "saturates"}  # up to their size
TRUTHS = {  # slopes below and above the break
    "level": (0.0, 0.0),
    "slope 1/2": (0.5, 0.5),
    "slope 1": (1.0, 1.0),
    "break from 1 to 0": (1.0, 0.0),
}
NUM_BATCH_SIZES = (3, 5, 7)
SEEDS = (3, 15)
RATIOS = (2.0, 2**0.5)
CALLED = [*FAMILIES, UNDECIDED]


def made_up(scenario: dict[str, Any], random: np.random.Generator) -> tuple[pd.DataFrame, float]:
    """Make up the runs of a sweep; return them and log2 of its true break."""
    x = 4.0 + np.arange(scenario["sizes"])
    log_break = x.mean() + random.uniform(-0.5, 0.5)
    below, above = TRUTHS[scenario["truth"]]
    optima = random.uniform(0, 1) + below * np.minimum(x - log_break, 0) + above * np.maximum(x - log_break, 0)
    step, shape = np.log2(scenario["ratio"]), SHAPES[random.choice(list(SHAPES))]
    sd = scenario["noise"] * (shape(step) + shape(-step)) / 2
    num_lrs, off = random.integers(5, 8), random.integers(-1, 2)
    names = {"benchmark": "made up", "optimizer": "sgd", "budget": f"epochs{random.integers(10**9)}"}
    points = []
    for size, best in zip(2**x, optima, strict=True):
        lrs = step * (round(best / step) + off - num_lrs // 2 + np.arange(num_lrs)).repeat(scenario["seeds"])
        value = shape(lrs - best) + sd * 2 ** (MORE_NOISE * (lrs - best)) * random.standard_normal(len(lrs))
        points.append(pd.DataFrame({"batch_size": int(size), "lr": 2**lrs, "error": value}))
    return pd.concat(points).assign(**names, keep=KEEP[scenario["seeds"]], status="completed"), log_break


def study(scenario: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Decide on one made-up sweep: what it is called; for each interval that it reports whether that holds the truth, else NaN."""
    cells, log_break = made_up(scenario, random)
    fit = fit_sweep(sweep(cells, "error", "min"))
    assert fit
    found, slopes = estimates(fit), TRUTHS[scenario["truth"]]
    called = next((family for family, models in FAMILIES.items() if fit.model in models), UNDECIDED)
    row: dict[str, Any] = scenario | {family: family == called for family in CALLED}
    has_break = slopes[0] != slopes[1] and called == "break"
    for name, truth in (("break", 2**log_break if has_break else np.nan), ("slope_below", slopes[0]), ("slope_above", slopes[1])):
        known = np.isfinite([found[name], truth]).all()
        row[f"{name} holds"] = found[f"{name}_low"] <= truth <= found[f"{name}_high"] if known else np.nan
    return row


def simulate(job: tuple[dict[str, Any], int]) -> list[dict[str, Any]]:
    """Simulate the studies of one scenario."""
    scenario, num = job
    random = np.random.default_rng([ord(letter) for letter in repr(sorted(scenario.items()))])
    return [study(scenario, random) for _ in range(num)]


def scenarios() -> list[dict[str, Any]]:
    """List what is made up."""
    names = ("truth", "sizes", "seeds", "noise", "ratio")
    return [dict(zip(names, values, strict=True)) for values in product(TRUTHS, NUM_BATCH_SIZES, SEEDS, NOISE, RATIOS)]


def regimes_calibration(num: int, chosen: list[dict[str, Any]], workers: int = 1) -> pd.DataFrame:
    """Simulate `num` studies of each scenario; return a row per study."""
    jobs = [(scenario, num) for scenario in chosen]
    with ProcessPoolExecutor(workers) as pool:
        return pd.DataFrame([row for rows in pool.map(simulate, jobs) for row in rows])


def rates(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the share of the studies called each, and of the intervals reported that hold, over groups of scenarios."""
    shown = table.groupby(keys, sort=False)[[*CALLED, "break holds", "slope_below holds", "slope_above holds"]]
    return shown.agg(lambda values: values.astype(float).mean()).assign(studies=shown.size())


def main() -> None:
    """Print the rates as Markdown: by truth, batch sizes, seeds and noise, then by the grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=50, help="of each of the scenarios (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    table = regimes_calibration(options.studies, scenarios(), options.workers)
    for keys in (["truth", "sizes", "seeds", "noise"], ["truth", "ratio"]):
        found = rates(table, keys)
        print("\n| " + " | ".join([*keys, *found.columns]) + " |")
        print("|---" * (len(keys) + len(found.columns)) + "|")
        for key, row in found.iterrows():
            print(f"| {' | '.join(f'{one:.3g}' if isinstance(one, float) else str(one) for one in [*key, *row])} |")


if __name__ == "__main__":
    main()
