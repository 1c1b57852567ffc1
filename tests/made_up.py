"""Results of cells that nobody has trained, and the claims that a table of optima decides."""

import numpy as np
import pandas as pd
import yaml

from sgdnoise.claims.measurements import measure
from sgdnoise.claims.verdicts import decide_claims, row
from sgdnoise.results.run import Run
from sgdnoise.study.cell import seed_range

METRICS = ("test_squared_error", "train_squared_error", "train_objective")


EXTENDED = yaml.safe_load(
    """
evaluations: 1
extend_grid: true
benchmarks:
  autoencoder_digits:
    seeds: {num: 4, keep: 3}
    constant_epoch:
      epochs: 1
      sgd: {64: [0.08, 0.16]}
figures: {formats: [png], dpi: 60}
"""
)
KEY = "benchmarks.autoencoder_digits.constant_epoch.sgd"  # of its only window


def made_up_run(cell, optima=(1.28, 1.28, 1.28), late=None, diverge_from=np.inf, noise=0.001):
    """Errors grow with the squared number of octaves from the optimum of each metric, or from `late` for seeds from 2 on.

    The last seeds are a little better than the first.
    """
    seeds = np.array(seed_range(cell.seeds))
    diverged = np.full(len(seeds), float(cell.lr) >= diverge_from)
    curves = {}
    for metric, best in zip(METRICS, optima, strict=True):
        best_of_seed = np.where(seeds < 2, best, late or best)
        last = 1 + np.log2(float(cell.lr) / best_of_seed) ** 2 - noise * seeds
        curves[metric] = np.stack([0 * last + 99, np.where(diverged, np.nan, last)], axis=1)
    return Run(
        spec=cell.spec,
        step=np.array([0, cell.num_steps]),
        lr=np.array([np.nan, 0.001]),
        seed=seeds,
        status=["diverged" if one else "completed" for one in diverged],
        curves=curves,
        provenance={"bounds": {}, "examples_per_second": 1000.0},
    )


WRN_STUDY = yaml.safe_load(
    """
evaluations: 2
benchmarks:
  wrn_digits:
    seeds: {num: 3, keep: 2}
    constant_epoch:
      epochs: 4
      sgd: {64: [0.25, 4], 128: [0.5, 4]}
      momentum: {64: [0.25, 4], 128: [0.5, 4]}
    constant_step:
      steps: 64
      momentum: {64: [0.25, 4], 128: [0.5, 4]}
    unlimited:
      batch_size: 64
      momentum: {4: [0.25, 4], 8: [0.25, 4]}
figures:
  lr_sweep: {wrn_digits: [64, 128]}
"""
)


def made_up_wrn(cell):
    """Accuracy peaks at lr 1; lr 4 diverges for two of three seeds."""
    octaves = abs(np.log2(float(cell.lr)))
    seeds = np.array(seed_range(cell.seeds))
    last = 0.9 - 0.1 * octaves + 0.001 * seeds
    curves = {
        "test_accuracy": np.stack([0 * last + 0.1, last - 0.1, last], axis=1),
        "test_loss": np.stack([0 * last + 2, 1 - last, 1 - last], axis=1),
        "train_loss": np.stack([0 * last + 2, 1 - last, 1 - last], axis=1),
        "train_objective": np.stack([0 * last + 2, 1.2 - last, 1.1 - last], axis=1),
    }
    diverged = (float(cell.lr) == 4) & (seeds > 0)
    for curve in curves.values():
        curve[diverged, 1:] = np.nan
    return Run(
        spec=cell.spec,
        step=np.array([0, cell.num_steps // 2, cell.num_steps]),
        lr=np.array([np.nan, 1, 0.001]),
        seed=seeds,
        status=["diverged" if one else "completed" for one in diverged],
        curves=curves,
        provenance={"bounds": {}, "examples_per_second": 1000.0},
    )


def claims_table(optimum, sibling_of, cells=None):
    """Return a row per claim, as `decide_claims` decides them."""
    return pd.DataFrame(map(row, decide_claims(optimum, sibling_of, measure(optimum, cells))))
