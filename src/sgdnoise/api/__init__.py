"""What a notebook calls: read a study's runs, select their optima, ask for advice, draw.

`import sgdnoise` alone loads none of it; sgdnoise.read_cells and the others do when they are first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis import advice, estimate, wording
from sgdnoise.analysis import optimum as paper_rule
from sgdnoise.analysis import recommend as own
from sgdnoise.analysis.estimate import POINT
from sgdnoise.analysis.extend import load_settled
from sgdnoise.results.collect import collect_cells
from sgdnoise.results.imported import AGAIN
from sgdnoise.results.tables import read_table
from sgdnoise.study.config import Config, load_config
from sgdnoise.study.grid import MODES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = {mode: mode for mode in MODES} | {"regimes": "constant_epoch", "lr_sweep": "constant_epoch"}  # and their budget mode


class Recommendation(list[advice.Advice]):
    """The advice on each benchmark, which is shown as `sgdnoise recommend` prints it."""

    def __repr__(self) -> str:
        return "\n\n\n".join(map(wording.text, self))


def read_cells(study: str | Path) -> pd.DataFrame:
    """Return the runs of a study, a row per seed, with its config in `attrs["study"]`.

    `study` is a results folder, that of `sgdnoise import` too, which has cells.csv and grid.json; or a config, whose cells are then
    gathered from their files, with those that `extend_grid` and `decide` added. Accuracies are fractions; losses are nats per example, or per token. A ValueError names what is missing.
    """
    path = Path(study)
    if not path.exists():
        raise ValueError(f"cannot read the config {path}, nor is there a results folder of that name; name one that is there")
    if path.is_dir():
        cells, config = read_table(path / "cells.csv"), load_config(path / "grid.json")
    else:
        config = load_settled(path)
        cells = collect_cells(config)
    cells.attrs["study"] = config
    return cells


def study_of(cells: pd.DataFrame) -> Config:
    """Return the config that runs belong to. A ValueError if there are none, or if one is there twice, which would count as two seeds."""
    if "study" not in cells.attrs:
        raise ValueError('these runs do not say which study they are of: read them with read_cells, or set attrs["study"]')
    if cells.empty:
        raise ValueError("there are no runs: the table has no rows; see what was left out of what read_cells returned")
    if num := int(cells.duplicated([*POINT, "lr", "seed"]).sum()):
        raise ValueError(
            f"{num} runs are there twice, with one seed at one learning rate; keep one of each, as drop_duplicates does"
        )
    config: Config = cells.attrs["study"]
    return config


def optimum(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row per budget mode, batch size or budget, and metric: the optimal learning rate by the paper's rule, and its estimate.

    `lr` is the best of the grid and `mean` the metric there, over the best `keep` runs; `fit_lr` the optimum by a curve through the
    sweep, with its 95 % interval; `at_edge` says that the learning rates trained do not enclose it.
    """
    table = paper_rule.optimum_table(cells, study_of(cells))
    table = table[~table["metric"].str.endswith(AGAIN)].reset_index(drop=True)
    return estimate.with_estimates(table, cells)


def recommend(
    cells: pd.DataFrame,
    benchmark: str | None = None,
    batch_size: int | None = None,
    margin: float | None = None,
    extrapolate: bool = False,
) -> Recommendation:
    """Return the advice on batch size and learning rate that runs under a constant epoch budget give, for each benchmark.

    `margin` is a loss that counts as none: a difference of accuracies (0.005), or a share of other metrics (0.01). With a
    `batch_size`, its learning rate alone, interpolated if it was not trained.
    """
    return Recommendation(own.recommend(cells, study_of(cells), benchmark, batch_size, margin, extrapolate))


def figure(
    cells: pd.DataFrame, name: str = "constant_epoch", benchmark: str | None = None, batch_sizes: Sequence[int] = ()
) -> Figure:
    """Return a figure of one benchmark, by default the first: constant_epoch, constant_step, unlimited, regimes or lr_sweep.

    `batch_sizes` are those of lr_sweep, by default all. What needs more than the runs, noise_scale for example, `sgdnoise figure` draws.
    """
    from sgdnoise import figures

    config = study_of(cells)
    if name not in FIGURES:
        raise ValueError(f"figure {name!r}: from runs alone these can be drawn: {', '.join(FIGURES)}")
    benchmark = benchmark or str(cells["benchmark"].iloc[0])
    if benchmark not in config["benchmarks"]:
        raise ValueError(f"{benchmark!r} is not in this study; it has: {', '.join(config['benchmarks'])}")
    runs = cells[cells["benchmark"] == benchmark]
    if not runs["modes"].str.split().map(lambda modes: FIGURES[name] in modes).any():
        raise ValueError(f"figure {name!r}: this study has no runs of {benchmark} under {FIGURES[name]}")
    protocol: dict[str, Any] = benchmarks.protocol(benchmark, config["benchmarks"][benchmark].get("file"))
    protocol = protocol | {"title": protocol["title"].format(num_train=runs["num_train"].iloc[0])}
    style = {"lr_sweep": list(batch_sizes)} if batch_sizes else {}
    optima = paper_rule.optimum_table(runs, config)
    if name in MODES:  # the others draw estimates of their own
        optima = estimate.with_estimates(optima, runs)
    return figures.draw(name, {"cells": runs, "optimum": optima}, benchmark, protocol, style)
