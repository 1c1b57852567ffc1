"""Measure how often the interval of a critical batch size holds: python performance/steps_calibration.py, some minutes.

Studies of SIZES are made up whose fewest steps to a target are S(B) = 100 (1 + 64 / B) at a learning rate of the grid, and more by a
tenth of it an octave squared away. A run is faster or slower by a log-normal factor; its accuracy saturates, and is measured ten times.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from sgdnoise.analysis.time_to_target import time_to_target_table

SIZES, TARGET, CRITICAL, FEWEST = (8, 16, 32, 64, 128, 256), 0.9, 64, 100
SEEDS, NOISE, RISES = (3, 5), (0.03, 0.1, 0.2), (0.1, 0.5)  # runs; s.d. of log steps; of log steps, an octave from the optimum
NUM_EVALUATIONS, END = 10, 2.5  # of a run, which is so much longer than the fewest steps


def made_up(seeds: int, noise: float, rise: float, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return cells and curves of a study."""
    cells, curves = [], []
    for size in SIZES:
        least = FEWEST * (1 + CRITICAL / size)
        end = round(END * least)
        steps = np.linspace(end / NUM_EVALUATIONS, end, NUM_EVALUATIONS).round()
        for octave in range(-2, 3):
            for seed in range(seeds):
                point = {"optimizer": "sgd", "batch_size": size, "lr": 2.0**octave, "seed": seed, "status": "completed"}
                point |= {"benchmark": "wrn_digits", "num_train": 64, "num_steps": end, "keep": seeds, "modes": "constant_epoch"}
                cells.append(point | {"examples_per_second": 1000.0})
                needed = least * np.exp(rise * octave**2 + noise * random.standard_normal())
                accuracy = TARGET * (1 - np.exp(-2 * steps / needed)) / (1 - np.exp(-2))
                curves += [point | {"step": step, "test_accuracy": value} for step, value in zip(steps, accuracy, strict=True)]
    return pd.DataFrame(cells), pd.DataFrame(curves)


def holds(scenario: tuple[int, float, float], study: int) -> float:
    """Say whether the interval of one study holds the truth; NaN if there is none."""
    tables = made_up(*scenario, np.random.default_rng([study, *(round(100 * one) for one in scenario)]))
    found = time_to_target_table(*tables, "test_accuracy", "max", TARGET).iloc[0]
    return np.nan if np.isnan(found["critical_low"]) else float(found["critical_low"] <= CRITICAL <= found["critical_high"])


def main() -> None:
    """Print the rates as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("| seeds | s.d. of log steps | rise | has an interval | holds, of 95 % |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(options.workers) as pool:
        for scenario in product(SEEDS, NOISE, RISES):
            found = np.array(list(pool.map(partial(holds, scenario), range(options.studies), chunksize=10)))
            print(f"| {' | '.join(map(str, scenario))} | {np.isfinite(found).mean():.2f} | {np.nanmean(found):.3f} |", flush=True)


if __name__ == "__main__":
    main()
