"""Runs that were made elsewhere, as the tables of a study: what was tuned at which batch size, under one budget of epochs."""

from __future__ import annotations

import json
import pprint
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise.results.exports import METRIC
from sgdnoise.results.run import COMPLETED, DIVERGED
from sgdnoise.study import budgets
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import grid_part, validate
from sgdnoise.study.optimizers import PAPERS

AGAIN = "_again"  # a test metric in the place of a train metric that is not there
ENDED = ("finished", "complete", "completed", "diverged")  # of a status, in whatever case; other runs are left out


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
) -> Imported:
    """Make a study of runs, a row each by role, that will lie in `folder`; every run has as many `epochs`.

    Learning rates become effective ones. With a `ratio` they are rounded to a grid of that factor, so that those of a random search
    that fall together count as seeds. A metric is better where it is smaller, unless it is an accuracy or one to `maximize`.
    """
    runs, notes = ended(runs)
    if not (metrics := sorted(filter(re.compile(METRIC).fullmatch, map(str, runs)), key=lambda one: not one.startswith("test_"))):
        raise ValueError("no metric: write --columns test_accuracy=NAME, or another test_NAME, with the column that has it")
    if not metrics[0].startswith("test_"):
        raise ValueError(f"no test metric: learning rates are selected by one; write --columns test_NAME=... beside {metrics[0]}")
    if unknown := set(maximize) - set(metrics):
        raise ValueError(f"--maximize {min(unknown)}: no such metric; there are: {', '.join(metrics)}")
    budget = one_budget(runs, epochs)
    named = runs.get("optimizer", pd.Series("sgd", runs.index)).fillna("sgd").astype(str)
    names = {one: re.sub(r"[^a-z]+", "_", one.lower()).strip("_") for one in named.unique()}
    runs = runs.assign(optimizer=named.map(names), batch_size=positive_whole(runs["batch_size"], "batch_size"))
    momentum = runs["optimizer"].map(lambda one: PAPERS[one].momentum if one in PAPERS else 0.0)
    rates = positive(runs["lr"], "lr") / (1 - momentum)
    if ratio is not None:
        rates = np.exp(np.round(np.log(rates) / np.log(ratio)) * np.log(ratio))
    runs = runs.assign(lr=[float(lr_string(one)) for one in rates])
    point = ["optimizer", "batch_size", "lr"]
    if "seed" not in runs or ratio is not None or runs["seed"].isna().all():
        runs["seed"] = runs.groupby(point).cumcount()
    if (twice := runs[runs.duplicated([*point, "seed"], keep=False)]).size:
        first = ", ".join(
            f"{key} {twice.iloc[0][key]:g}" if key != "optimizer" else str(twice.iloc[0][key]) for key in [*point, "seed"]
        )
        raise ValueError(f"{len(twice)} runs are there twice, the first with {first}; remove one, or the column of seeds")
    if len(metrics) == 1:  # figures and tables have two: it stands there twice, and says so
        metrics.append(f"{metrics[0]}{AGAIN}")
        runs[metrics[1]] = runs[metrics[0]]
    keep = runs.groupby(point)["seed"].transform("size")
    better = {one: one.removesuffix(AGAIN) in maximize or one.removesuffix(AGAIN).endswith("accuracy") for one in metrics}
    directions = {one: "max" if larger else "min" for one, larger in better.items()}
    file, protocol = protocol_file(name, num_train, directions, runs["lr"])
    seconds = runs.get("seconds", pd.Series(np.nan, runs.index))
    cells = pd.DataFrame(
        {
            "benchmark": name,
            "optimizer": runs["optimizer"],
            "budget": f"epochs{budget}",
            "batch_size": runs["batch_size"],
            "lr": runs["lr"],
            "num_train": num_train,
            "num_steps": [budgets.num_steps(f"epochs{budget}", int(size), protocol) for size in runs["batch_size"]],
            "num_epochs": float(budget),
            "modes": "constant_epoch",
            "keep": keep,
            "bound": np.nan,
            "examples_per_second": num_train * budget / seconds,
            "device_seconds": seconds,
            "device": "a device that is not recorded",
            "started": "",
            "made_by": "imported",
            "seed": runs["seed"].astype(int),
            "status": np.where(runs[metrics[0]].isna(), DIVERGED, COMPLETED),
            **{metric: runs[metric] for metric in metrics},
        }
    ).sort_values([*point, "seed"], ignore_index=True)
    config = study_config(cells, name, folder, int(keep.max()), {names[one]: one for one in names})
    return Imported(cells, config, file, [*notes, *gaps(cells, metrics[0])])


