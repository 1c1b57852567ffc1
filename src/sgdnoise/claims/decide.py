"""Say what would probably decide the claims that are undetermined, and how long it takes.

Where an optimum may lie beyond its window: the line that widens it. Where noise is in the way: as many seeds more as `foresight` finds
enough, at the learning rates that the estimates rest on. The time is what the runs took that are there.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.advice import Advice as BatchAdvice
from sgdnoise.analysis.advice import OptimizerAdvice, Row
from sgdnoise.analysis.estimate import POINT, Estimate, estimate
from sgdnoise.analysis.looks import look_at
from sgdnoise.analysis.optimum import wider_window
from sgdnoise.analysis.wording import duration, word
from sgdnoise.claims import foresight
from sgdnoise.claims.measurements import Key, Measurement, measure, swept_of
from sgdnoise.claims.verdicts import EDGE, MISSING, NOISE, UNFAIR, UNKNOWN, UNREAD, UNSCALED, Decided, conclude, keys_of
from sgdnoise.results.run import COMPLETED
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import Config
from sgdnoise.study.grid import window_key
from sgdnoise.study.text import read_alike

ENOUGH = 2  # our choice: seeds more where there is one, to know the spread


class Advice(NamedTuple):
    """What would decide a claim: in words, in seconds of one device (NaN if not measured), and as lines for the config."""

    text: str = ""
    seconds: float = np.nan
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A study's config, with its tables cells.csv and optimum.csv, and what is known of its quantities.

    `foreseen` keeps what `measure` foresees of a point, by the number of seeds more.
    """

    config: Config
    cells: pd.DataFrame
    optimum: pd.DataFrame
    found: dict[Key, Measurement]
    foreseen: dict[tuple, dict[Key, Measurement]] = field(default_factory=dict)

    @functools.cached_property
    def points(self) -> dict[Hashable, pd.DataFrame]:
        """The runs of each point of the grid."""
        return dict(iter(self.cells.groupby(POINT)))

    def rows_of(self, key: Key) -> pd.DataFrame:
        """Return the rows of optimum.csv of a quantity's point in its budget mode."""
        rows = self.optimum[(self.optimum[["benchmark", "mode", "optimizer"]] == list(key[:3])).all(axis=1)]
        return rows[[swept_of(row) == key[3] for row in rows.to_dict("records")]]

    def metric_of(self, key: Key) -> pd.Series:
        """Return of these rows that of the metric for which the quantity's learning rate is optimal."""
        return self.rows_of(key).iloc[1 if key[4] in ("best_train", "train_lr") else 0]

    def runs_of(self, key: Key) -> pd.DataFrame:
        """Return the runs of a quantity's point."""
        return self.points[tuple(self.rows_of(key).iloc[0][POINT])]


def advice_columns(decided: list[Decided], study: Study) -> pd.DataFrame:
    """Return columns for claims.csv: `decide` in words, `decide_seconds` of one device, `decide_lines` of the config."""
    advice = [advise(one, study) for one in decided]
    columns = {
        "decide": [one.text for one in advice],
        "decide_seconds": [one.seconds for one in advice],
        "decide_lines": ["; ".join(one.lines) for one in advice],
    }
    return pd.DataFrame(columns)


def advise(decided: Decided, study: Study) -> Advice:
    """Say what would decide one claim; nothing if it is decided, lacks cells or never will be."""
    verdict, _ = conclude(decided.outcomes, decided.claim, decided.role)
    if verdict != "undetermined" or (decided.claim.doubt and decided.role == "paper"):
        return Advice()
    states = {outcome.state for outcome in decided.outcomes}
    if decided.role == "conjecture":
        return Advice(conjecture_advice(decided))
    if UNREAD in states:
        return Advice(f"a text of which every batch size reads as much: {read_alike(decided.benchmark, study.config)}")
    if EDGE in states:
        return wider(decided, study)
    if UNKNOWN in states:
        return known_noise(decided, study)
    return more_seeds(decided, study) if NOISE in states and MISSING not in states else Advice()


def conjecture_advice(decided: Decided) -> str:
    """Say in words what would decide a conjecture; the optimizers of one are all given the same, so no line is for one of them alone."""
    remedies = {
        EDGE: "widen the windows, or the coefficients, of all optimizers about",
        UNSCALED: "in the PROTOCOL name a metric first that is an error or a fraction; it then decides",
        UNFAIR: "give as many seeds and learning rates to all optimizers about",
        NOISE: "more seeds, as many for each, about",
    }
    open_ = {state: [one.contrast.label for one in decided.outcomes if one.state == state] for state in remedies}
    return "; ".join(f"{remedies[state]}: {', '.join(labels)}" for state, labels in open_.items() if labels)


