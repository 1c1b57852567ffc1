"""The gap between a small and a large batch at equal updates, and what share of it each regulariser recovers, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise.analysis.estimate import LEVEL, interval
from sgdnoise.analysis.gap import share_recovered
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.claims.arms import best_at, coefficients
from sgdnoise.claims.measurements import measure
from sgdnoise.study.arms import compared
from sgdnoise.study.config import Config

MODE = "constant_step"


def gap_table(cells: pd.DataFrame, config: Config, benchmark: str) -> pd.DataFrame:
    """Return the rows of one benchmark: of each base the `small` and the `large` batch, of each regulariser every `coefficient` and the `best`.

    `value` is the test metric at the optimal learning rate, lower is better (an accuracy counts as its error), with its 95 % interval
    `value_low`, `value_high`; so are `coefficient` and, of the best, `share`: NaN where the gap itself is not decided. `edge` names what is
    not enclosed, "lr" or an end of the coefficients.
    """
    runs = cells[cells["benchmark"] == benchmark]
    optimum = optimum_table(runs, config)
    found = measure(optimum, runs)
    swept: dict[str, list[int]] = {}
    for _, mode, optimizer, size, quantity in found:
        if (mode, quantity) == (MODE, "error"):
            swept.setdefault(optimizer, []).append(size)
    bases = compared(swept, config)
    rows = []
    for base in dict.fromkeys(bases.values()):
        ends = {"small": min(swept[base]), "large": max(swept[base])}
        plain = {kind: found[benchmark, MODE, base, size, "error"] for kind, size in ends.items()}
        for kind, one in plain.items():
            rows.append(
                {"arm": base, "kind": kind, "batch_size": ends[kind], **value_of(one.draws, one.value), "edge": "lr" * one.edge}
            )
        for arm in (name for name, its in bases.items() if its == base):
            for coefficient, name in coefficients(arm, ends["large"], swept).items():
                one = found[benchmark, MODE, name, ends["large"], "error"]
                about = {"arm": arm, "kind": "coefficient", "batch_size": ends["large"], "coefficient": coefficient}
                rows.append(about | value_of(one.draws, one.value) | {"edge": "lr" * one.edge})
            best = best_at(benchmark, MODE, arm, base, ends["large"], swept, found)
            if best is None:
                continue
            small, large = plain["small"].draws, plain["large"].draws
            shares = None if small is None or large is None else share_recovered(small, large, best.value)
            about = {"arm": arm, "kind": "best", "batch_size": ends["large"], "edge": best.edge}
            about |= between("coefficient", 2**best.log_coefficient) | value_of(best.value, np.nan)
            rows.append(about | (between("share", shares) if shares is not None else {}))
    first = runs.iloc[0]
    table = pd.DataFrame(
        rows,
        columns=[
            "arm",
            "kind",
            "batch_size",
            *(f"{name}{end}" for name in ("coefficient", "value", "share") for end in ("", "_low", "_high")),
            "edge",
        ],
    )
    steps = runs[runs["modes"].str.split().map(lambda modes: MODE in modes)]["num_steps"].iloc[0]
    return table.assign(benchmark=benchmark, num_train=first["num_train"], num_steps=steps)


def value_of(draws: np.ndarray | None, value: float) -> dict[str, float]:
    """Return the columns of a value; without draws its noise is not known."""
    return between("value", draws) if draws is not None else {"value": value}


def between(name: str, draws: np.ndarray) -> dict[str, Any]:
    """Return the columns of draws: their median and the ends of their interval."""
    low, high = interval(draws, LEVEL)
    return {name: float(np.median(draws)), f"{name}_low": low, f"{name}_high": high}


def said(table: pd.DataFrame) -> Iterator[str]:
    """Say what each regulariser recovers, and what its sweep does not enclose."""
    for row in table[table["kind"] == "best"].to_dict("records"):
        share = "the gap is not decided, so it has no shares"
        if row["share"] == row["share"]:
            share = f"{row['share']:.2f} [{row['share_low']:.2f}, {row['share_high']:.2f}] of the gap"
        edge = f"; not enclosed: {row['edge']}" * bool(row["edge"])
        yield f"{row['arm']} at {row['coefficient']:.3g}: {share}{edge}"
    unknown = table[(table["kind"] == "coefficient") & ~table["arm"].isin(table.loc[table["kind"] == "best", "arm"])]
    for arm in unknown["arm"].unique():
        yield f"{arm}: the noise is unknown, so it has no share; give more seeds, or lower learning rates where runs diverge"
