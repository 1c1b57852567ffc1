"""Results of cells that nobody has trained."""

import numpy as np

from sgdnoise.results.run import Run
from sgdnoise.study import grid

METRICS = ("test_squared_error", "train_squared_error", "train_objective")


def made_up_run(cell, optima=(1.28, 1.28, 1.28), late=None, diverge_from=np.inf, noise=0.001):
    """Errors grow with the squared number of octaves from the optimum of each metric, or from `late` for seeds from 2 on.

    The last seeds are a little better than the first.
    """
    seeds = np.array(grid.seed_range(cell.seeds))
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
