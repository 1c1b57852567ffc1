"""Runs that were made elsewhere, as the tables of a study: what was tuned at which batch size, under one budget of epochs."""

from __future__ import annotations

import json
import pprint
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise.results.columns import directed, diverged, ended, fractions, named, one_budget, optimizer_words, positive, whole
from sgdnoise.results.exports import METRIC
from sgdnoise.results.run import COMPLETED, DIVERGED
from sgdnoise.study import budgets
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import grid_part, validate
from sgdnoise.study.optimizers import PAPERS

WORDS = {"max": "where larger", "min": "where smaller"}
IMPORTED = "imported"  # the data set of such a study, and what its runs are made by
AGAIN = "_again"  # a test metric in the place of a train metric that is not there


@dataclass
class Imported:
    """A study of imported runs: its table of cells, its frozen config as JSON, the file that has its PROTOCOL, and what to say of it."""

    cells: pd.DataFrame
    grid: str
    file: str
    notes: list[str] = field(default_factory=list)


def as_study(
    runs: pd.DataFrame,
    name: str,
    folder: str,
    num_train: int,
    epochs: int | None,
    maximize: list[str],
    ratio: float | None = None,
    minimize: Collection[str] = (),
) -> Imported:
    """Make a study of runs, a row each by role, that will lie in `folder`; every run has as many `epochs`.

    Learning rates become effective ones. With a `ratio` they are rounded to a grid of that factor, so that those of a random search
    that fall together count as seeds. Metrics are to `maximize` or to `minimize`, or else their name says which.
    """
    runs, notes = ended(runs)
    if not (metrics := sorted(filter(re.compile(METRIC).fullmatch, map(str, runs)), key=lambda one: not one.startswith("test_"))):
        raise ValueError("no metric: write --columns test_accuracy=NAME, or another test_NAME, with the column that has it")
    if not metrics[0].startswith("test_"):
        raise ValueError(f"no test metric: learning rates are selected by one; write --columns test_NAME=... beside {metrics[0]}")
    directions = directed(metrics, maximize, minimize)
    notes.append(
        f"metrics: {', '.join(f'{one} is better {WORDS[way]}' for one, way in directions.items())}; or say --maximize, --minimize"
    )
    lost, few = diverged(runs, metrics)
    values, percent = fractions(runs.loc[~lost, metrics])
    notes += [*few, *percent]
    budget = one_budget(runs, epochs)
    said = named(runs, "optimizer", "sgd")
    words = optimizer_words(said)
    runs = runs.assign(
        optimizer=said.map(words).str.lower(),
        batch_size=whole(runs["batch_size"], "batch_size"),
        **values.reindex(runs.index),
    )
    momentum = runs["optimizer"].map(lambda one: PAPERS[one].momentum if one in PAPERS else 0.0)
    rates = positive(runs["lr"], "lr") / (1 - momentum)
    point = ["optimizer", "batch_size", "lr"]
    runs = numbered(runs.assign(lr=[float(lr_string(one)) for one in rates] if ratio is None else rates), point)
    if ratio is not None:
        rates = np.exp(np.round(np.log(rates) / np.log(ratio)) * np.log(ratio))
        runs = runs.assign(lr=[float(lr_string(one)) for one in rates])
        runs = runs.assign(seed=runs.groupby(point).cumcount())
    if len(metrics) == 1:  # figures and tables have two: it stands there twice, and says so
        again = f"{metrics[0]}{AGAIN}"
        runs[again], directions[again] = runs[metrics[0]], directions[metrics[0]]
    num = runs.groupby(point)["seed"].transform("size")
    file, protocol = protocol_file(name, num_train, directions, runs["lr"])
    seconds = runs.get("seconds", pd.Series(np.nan, runs.index))
    positive(seconds.dropna(), "seconds")
    steps = runs["batch_size"].map(lambda size: budgets.num_steps(f"epochs{budget}", int(size), protocol))
    cells = pd.DataFrame(
        {
            "benchmark": name,
            "optimizer": runs["optimizer"],
            "budget": f"epochs{budget}",
            "batch_size": runs["batch_size"],
            "lr": runs["lr"],
            "num_train": num_train,
            "num_steps": steps,
            "num_epochs": steps * runs["batch_size"] / num_train,  # a little less where they are not whole
            "modes": "constant_epoch",
            "keep": num_kept(num),
            "bound": np.nan,
            "examples_per_second": num_train * budget / seconds,
            "device_seconds": seconds,
            "device": "a device that is not recorded",
            "started": "",
            "made_by": IMPORTED,
            "seed": runs["seed"],
            "status": np.where(lost, DIVERGED, COMPLETED),
            **{metric: runs[metric] for metric in directions},
        }
    ).sort_values([*point, "seed"], ignore_index=True)
    config = study_config(cells, name, folder, int(num.max()), {one.lower(): one for one in words.values()})
    return Imported(cells, config, file, [*notes, *gaps(cells)])


