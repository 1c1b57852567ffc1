"""Count the wrong words of `recommend` over made-up studies: python performance/recommend_calibration.py [--studies 400].

A study sweeps one optimizer over five batch sizes whose true losses are known, and goes through the package's own `recommend`. A word
is wrong if a batch size is called free though its loss is above the margin, or is said to cost though its loss is 0. The noise is
one run's s.d. over the loss one step of the grid away from the optimum, `FALL`; of the default study it is 2.1, 1.3, 0.9 and 0.75.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from calibration import KEEP

from sgdnoise.analysis.losses import COSTS, FREE
from sgdnoise.analysis.recommend import recommend
from sgdnoise.study.config import Config, validate

FALL = 0.02  # of accuracy
CLIFF = (0.0, 0.0, 0.0, 0.05, 0.25)
LEVEL = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scenario:
    """What is true of a study: the loss, the noise and the window's offset of each batch size; `margin` as the user gives it."""

    losses: tuple[float, ...] = CLIFF
    noise: float = 0.9
    seeds: int = 3
    spread: tuple[float, ...] = (1, 1, 1, 1, 1)
    offset: tuple[int, ...] = (0, 0, 0, 0, 0)
    lopsided: float = 1.0
    reach: int = 2
    margin: float = 0.005


SCENARIOS = {
    **{f"loses .05, .25; noise {noise}": Scenario(noise=noise) for noise in (0.3, 0.75, 0.9, 1.3, 2.1)},
    **{f"all equal; noise {noise}": Scenario(LEVEL, noise) for noise in (0.1, 0.3, 0.9, 2.1)},
    "all equal; 15 seeds": Scenario(LEVEL, 0.9, 15),
    "all equal but for the noise": Scenario(LEVEL, 0.9, spread=(0.25, 0.5, 1, 2, 4)),
    "loses .05, .25; the best is noisy": Scenario(spread=(4, 4, 4, 1, 0.25)),
    "all equal; two optima at an edge": Scenario(LEVEL, 0.75, offset=(0, 2, 0, 0, -2)),
    "all equal; two optima beyond": Scenario(LEVEL, 0.75, offset=(0, 3, 0, 0, 4)),
    "loses .05, .25; the last optimum at an edge": Scenario(noise=0.75, offset=(0, 0, 0, 0, 2)),
    "all equal; steep above": Scenario(LEVEL, 0.3, lopsided=3),
    "all equal; three learning rates": Scenario(LEVEL, 0.9, reach=1),
    "just beyond the margin": Scenario((0, 0.0201, 0.0201, 0.0201, 0.0201), 0.1, margin=0.02),
    "just beyond the margin; 15 seeds": Scenario((0, 0.0201, 0.0201, 0.0201, 0.0201), 0.75, 15, margin=0.02),
    "all equal; a margin of two points": Scenario(LEVEL, 0.1, margin=0.02),
    "all equal; 15 seeds, a margin of two points": Scenario(LEVEL, 0.75, 15, margin=0.02),
}


def study(scenario: Scenario, random: np.random.Generator, optimizers: tuple[str, ...] = ("sgd",)) -> tuple[pd.DataFrame, Config]:
    """Make up the runs of a study, rows of cells.csv, and its config. Batch sizes are 16, 32, ...; their optima lie anywhere."""
    num = scenario.seeds
    runs, windows = [], {}
    for optimizer in optimizers:
        for index, loss in enumerate(scenario.losses):
            log_lr = np.repeat(np.arange(-scenario.reach, scenario.reach + 1) - scenario.offset[index], num)
            u = log_lr - random.uniform(-0.5, 0.5)
            error = loss + FALL * u**2 * np.where(u > 0, scenario.lopsided, 1 / scenario.lopsided)
            error += scenario.noise * scenario.spread[index] * FALL * random.standard_normal(len(u))
            size = 16 * 2**index
            windows[str(size)] = [float(f"{2.0**end:.4g}") for end in (log_lr[0], log_lr[-1])]
            point = {
                "benchmark": "wrn_digits",
                "optimizer": optimizer,
                "budget": "epochs4",
                "batch_size": size,
                "num_steps": 4096 // size,
                "num_epochs": 4.0,
            }
            runs.append(
                pd.DataFrame(
                    {"lr": 2.0**log_lr, "seed": np.tile(np.arange(num), len(u) // num), "test_accuracy": 0.96 - error}
                ).assign(**point, modes="constant_epoch", status="completed", keep=KEEP.get(num, num), train_objective=error)
            )
    cells = pd.concat(runs, ignore_index=True).assign(examples_per_second=1000.0, device_seconds=2.0, device="made up")
    mode = {"epochs": 4} | dict.fromkeys(optimizers, windows)
    config = validate({"benchmarks": {"wrn_digits": {"seeds": {"num": num, "keep": KEEP.get(num, num)}, "constant_epoch": mode}}})
    return cells, config


def words(scenario: Scenario, seed: int) -> list[str]:
    """Return the words of one study."""
    cells, config = study(scenario, np.random.default_rng(seed))
    (advice,) = recommend(cells, config, margin=scenario.margin, plan=False)
    return [row.word for row in advice.optimizers[0].rows]


def wrong(scenario: Scenario, found: list[str]) -> tuple[bool, bool]:
    """Say whether any word of a study is a wrong `free`, and whether any is a wrong `costs`."""
    pairs = list(zip(found, scenario.losses, strict=True))
    free = any(word == FREE and loss > scenario.margin for word, loss in pairs)
    return free, any(word == COSTS and loss == 0 for word, loss in pairs)


def main() -> None:
    """Print a row per scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"Of {options.studies} studies each; wrong words at most 5 %. By batch size: share called free / said to cost.\n")
    print("| truth | a wrong free | a wrong costs | 16 | 32 | 64 | 128 | 256 |\n|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(options.workers) as pool:
        for name, scenario in SCENARIOS.items():
            found = list(pool.map(partial(words, scenario), range(options.studies), chunksize=10))
            errors = np.mean([wrong(scenario, one) for one in found], axis=0)
            shares = [[np.mean([one[index] == word for one in found]) for word in (FREE, COSTS)] for index in range(5)]
            columns = [name, *(f"{share:.3f}" for share in errors), *(f"{free:.2f} / {costs:.2f}" for free, costs in shares)]
            print(f"| {' | '.join(columns)} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