def ended(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out runs that did not end, and say how many."""
    if "status" not in runs:
        return runs, []
    status = runs["status"].astype(str).str.lower()
    kept, out = status.isin(ENDED), status[~status.isin(ENDED)].value_counts()
    if not kept.any():
        raise ValueError(f"none of the {len(runs)} runs has ended; their status is {', '.join(sorted(set(status)))}")
    return runs[kept], [f"{number} runs are left out, which are {word}" for word, number in out.items()]


def one_budget(runs: pd.DataFrame, epochs: int | None) -> int:
    """Return the epochs that every run has."""
    if epochs is not None:
        return epochs
    if "epochs" not in runs:
        raise ValueError("after how many epochs? Give --epochs N, or --columns epochs=NAME")
    found = positive_whole(runs["epochs"], "epochs").unique()
    if len(found) > 1:
        raise ValueError(
            f"runs of {', '.join(map(str, sorted(found)))} epochs: batch sizes compare under one; import them one by one"
        )
    return int(found[0])


def positive(values: pd.Series, role: str) -> pd.Series:
    """Return numbers; a ValueError if one is not above 0."""
    if (bad := values[~(values > 0)]).size:
        raise ValueError(f"{role}: {bad.iloc[0]} is not a positive number")
    return values


def positive_whole(values: pd.Series, role: str) -> pd.Series:
    """Return whole numbers; a ValueError if one is none, or not above 0."""
    if (bad := values[~(values > 0) | (values % 1 != 0)]).size:
        raise ValueError(f"{role}: {bad.iloc[0]} is not a whole number from 1")
    return values.astype(int)


def protocol_file(name: str, num_train: int, directions: dict[str, str], lrs: pd.Series) -> tuple[str, dict[str, Any]]:
    """Write the file that says what the tables of a study are about, and return what it says."""
    steps = np.diff(np.log(np.sort(lrs.unique())))
    if not len(steps):
        raise ValueError("all runs have one learning rate, so that none can be the best; import runs at several")
    protocol = {
        "title": f"{name}, imported runs",
        "dataset": "imported",
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
    windows: dict[str, Any] = {"epochs": int(cells["num_epochs"].iloc[0])}
    for (optimizer, size), (low, high) in zip(ends.index, ends.to_numpy().tolist(), strict=True):
        windows.setdefault(str(optimizer), {})[str(size)] = [low, high]
    entry = {"file": str(Path(folder) / f"{name}.py"), "seeds": {"num": num, "keep": num}, "constant_epoch": windows}
    own = {one: {"class": word} for one, word in said.items() if one not in PAPERS}
    config = {"results": folder, "benchmarks": {name: entry}} | ({"optimizers": own} if own else {})
    return json.dumps(json.loads(grid_part(validate(config))) | {"frozen": True}, sort_keys=True) + "\n"


def gaps(cells: pd.DataFrame, metric: str) -> list[str]:
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
    if (none := cells[metric].isna()).any():
        notes.append(f"{int(none.sum())} runs that ended have no {metric}: they count as diverged")
    if cells["device_seconds"].isna().all():
        notes.append("times: no column of seconds, so nothing is said of speed")
    return notes