def open_keys(decided: Decided, *states: str) -> list[Key]:
    """List the quantities in the contrasts that have one of the states, each once."""
    contrasts = [one.contrast for one in decided.outcomes if one.state in states]
    return list(dict.fromkeys(key for one in contrasts for key in keys_of(one, decided.claim, decided.benchmark).values()))


# More seeds


def more_seeds(decided: Decided, study: Study) -> Advice:
    """Say how many seeds more would decide a claim that noise leaves open."""
    keys = open_keys(decided, NOISE)
    tried = (*foresight.LADDER, foresight.ALL)
    ahead = (study.found | {name: one for key in keys for name, one in foresee(key, more, study).items()} for more in tried)
    more, low, high, chance, coarse = foresight.foresight(
        decided, study.found, ahead, look_at(decided.benchmark, study.config).last
    )
    if np.isinf(more):
        labels = "; ".join(one.contrast.label for one in decided.outcomes if one.state == NOISE)
        why = (
            f"learning rates are {finer(decided.benchmark, study.config)}"
            if coarse
            else "value lies too near the end of what agrees for its noise"
        )
        return Advice(
            f"{foresight.LADDER[-1]} seeds more would decide with a probability of {chance:.2f} only: {labels}: its {why}"
        )
    last = f"over {foresight.LADDER[-1]}" if np.isinf(high) else f"{high:.0f}"
    return seeds_advice(keys, int(more), f" ({low:.0f} to {last}, as the effect is uncertain)", study)


def finer(benchmark: str, config: Config) -> str:
    """Write the line of the config that puts a learning rate between every two, beside those that are trained."""
    ratio = benchmarks.in_study(benchmark, config["benchmarks"][benchmark])["lr_grid"]["ratio"]
    return f"too far apart, or too few: benchmarks.{benchmark}.lr_ratio: {np.sqrt(ratio):.9g} halves their steps; no run is trained again"


def chance(decided: Decided, more: int, study: Study) -> float:
    """Return the probability that so many seeds more decide a claim, as far as its effect is known."""
    keys = open_keys(decided, NOISE, EDGE)
    then, last = (
        study.found | {name: one for key in keys for name, one in foresee(key, seeds, study).items()}
        for seeds in (more, foresight.ALL)
    )
    return foresight.predictive(decided, study.found, then, last, look_at(decided.benchmark, study.config).last)


def foresee(key: Key, more: int, study: Study) -> dict[Key, Measurement]:
    """Measure the point of a quantity as if it had so many seeds more."""
    if (*key[:4], more) not in study.foreseen:
        study.foreseen[*key[:4], more] = measure(study.rows_of(key), study.runs_of(key), more)
    return study.foreseen[*key[:4], more]


def seeds_advice(keys: list[Key], more: int, note: str, study: Study, everywhere: bool = False) -> Advice:
    """Advise more seeds at the points of some quantities: at the learning rates that their estimates rest on, or at all."""
    spans: dict[tuple, tuple[float, float]] = {}
    for key in keys:
        cover(spans, key[:4], span(key, study, everywhere))
    lines, total = [], 0.0
    where: dict[str, list[str]] = {}
    for point, (low, high) in spans.items():
        runs = study.runs_of((*point, ""))
        lines.append(seeds_line(runs.iloc[0].to_dict(), low, high, more))
        total += more * runs[runs["lr"].between(low, high)].groupby("lr")["device_seconds"].mean().sum(skipna=False)
        where.setdefault(f"{point[2]} at lr {lr_string(low)} to {lr_string(high)}", []).append(str(point[3]))
    listed = "; ".join(f"{', '.join(swept)} of {name}" for name, swept in where.items())
    return Advice(f"+{more} seed{'s' * (more > 1)}{note}: {listed}: {duration(total)}", total, tuple(lines))


def cover(spans: dict[tuple, tuple[float, float]], point: tuple, ends: tuple[float, float]) -> None:
    """Widen the learning rates of a point, from the lowest to the highest, so that they cover these too."""
    low, high = spans.get(point, ends)
    spans[point] = min(low, ends[0]), max(high, ends[1])


def span(key: Key, study: Study, everywhere: bool) -> tuple[float, float]:
    """Return the lowest and the highest of the learning rates that the estimate of a quantity rests on, or of all."""
    runs = study.runs_of(key)
    known = None if everywhere else estimate_of(key, study)
    return known.used if known else (runs["lr"].min(), runs["lr"].max())


def estimate_of(key: Key, study: Study) -> Estimate | None:
    """Estimate the optimum that a quantity belongs to."""
    metric, names = study.metric_of(key), list(study.rows_of(key)["metric"])
    return estimate(study.runs_of(key), metric["metric"], metric["direction"], names[min(1, len(names) - 1)])


