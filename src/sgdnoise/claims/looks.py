"""Judge a study at each of its looks, and say where the next has more seeds: the rule of `decide`.

A claim is judged at every look, each time at the level that is spent there, and keeps the first verdict that decides it. Seeds
are added where one is still undecided for noise, or an optimum for noise not enclosed: at the learning rates that the estimates
of its open contrasts rest on, up to the next look's number, unless even `max_seeds` would hardly decide it (the predictive
probability is below FUTILE).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.estimate import POINT
from sgdnoise.analysis.extend import Read
from sgdnoise.analysis.looks import look_at
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.analysis.recommend import deciding_points
from sgdnoise.claims.conjectures import decide_conjectures
from sgdnoise.claims.decide import Study, chance, cover, estimate_of, open_keys, span
from sgdnoise.claims.measurements import Key, measure
from sgdnoise.claims.statements import to_decide
from sgdnoise.claims.verdicts import EDGE, MISSING, NOISE, UNKNOWN, Decided, conclude, decide_claims
from sgdnoise.results.collect import read_cells
from sgdnoise.results.run import read_run
from sgdnoise.study import grid, looks
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import Config
from sgdnoise.study.grid import whole_cells
from sgdnoise.study.looks import Override

FUTILE = 0.1  # our choice
LR = [*POINT, "lr"]


class Judged(NamedTuple):
    """What one look says of every claim."""

    study: Study
    decided: list[Decided]


def judge_looks(config: Config, cells: pd.DataFrame, optimum: pd.DataFrame | None = None) -> list[Judged]:
    """Judge a study at each look so far, the first one first, by all of its runs and, if there is one, its table of optima."""
    return [judge_look(one, runs_at(one, cells)) for one in earlier(config)] + [judge_look(config, cells, optimum)]


def earlier(config: Config) -> Iterator[Config]:
    """Yield the config as it was at each look before the present one."""
    for number in range(len(config["looks"])):
        yield config | {"looks": config["looks"][:number]}


def runs_at(config: Config, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that a study had at a look, as its table then."""
    had = pd.DataFrame([vars(cell) for cell in whole_cells(config)])
    had = had.assign(lr=had["lr"].astype(float), last=had["seeds"].str.split("-").str[1].astype(int))
    kept = cells.drop(columns="keep").merge(had[[*LR, "keep", "last"]], on=LR)
    return kept[kept["seed"] <= kept["last"]].drop(columns="last")


def judge_look(config: Config, cells: pd.DataFrame, optimum: pd.DataFrame | None = None) -> Judged:
    """Judge a study as it is at one look."""
    optimum = optimum_table(cells, config) if optimum is None else optimum
    found = measure(optimum, cells)
    levels = {name: look_at(name, config) for name in config["benchmarks"]}
    decided = decide_claims(optimum, siblings(config), found, levels) + decide_conjectures(optimum, cells, found, config, levels)
    return Judged(Study(config, cells, optimum, found), decided)


def siblings(config: Config) -> dict[str, str]:
    """Map each benchmark of a study to the paper's that it stands for, if any."""
    protocols = {name: benchmarks.protocol(name, entry.get("file")) for name, entry in config["benchmarks"].items()}
    return {name: protocol["sibling_of"] for name, protocol in protocols.items() if "sibling_of" in protocol}


def first_verdicts(judged: list[Judged]) -> list[tuple[Decided, int]]:
    """Return each claim at the look that first decided it, or at the last, with the number of the look from 1."""
    found = []
    for claim in zip(*(one.decided for one in judged), strict=True):
        number = next((index for index, one in enumerate(claim) if is_decided(one)), len(claim) - 1)
        found.append((claim[number], number + 1))
    return found


def is_decided(one: Decided) -> bool:
    """Tell whether a claim has a verdict."""
    return conclude(one.outcomes, one.claim, one.role)[0] != "undetermined"


def next_look(config: Config, cells: pd.DataFrame) -> list[Override]:
    """List the overrides that give a study the seeds of its next look; none if nothing is left that seeds may decide."""
    wanted: dict[tuple, tuple[float, float]] = {}  # the lowest and the highest learning rate, by point
    judged, names = judge_looks(config, cells), to_decide(config)
    study = judged[-1].study
    for one, _ in first_verdicts(judged):
        if one.claim.name in names and not is_decided(one):
            for key in keys_to_add(one, study):
                row = study.rows_of(key).iloc[0]
                cover(wanted, tuple(row[POINT]), span(key, study, everywhere=study.found[key].draws is None))
    if (margin := config["decide"].get("margin")) is not None:
        for point, ends in deciding_points(cells, config, margin):
            cover(wanted, point, ends)
    return [line for point, ends in wanted.items() for line in overrides(point, ends, config, cells)]


def replayed(config: Config, read: Read = read_run) -> Config:
    """Look again at a study whose windows are settled, by the cells in its results folder alone; return it with what looks added."""
    while config["decide"] is not None and len(config["looks"]) < looks.most(config):
        cells = read_cells(grid.cells(config), [Path(config["results"])], allow_missing=False, read=read)
        if not (added := next_look(config, cells)):
            break
        config = config | {"looks": [*config["looks"], added]}
    return config


def keys_to_add(one: Decided, study: Study) -> list[Key]:
    """List the quantities of an undecided claim that more seeds may decide."""
    keys = open_keys(one, NOISE, UNKNOWN, EDGE)
    if any(outcome.state == MISSING for outcome in one.outcomes) or (one.claim.doubt and one.role == "paper"):
        return []
    if any(study.found[key].edge and not within(key, study) for key in keys):
        return []
    if not any(outcome.state == UNKNOWN for outcome in one.outcomes):
        look = look_at(one.benchmark, study.config)
        if look == look.last or chance(one, look.last.seeds - look.seeds, study) < FUTILE:
            return []
    return keys


def within(key: Key, study: Study) -> bool:
    """Tell whether an optimum that may lie beyond the learning rates trained more probably lies between them: seeds will tell."""
    known = None if key[4] == "stable_lr" else estimate_of(key, study)
    return known is not None and max(known.below, known.above) < 0.5


def overrides(point: tuple, ends: tuple[float, float], config: Config, cells: pd.DataFrame) -> Iterator[Override]:
    """Yield the lines that give a point's learning rates the seeds of the next look: one for neighbours that lack as many."""
    runs = cells[(cells[POINT] == list(point)).all(axis=1) & cells["lr"].between(*ends)]
    lacking = look_at(point[0], config).next.seeds - runs.groupby("lr").size()
    for more, some in groupby(zip(lacking.index.tolist(), lacking.tolist(), strict=True), key=lambda one: one[1]):
        lrs = [float(lr_string(lr)) for lr, _ in some]
        if more > 0:
            named = dict(zip(POINT, point, strict=True)) | {"batch_size": int(point[-1])}
            yield named | {"lr": [lrs[0], lrs[-1]], "add_seeds": more}
