"""Turn runs, or a table of optima, into what is known of each quantity that claims are about: draws from its distribution."""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from sgdnoise.analysis.estimate import NUM_DRAWS, POINT, Estimate, estimate
from sgdnoise.analysis.rates import is_settled
from sgdnoise.claims.contrasts import LSTM
from sgdnoise.results.run import COMPLETED

GRID_STEP = {LSTM: 0.5}  # octaves, of the paper's learning rates; elsewhere 1

Key = tuple[str, str, str, int, str]  # benchmark, mode, optimizer, swept, quantity of contrasts.QUANTITIES


class Measurement(NamedTuple):
    """What is known of a number: draws (NUM_DRAWS,); none if the noise is not known, and then `value` alone, NaN if not measured.

    `edge` says that the optimum that it belongs to may lie beyond the learning rates trained.
    """

    value: float
    draws: np.ndarray | None
    edge: bool


def measure(optimum: pd.DataFrame, cells: pd.DataFrame | None = None, more: int = 0) -> dict[Key, Measurement]:
    """Read the quantities that claims are about off the runs `cells`, or without them off a table of optima.

    `optimum` has the columns of optimum.csv, as has the paper's own table. A benchmark's first metric is its test metric, the
    second its train metric; learning rates are in octaves. From runs, everything is estimated by `analysis.estimate`. A table
    alone gives means with Student's t by `sd` and `num_kept`, and learning rates anywhere within their error bar or half a step
    of the grid. `more` is that of `estimate`.
    """
    found: dict[Key, Measurement] = {}
    metrics = {name: dict(zip(rows["metric"], rows["direction"], strict=True)) for name, rows in optimum.groupby("benchmark")}
    points = {} if cells is None else dict(iter(cells.groupby(POINT)))
    estimates: dict[tuple, Estimate | None] = {}
    for row in optimum.to_dict("records"):
        key = (row["benchmark"], row["mode"], row["optimizer"], swept_of(row))
        names = list(metrics[row["benchmark"]])
        role = names.index(row["metric"])
        point = tuple(row[name] for name in POINT)
        if role > 1:
            continue
        if cells is None:
            measured = _of_row(row, "/".join(map(str, (*key, role))))
        else:
            if (*point, role) not in estimates:
                train = names[min(1, len(names) - 1)]
                estimates[*point, role] = estimate(points[point], row["metric"], row["direction"], train, more)
            measured = _of_estimate(row, estimates[*point, role])
        lr, mean, train_mean = measured
        if role == 0:
            _, train_direction, *_ = [*metrics[row["benchmark"]].values(), "min"]  # a table may lack it: the paper's are losses
            found[*key, "error"] = _lower_is_better(mean, row["direction"])
            found |= {(*key, "train"): _lower_is_better(train_mean, train_direction), (*key, "lr"): lr}
            if cells is not None and (stable := _stable(points[point], "/".join(map(str, key)))):
                found[*key, "stable_lr"] = stable
        else:
            found |= {(*key, "best_train"): _lower_is_better(mean, row["direction"]), (*key, "train_lr"): lr}
    return found


def swept_of(row: dict) -> int:
    """Return what the claims know a row of optimum.csv by in its budget mode: its batch size, in `unlimited` its epochs."""
    return round(row["num_epochs"]) if row["mode"] == "unlimited" else row["batch_size"]


def _lower_is_better(one: Measurement, direction: str) -> Measurement:
    """Turn an accuracy into an error."""
    if direction == "min":
        return one
    return Measurement(1 - one.value, None if one.draws is None else 1 - one.draws, one.edge)


def _of_estimate(row: dict, known: Estimate | None) -> tuple[Measurement, ...]:
    """Return learning rate, metric and train metric; without an estimate the values of the paper's rule, their noise unknown."""
    if known is None:
        values = math.log2(row["lr"]), row["mean"], row["train_mean"]
        return tuple(Measurement(value, None, bool(row["at_edge"])) for value in values)
    return tuple(Measurement(float(np.median(some)), some, bool(known.edge)) for some in (known.log_lr, known.value, known.train))


def _of_row(row: dict, key: str) -> tuple[Measurement, ...]:
    """Return learning rate, metric and train metric, as far as a row of a table of optima tells."""
    random, edge = _random(key), bool(row["at_edge"])
    half = GRID_STEP.get(row["benchmark"], 1.0) / 2
    low, high = math.log2(row["lr_low"]) - half, math.log2(row["lr_high"]) + half
    found = [Measurement(math.log2(row["lr"]), random.uniform(low, high, NUM_DRAWS), edge)]
    for mean, sd in ((row["mean"], row["sd"]), (row["train_mean"], row["train_sd"])):
        error = sd / math.sqrt(row["num_kept"])
        known = math.isfinite(error) and row["num_kept"] > 1
        found.append(Measurement(mean, mean + error * random.standard_t(row["num_kept"] - 1, NUM_DRAWS) if known else None, edge))
    return tuple(found)


def _stable(runs: pd.DataFrame, key: str) -> Measurement | None:
    """Find the largest learning rate at which enough runs completed: anywhere from there to the next at which too few did.

    At the edge if there is none. Runs that are missing may yet complete.
    """
    runs = runs[is_settled(runs)]
    keep, completed = runs["keep"].groupby(runs["lr"]).first(), (runs["status"] == COMPLETED).groupby(runs["lr"]).sum()
    if not (enough := completed >= keep).any():
        return None
    stable = keep.index[enough].max()
    following = keep.index[keep.index > stable].min()  # NaN if there is none
    if math.isnan(following):
        return Measurement(math.log2(stable), None, True)
    low, high = math.log2(stable), math.log2(following)
    return Measurement((low + high) / 2, _random(f"{key}/stable").uniform(low, high, NUM_DRAWS), False)


def _random(key: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(key.encode()))