def num_kept(num: Any) -> Any:
    """Return how many of the runs of a learning rate count, so that one that fails does not decide: the paper's 5 of 7, rounded up.

    >>> [num_kept(num) for num in (1, 2, 3, 4, 6, 7)]
    [1, 2, 3, 3, 5, 5]
    """
    return -(-5 * num // 7)


def numbered(runs: pd.DataFrame, point: list[str]) -> pd.DataFrame:
    """Give the runs of a point their numbers as seeds, if no column does. A ValueError if a run is there twice."""
    if "seed" not in runs or runs["seed"].isna().all():
        return runs.assign(seed=runs.groupby(point).cumcount())
    runs = runs.assign(seed=whole(runs["seed"], "seed", least=0))
    if (twice := runs[runs.duplicated([*point, "seed"], keep=False)]).size:
        first = ", ".join(
            f"{key} {twice.iloc[0][key]:g}" if key != "optimizer" else str(twice.iloc[0][key]) for key in [*point, "seed"]
        )
        raise ValueError(f"{len(twice)} runs are there twice, the first with {first}; remove one, or the column of seeds")
    return runs


def protocol_file(name: str, num_train: int, directions: dict[str, str], lrs: pd.Series) -> tuple[str, dict[str, Any]]:
    """Write the file that says what the tables of a study are about, and return what it says."""
    steps = np.diff(np.log(np.sort(lrs.unique())))
    if not len(steps):
        raise ValueError("all runs have one learning rate, so that none can be the best; import runs at several")
    protocol = {
        "title": f"{name}, imported runs",
        "dataset": IMPORTED,
        "num_train": num_train,
        "num_test": 1,
        "lr_grid": {"anchor": float(lrs.mode().iloc[0]), "ratio": round(float(np.clip(np.exp(np.median(steps)), 1.01, 1000)), 4)},
        "metrics": directions,
        "labels": {
            one: f"{one.removesuffix(AGAIN).replace('_', ' ')} again: no train metric"
            for one in directions
            if one.endswith(AGAIN)
        },
        "settings": {},
    }
    words = '"""What the tables beside this file are about: runs that were imported. There is nothing to train."""\n\nPROTOCOL = '
    return f"{words}{pprint.pformat(protocol, sort_dicts=False)}\n", protocol


def study_config(cells: pd.DataFrame, name: str, folder: str, num: int, said: dict[str, str]) -> str:
    """Write the config that would have made the runs, as `freeze` writes it."""
    ends = cells.groupby(["optimizer", "batch_size"])["lr"].agg(["min", "max"])
    windows: dict[str, Any] = {"epochs": int(cells["budget"].iloc[0].removeprefix("epochs"))}
    for (optimizer, size), (low, high) in zip(ends.index, ends.to_numpy().tolist(), strict=True):
        windows.setdefault(str(optimizer), {})[str(size)] = [low, high]
    entry = {
        "file": str(Path(folder) / f"{name}.py"),
        "seeds": {"num": num, "keep": num_kept(num)},
        "constant_epoch": windows,
    }
    own = {one: {"class": word} for one, word in said.items() if one not in PAPERS}
    config = {"results": folder, "benchmarks": {name: entry}} | ({"optimizers": own} if own else {})
    return json.dumps(json.loads(grid_part(validate(config))) | {"frozen": True}, sort_keys=True) + "\n"


def gaps(cells: pd.DataFrame) -> list[str]:
    """Say what is missing for an answer: seeds, learning rates, batch sizes."""
    notes = []
    num = cells.groupby(["optimizer", "batch_size", "lr"]).size()
    if (num == 1).all():
        notes.append(
            "seeds: one run at each learning rate, so how much runs differ is unknown, and no batch size is free or costs"
        )
        if len(num) > 8 * cells["batch_size"].nunique():
            notes.append("learning rates of a random search: with --round-lr 1.5 those that are close count as seeds")
    elif (single := sorted(num[num == 1].index.get_level_values("batch_size").unique())) and (num > 1).any():
        notes.append(f"seeds: one run at some learning rates of batch size {', '.join(map(str, single))}")
    lrs = cells.groupby(["optimizer", "batch_size"])["lr"].nunique()
    notes += [f"learning rates: one alone with {one} at batch size {size}" for one, size in lrs[lrs == 1].index]
    if cells["batch_size"].nunique() < 3:
        notes.append(
            f"batch sizes: {cells['batch_size'].nunique()}, and it takes three to tell where the learning rate stops growing"
        )
    if cells["device_seconds"].isna().all():
        notes.append("times: no column of seconds, so nothing is said of speed")
    return notes
