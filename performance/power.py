"""Ask whether the full study can decide: python performance/power.py (make power), some minutes per study.

The paper's own optima, means and s.d. (claims/paper.csv) are taken for the truth. Studies of workflow/config/paper.yaml are made up
around them and go the package's own way: windows are extended, seeds are added at each look, claims are decided. What it prints, per
claim: in how many of the studies it is confirmed, contradicted or undetermined, and the reason that leaves it open most often; then the
runs that this took, against the same grid with all seeds everywhere.

What the paper does not say is assumed: a run's s.d. is `--noise-over-fall` times the rise of the mean metric one octave from the
optimum (1.2: between 1.1 and 1.4 at batch size 64); the curve is flat to the left and steep to the right, as `lopsided` in
calibration.py; where both train losses are known, at its own optimum and at that of the test metric, its curve goes through them; a
train loss whose optimum is not known falls by a tenth an octave; runs diverge three octaves above the optimum. A mean that could not be
read off a figure is that of the next smaller batch size.
"""

import argparse
import functools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
from calibration import SHAPES

from sgdnoise import benchmarks
from sgdnoise.analysis import extend
from sgdnoise.claims import looks
from sgdnoise.claims.paper import paper_table
from sgdnoise.claims.verdicts import row
from sgdnoise.results.collect import read_cells
from sgdnoise.results.run import COMPLETED, DIVERGED, Run
from sgdnoise.study import grid, windows
from sgdnoise.study import looks as asked
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import Config, load_config

CONFIG = Path(__file__).parents[1] / "workflow" / "config" / "paper.yaml"
CLIFF = 3.0  # octaves above the optimum at which runs diverge
TRAIN_SLOPE = 0.1  # of the train loss, per octave of learning rate
WARMUP = 1.0  # octaves by which warmup moves divergence (ICLR v5 fig. 4)
VERDICTS = ["confirmed", "contradicted", "undetermined"]
POINT = ["benchmark", "optimizer", "num_steps", "batch_size"]
UNKNOWN = {"mean": 0.5, "sd": 0.01, "train_mean": 0.5, "train_sd": 0.01}  # of points that the paper does not have


def truths() -> dict[tuple, dict[str, pd.Series]]:
    """Return the paper's rows by point of the grid and metric; of a point that two budget modes share the first."""
    table = paper_table().dropna(subset="lr").sort_values("batch_size", kind="stable")
    sweeps = table.groupby(["benchmark", "mode", "optimizer", "metric"])
    for name in UNKNOWN:
        table[name] = sweeps[name].ffill() if "mean" in name else table[name].fillna(sweeps[name].transform("median"))
    found: dict[tuple, dict[str, pd.Series]] = {}
    for _, one in table.dropna(subset=["mean", "sd"]).sort_index().iterrows():
        found.setdefault(tuple(one[POINT]), {}).setdefault(one["metric"], one)
    return found


