"""Measure how often intervals hold and verdicts err: python performance/calibration.py (make calibration), about an hour.

Studies whose truth is known are made up, two batch sizes each, and go through the package's own way to a verdict: runs, the table of
optima, the estimates, the comparison with a band (docs/statistics.md has the table that this prints). Truth: the mean metric against
log2 lr is one of SHAPES; its optimum lies anywhere between two learning rates of a grid of factor two. `noise/fall` is one run's
s.d. over the rise of the mean metric one step of the grid away from the optimum. The two batch sizes' optima are two octaves apart.
"""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise.analysis.looks import ONLY, Look
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.claims.contrasts import Claim, rise
from sgdnoise.claims.measurements import Key, Measurement, measure
from sgdnoise.claims.verdicts import AGREES, DISAGREES, EDGE, Outcome, judge
from sgdnoise.study.config import validate


def linex(u: np.ndarray, a: float) -> np.ndarray:
    """Return a curve that is flat to the left and steep to the right, as where runs come near to divergence."""
    return (np.exp(a * u) - a * u - 1) / ((np.exp(a) + np.exp(-a)) / 2 - 1)


SHAPES = {  # of the mean metric, `u` octaves from its optimum: rise 1 at one octave, on average of both sides
    "parabola": lambda u: u**2,
    "lopsided": lambda u: linex(u, 1.0),
    "cliff": lambda u: linex(u, 2.0),
    "flat bottom": lambda u: (np.cosh(1.2 * u) - 1) / (np.cosh(1.2) - 1),
    "wedge": lambda u: (np.sqrt(1 + 4 * u**2) - 1) / (np.sqrt(5) - 1),
    "kink": lambda u: np.where(u < 0, u**2 / 10, u**2) / 0.55,
    "plateau": lambda u: np.where(u < 0, 0.8 * (1 - np.exp(-(u**2) / 4)), np.minimum(3 * u**2, 12)) / 1.59,
    "saturates": lambda u: np.where(u < 0, 3 * (1 - np.exp(-(u**2) / 3)), np.minimum(1.2 * u**2, 8)) / 1.02,
}
KEEP = {3: 2, 7: 5, 15: 12}  # of so many seeds, as the paper's rule has it
NOISE = (0.01, 0.1, 0.3, 1.0, 2.0)
# unequal: one arm has four times the noise; unlike: one arm's curve has a kink, so that errors of the two do not cancel; wild: runs
# spread eight times as much at learning rates of WILD octaves and more above the optimum.
VARIANTS = ("plain", "unequal", "unlike", "wild", "skewed", "diverged")
WILD = 0.75
OFFSETS = (0.0, 1.5)  # steps between the middle of the window and the optimum
NUM_LRS = 7
MORE_NOISE = 0.3  # octaves of noise per octave of learning rate
TRAIN_OPTIMUM = 0.7  # octaves above that of the test metric
QUANTITIES = {"lr": "learning rate", "error": "metric", "train": "train metric at the optimum"}
STUDY = validate(
    {
        "benchmarks": {
            "autoencoder_digits": {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 4, "sgd": {"64": [0.01, 0.01]}}}
        }
    }
)
FIRST, LAST = 16, 64  # the batch sizes
CLAIM = Claim("", "", "constant_epoch", "", "", "", "", "", [])