# Noise that is not known, windows that are too narrow


def known_noise(decided: Decided, study: Study) -> Advice:
    """Advise seeds where one run counts: before, nobody can say how many decide."""
    keys = [key for key in open_keys(decided, UNKNOWN) if study.found[key].draws is None]
    many = [key for key in keys if study.runs_of(key).groupby("lr").size().max() > 1]
    if many:
        points = ", ".join(f"{key[2]} {key[3]}" for key in many)
        return Advice(f"too few learning rates complete to know the noise ({points}): widen their windows downwards")
    return seeds_advice(keys, ENOUGH, ", and then the noise is known", study, everywhere=True)


def wider(decided: Decided, study: Study) -> Advice:
    """Advise wider windows for the optima that the present ones do not enclose."""
    ends: dict[tuple[str, str, str, int], set[str]] = {}
    for key in open_keys(decided, EDGE):
        if study.found[key].edge:
            ends.setdefault(key[:4], set()).update(open_ends(key, study))
    lines, total = [], 0.0
    for point, names in ends.items():
        line, seconds = widened(point, names, study)
        lines.append(line)
        total += seconds
    return Advice(f"widen {'; '.join(lines)}: {duration(total)}; then look again", total, tuple(lines))


def open_ends(key: Key, study: Study) -> list[str]:
    """Name the ends of a point's window beyond which the optimum, or the largest learning rate that completes, may be."""
    if key[4] == "stable_lr":
        return ["high"]
    known, edge = estimate_of(key, study), study.metric_of(key)["edge"]
    return (known.edge if known else "" if pd.isna(edge) else edge).split()  # an empty text is read as NaN


def widened(point: tuple[str, str, str, int], ends: set[str], study: Study) -> tuple[str, float]:
    """Return the config's line that widens a window by a learning rate at some of its ends, and the seconds that this takes."""
    benchmark, mode, optimizer, _ = point
    rows, runs = study.rows_of((*point, "")), study.runs_of((*point, ""))
    entry = study.config["benchmarks"][benchmark]
    swept = window_key(mode, rows["budget"].iloc[0], rows["batch_size"].iloc[0])
    key = f"benchmarks.{benchmark}.{mode}.{optimizer}.{swept}"
    seconds = len(ends) * entry["seeds"]["num"] * runs.loc[runs["status"] == COMPLETED, "device_seconds"].mean()
    low, high = entry[mode][optimizer][swept]
    return f"{key}: {wider_window(key, low, high, ends, study.config)}", seconds


def listed(claims: pd.DataFrame, regimes: pd.DataFrame, advice: list[BatchAdvice]) -> list[str]:
    """Write what would decide what claims.csv, the advice and regimes.csv leave open: the cheapest first, then what has no time."""
    found = []
    for one in claims.dropna(subset="decide").to_dict("records"):
        lines = one["decide_lines"].split("; ") if isinstance(one["decide_lines"], str) else []
        found.append((one["decide_seconds"], f"claim {one['claim']} ({one['role']}), {one['benchmark']}: {one['decide']}", lines))
    found += [of_row(row, its, one) for one in advice for its in one.optimizers for row in its.rows if row.more_at or row.widen]
    found.sort(key=lambda one: one[0] if np.isfinite(one[0]) else np.inf)
    texts = [line for _, text, lines in found for line in [text, *(f"    {line}" for line in lines)]]
    for one in regimes.dropna(subset="decide").to_dict("records"):
        texts.append(f"regimes, {one['benchmark']}, {one['optimizer']}, {one['metric']}: {one['decide']}")
    return texts or ["everything is decided, or lacks cells that `needs` in claims.csv names"]


def of_row(row: Row, its: OptimizerAdvice, one: BatchAdvice) -> tuple[float, str, list[str]]:
    """Return seconds, words and lines of the config for a batch size of which the advice is open."""
    lines = [row.widen] if row.widen else []
    for size, (low, high) in row.more_at.items():
        point = dict(zip(POINT, (one.benchmark, its.optimizer, one.budget, size), strict=True))
        lines.append(seeds_line(point, low, high, row.more_seeds or 0))
    what = f"advice, {one.benchmark}, {its.optimizer}, batch size {row.batch_size}"
    return (row.seconds if row.seconds is not None else np.nan), f"{what}: {word(row, one)}", lines


def seeds_line(point: Mapping[Any, object], low: float, high: float, more: int) -> str:
    """Write the override that adds seeds at a point's learning rates from `low` to `high`."""
    named = ", ".join(f"{name}: {point[name]}" for name in POINT)
    return f"overrides: {{{named}, lr: [{lr_string(low)}, {lr_string(high)}], add_seeds: {more}}}"