def made_up(config: Config, noise_over_fall: float, seed: int) -> Callable[[Path], Run]:
    """Return what reads the runs of a study that nobody has trained, by the path of a cell."""
    known, shape = truths(), SHAPES["lopsided"]
    ladders = windows.ladders(windows.widest(config))
    any_seeds = asked.any_seeds(cell for ladder in ladders.values() for cell in ladder)
    middle = {point: np.log2([float(cell.lr) for cell in ladder]).mean() for point, ladder in ladders.items()}

    @functools.cache
    def read(path: Path) -> Run:
        cell = asked.with_seeds(str(path.relative_to(config["results"])), any_seeds)
        name = cell.path.rpartition("_")[0]
        metrics = benchmarks.protocol(cell.benchmark, None)["metrics"]
        test, train = list(metrics)[:2]
        truth = known.get((cell.benchmark, cell.optimizer, cell.num_steps, cell.batch_size), {})
        here = truth.get(test, pd.Series(UNKNOWN | {"lr": 2 ** middle[cell.point]}))
        own = truth.get(train)
        octaves = {metric: np.log2(float(cell.lr) / one["lr"]) for metric, one in ((test, here), (train, own)) if one is not None}
        worse = -1 if metrics[test] == "max" else 1
        mean = {test: here["mean"] + worse * here["sd"] / noise_over_fall * shape(octaves[test])}
        if own is None:
            mean[train] = here["train_mean"] * (1 - TRAIN_SLOPE * octaves[test])
        else:
            rise, away = here["train_mean"] - own["mean"], shape(np.log2(here["lr"] / own["lr"]))
            fall = rise / away if away > 0 and rise > 0 else own["sd"] / noise_over_fall
            mean[train] = own["mean"] + fall * shape(octaves[train])
        sd = {test: here["sd"], train: here["train_sd"] if own is None else own["sd"]}
        seeds = np.array(seed_range(cell.seeds))
        noise = [np.random.default_rng([seed, one, crc32(name.encode())]).standard_normal(2) for one in seeds.tolist()]
        diverged = octaves[test] > CLIFF + WARMUP * (cell.optimizer == "momentum_warmup") - 0.5
        drawn = {metric: mean[metric] + sd[metric] * np.array(noise)[:, which] for which, metric in enumerate((test, train))}
        curves = {metric: drawn.get(metric, drawn[train]) for metric in metrics}
        return Run(
            spec=cell.spec,
            step=np.array([cell.num_steps]),
            lr=np.array([np.nan]),
            seed=seeds,
            status=[DIVERGED if diverged else COMPLETED] * len(seeds),
            curves={metric: np.where(diverged, np.nan, values)[:, None] for metric, values in curves.items()},
            provenance={"bounds": {}, "examples_per_second": np.nan},
        )

    return read


def decided(noise_over_fall: float, seed: int) -> pd.DataFrame:
    """Return the verdicts on the paper of one made-up study, with the number of its runs and of those with all seeds everywhere."""
    config = load_config(CONFIG)
    config["benchmarks"] = {name: config["benchmarks"][name] for name in paper_table()["benchmark"].unique()}
    read = made_up(config, noise_over_fall, seed)
    config = looks.replayed(extend.replayed(config, read)[0], read)
    cells = read_cells(grid.cells(config), [Path(config["results"])], allow_missing=False, read=read)
    claims = pd.DataFrame([row(one) for one, _ in looks.first_verdicts(looks.judge_looks(config, cells))])
    every = sum(max(cell.keep, config["decide"]["max_seeds"]) for cell in grid.whole_cells(config))
    return claims.query("role == 'paper'")[["claim", "verdict", "reason"]].assign(runs=len(cells), every=every)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=30)
    parser.add_argument("--noise-over-fall", type=float, default=1.2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the counts to this CSV, too (shipped: src/sgdnoise/claims/power.csv)")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        found = pd.concat(pool.map(partial(decided, options.noise_over_fall), range(options.studies)))
    counts = pd.crosstab(found["claim"], found["verdict"]).reindex(index=found["claim"].unique(), columns=VERDICTS, fill_value=0)
    if options.out:
        counts.to_csv(options.out, index_label="claim")
    print(f"{options.studies} studies, noise/fall {options.noise_over_fall:g}\n")
    print("| claim | confirmed | contradicted | undetermined | most often because of |\n|---|---|---|---|---|")
    for claim, rows in found.groupby("claim", sort=False):
        reasons = rows.loc[rows["verdict"] == "undetermined", "reason"].value_counts()
        print(f"| {claim} | {' | '.join(map(str, counts.loc[claim]))} | {reasons.index[0] if len(reasons) else ''} |")
    runs, every = found["runs"].mean(), found["every"].mean()
    print(f"\nruns of a study: {runs:,.0f} on average; {every:,.0f} with all seeds at every learning rate")


if __name__ == "__main__":
    main()