def runs_of(point: dict[str, Any], random: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Make up the runs of one batch size; return them and the truth of each quantity."""
    shape, noise, seeds = SHAPES[point["shape"]], point["noise"], point["seeds"]
    lrs = np.arange(NUM_LRS) - NUM_LRS // 2 + point["lr"]
    best = point["lr"] + random.uniform(-0.5, 0.5) + point["offset"]
    u = np.repeat(lrs - best, seeds)
    sd = noise * 2 ** (MORE_NOISE * u) * np.where((point["variant"] == "wild") & (u > WILD), 8, 1)
    normal = random.standard_normal((2, len(u)))
    if point["variant"] == "skewed":
        normal = (random.gamma(2, 1, (2, len(u))) - 2) / np.sqrt(2)
    values = {"test_squared_error": shape(u) + sd * normal[0], "train_squared_error": shape(u - TRAIN_OPTIMUM) + sd * normal[1]}
    chance = np.where(u > 1.5, 0.3, 0.03) if point["variant"] == "diverged" else np.zeros(len(u))
    diverged = random.uniform(size=len(u)) < chance
    names = {"benchmark": "autoencoder_digits", "optimizer": "sgd", "budget": "epochs4", "batch_size": point["batch_size"]}
    common = {"num_steps": 100, "num_epochs": 4.0, "modes": "constant_epoch", "keep": KEEP.get(seeds, seeds), "bound": np.nan}
    runs = pd.DataFrame({name: np.where(diverged, np.nan, value) for name, value in values.items()}).assign(
        **names, **common, lr=2 ** np.repeat(lrs, seeds)
    )
    runs["status"] = np.where(diverged, "diverged", "completed")
    runs["seed"] = np.tile(np.arange(seeds), NUM_LRS)
    runs["train_objective"] = runs["train_squared_error"]
    return runs, {"lr": best, "error": 0.0, "train": float(shape(np.array(-TRAIN_OPTIMUM)))}


def outcome_of(quantity: str, low: float, high: float, found: dict[Key, Measurement], look: Look = ONLY) -> Outcome:
    """Compare the rise of a quantity from the first batch size to the last with a band."""
    return judge(rise(quantity, "sgd", FIRST, LAST, low, high)[0], CLAIM, "autoencoder_digits", found, 1, look)


def study(scenario: dict[str, Any], random: np.random.Generator) -> dict[str, list[float]]:
    """Decide on one made-up study; per quantity: wrong at the lower end, at the upper, covers, length, shown, not enclosed.

    Length is that of the 90 % interval in octaves, or in s.d. of a run over the root of the seeds. Shown is an effect of an octave
    and a half, or of three such standard errors, against none.
    """
    points = [{"batch_size": FIRST, "lr": 0.0}, {"batch_size": LAST, "lr": 2.0}]
    noisier = 4 if scenario["variant"] == "unequal" else 1
    made = [runs_of(scenario | point, random) for point in points[:1]]
    other = {"shape": "kink"} if scenario["variant"] == "unlike" else {}
    made.append(runs_of(scenario | points[1] | other | {"noise": scenario["noise"] * noisier}, random))
    cells = pd.concat([runs for runs, _ in made])
    found = measure(optimum_table(cells, STUDY), cells)
    unit = scenario["noise"] * np.sqrt((1 + noisier**2) / 2) / np.sqrt(scenario["seeds"])
    rows = {}
    for quantity in QUANTITIES:
        truth = made[1][1][quantity] - made[0][1][quantity]
        effect = 1.5 if quantity == "lr" else 3 * np.sqrt(2) * unit

        def state(low: float, high: float, quantity: str = quantity) -> tuple[str, float]:
            outcome = outcome_of(quantity, low, high, found)
            return outcome.state, (outcome.interval_high - outcome.interval_low) / (1 if quantity == "lr" else np.sqrt(2) * unit)

        at_low, length = state(truth, np.inf)
        at_high, beyond = state(-np.inf, truth)[0], state(truth - effect, np.inf)[0]
        wrong = [at_low == AGREES or at_high == DISAGREES, at_high == AGREES or at_low == DISAGREES]
        enclosed = at_low != EDGE
        rows[quantity] = [*wrong, enclosed and not any(wrong), length, beyond == AGREES, not enclosed]
    return rows


def rows_of(study: Callable[..., list[dict[str, Any]]], job: tuple[dict[str, Any], int]) -> list[dict[str, Any]]:
    """Make up the studies of one scenario; return the rows of `study(scenario, random)` for each."""
    scenario, num = job
    random = np.random.default_rng([num, *(ord(letter) for letter in repr(sorted(scenario.items())))])
    return [row for _ in range(num) for row in study(scenario, random)]


def simulate(job: tuple[dict[str, Any], int]) -> list[dict[str, Any]]:
    """Simulate the studies of one scenario; return a row per quantity, all of them counts or sums."""
    scenario, num = job
    random = np.random.default_rng([num, *(ord(letter) for letter in repr(sorted(scenario.items())))])
    studies = [study(scenario, random) for _ in range(num)]
    rows = []
    for quantity in QUANTITIES:
        low, high, covers, _, shown, edge = (sum(one[quantity][column] for one in studies) for column in range(6))
        length = np.nansum([one[quantity][3] for one in studies])
        counts = {"studies": num, "low": low, "high": high, "covers": covers, "length": length, "shown": shown, "edge": edge}
        rows.append(scenario | {"quantity": quantity} | counts)
    return rows


def scenarios() -> list[dict[str, Any]]:
    """List what is made up."""
    names = ("variant", "seeds", "noise", "shape", "offset")
    return [dict(zip(names, values, strict=True)) for values in product(VARIANTS, KEEP, NOISE, SHAPES, OFFSETS)]


def calibration(num: int, chosen: list[dict[str, Any]], workers: int = 1) -> pd.DataFrame:
    """Simulate `num` studies of each scenario; return a row per scenario and quantity."""
    jobs = [(scenario, num) for scenario in chosen]
    with ProcessPoolExecutor(workers) as pool:
        return pd.DataFrame([row for rows in pool.map(simulate, jobs, chunksize=4) for row in rows])


def rates(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return rates over groups of scenarios; `covers` and `length` are over the studies whose optima are enclosed."""
    total = table.groupby(keys, sort=False)[["studies", "low", "high", "covers", "length", "shown", "edge"]].sum()
    decided = total["studies"] - total["edge"]
    found = total[["low", "high", "shown", "edge"]].div(total["studies"], axis=0)
    return found.assign(covers=total["covers"] / decided, length=total["length"] / decided, studies=total["studies"])


def main() -> None:
    """Print the rates as Markdown: by quantity, seeds and noise, then by what departs from the plain case, then the worst."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100, help="of each of the scenarios (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    table = calibration(options.studies, scenarios(), options.workers)
    table["quantity"] = table["quantity"].map(QUANTITIES)
    for keys in (["quantity", "seeds", "noise"], ["quantity", "variant"], ["quantity", "shape"], ["quantity", "offset"]):
        print_table(rates(table, keys))
    worst = rates(table, ["quantity", "variant", "seeds", "noise", "shape", "offset"])
    for column in ("low", "high"):
        print_table(worst.sort_values(column, ascending=False).head(6))


def print_table(found: pd.DataFrame) -> None:
    """Print rates as a Markdown table."""
    names = ["low", "high", "covers", "length", "shown", "edge", "studies"]
    titles = [
        "wrong at the lower end",
        "at the upper",
        "90 % interval covers",
        "its length",
        "effect shown",
        "not enclosed",
        "studies",
    ]
    print("\n" + " | ".join(["", *found.index.names, *titles, ""]).strip())
    print("|---" * (len(found.index.names) + len(titles)) + "|")
    for key, row in found[names].iterrows():
        values = (
            [f"{row[name]:.3f}" for name in names[:3]] + [f"{row['length']:.2f}"] + [f"{row[name]:.2f}" for name in names[4:6]]
        )
        print(
            " | ".join(["", *map(str, key if isinstance(key, tuple) else (key,)), *values, f"{row['studies']:,.0f}", ""]).strip()
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
