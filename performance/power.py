"""Ask whether the full study can decide: python performance/power.py (make power), some ten minutes.

The paper's own optima, means and s.d. (claims/paper.csv) are taken for the truth; studies with the grid and the seeds of
workflow/config/paper.yaml are made up around them and decided by the package. What it prints, per claim: in how many of the studies
it is confirmed, contradicted or undetermined, and the reason that leaves it open most often.

What the paper does not say is assumed: a run's s.d. is `--noise-over-fall` times the rise of the mean metric one octave from the
optimum (1.2: between 1.1 and 1.4 at batch size 64); the curve is flat to the left and steep to the right, as `lopsided` in
calibration.py; the train loss at other rates falls by a tenth an octave; runs diverge three octaves above the optimum.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from calibration import SHAPES

from sgdnoise import benchmarks
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.claims.paper import paper_table
from sgdnoise.claims.verdicts import claims_table
from sgdnoise.results.run import COMPLETED, DIVERGED
from sgdnoise.study import grid
from sgdnoise.study.config import load_config

CONFIG = Path(__file__).parents[1] / "workflow" / "config" / "paper.yaml"
CLIFF = 3.0  # octaves above the optimum at which runs diverge
TRAIN_SLOPE = 0.1  # of the train loss, per octave of learning rate
WARMUP = 1.0  # octaves by which warmup moves divergence (ICLR v5 fig. 4)
POINT = ["benchmark", "optimizer", "num_steps", "batch_size"]


def truths() -> dict[tuple, dict[str, pd.Series]]:
    """Return the paper's rows by point of the grid and metric; of a point that two budget modes share the first that is complete."""
    table = paper_table().dropna(subset=["lr", "mean", "sd"])
    found: dict[tuple, dict[str, pd.Series]] = {}
    for _, row in table.iterrows():
        found.setdefault(tuple(row[POINT]), {}).setdefault(row["metric"], row)
    return found


def made_up(noise_over_fall: float, seed: int) -> tuple[pd.DataFrame, dict]:
    """Make up the runs of a whole study, rows of cells.csv, and return them with the study's config."""
    random, config, known = np.random.default_rng(seed), load_config(CONFIG), truths()
    shape, rows = SHAPES["lopsided"], []
    for cell in grid.cells(config):
        truth = known.get((cell.benchmark, cell.optimizer, cell.num_steps, cell.batch_size))
        if not truth:
            continue
        metrics = benchmarks.protocol(cell.benchmark, None)["metrics"]
        test, train = list(metrics)[:2]
        row = truth.get(test, next(iter(truth.values())))
        beyond = WARMUP * (cell.optimizer == "momentum_warmup")
        seeds = grid.seed_range(cell.seeds)
        values = {}
        for metric in (test, train):
            own = truth.get(metric)
            mean, sd = (own["mean"], own["sd"]) if own is not None else (row["train_mean"], row["train_sd"])
            u = np.array(np.log2(float(cell.lr) / (own if own is not None else row)["lr"]))
            worse = -1 if metrics[metric] == "max" else 1
            rise = worse * sd / noise_over_fall * shape(u) if own is not None else -TRAIN_SLOPE * mean * u
            values[metric] = mean + rise + sd * random.standard_normal(len(seeds))
        diverged = np.log2(float(cell.lr) / row["lr"]) > CLIFF + beyond - 0.5
        for index, run in enumerate(seeds):
            rows.append(
                {"benchmark": cell.benchmark, "optimizer": cell.optimizer, "budget": cell.budget, "batch_size": cell.batch_size}
                | {"lr": float(cell.lr), "num_steps": cell.num_steps, "num_epochs": row["num_epochs"], "keep": cell.keep}
                | {"modes": " ".join(cell.modes), "bound": np.nan, "seed": run, "status": DIVERGED if diverged else COMPLETED}
                | {metric: np.nan if diverged else drawn[index] for metric, drawn in values.items()}
            )
    return pd.DataFrame(rows), config


def decided(noise_over_fall: float, seed: int) -> pd.DataFrame:
    """Return the verdicts on the paper of one made-up study."""
    cells, config = made_up(noise_over_fall, seed)
    claims = claims_table(optimum_table(cells, config), {}, cells)
    return claims[claims["role"] == "paper"][["claim", "verdict", "reason"]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=30)
    parser.add_argument("--noise-over-fall", type=float, default=1.2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        found = pd.concat(pool.map(partial(decided, options.noise_over_fall), range(options.studies)))
    print(f"{options.studies} studies, noise/fall {options.noise_over_fall:g}\n")
    print("| claim | confirmed | contradicted | undetermined | most often because of |\n|---|---|---|---|---|")
    for claim, rows in found.groupby("claim", sort=False):
        counts = [int((rows["verdict"] == verdict).sum()) for verdict in ("confirmed", "contradicted", "undetermined")]
        reasons = rows.loc[rows["verdict"] == "undetermined", "reason"].value_counts()
        print(f"| {claim} | {' | '.join(map(str, counts))} | {reasons.index[0] if len(reasons) else ''} |")


if __name__ == "__main__":
    main()
