"""Advise on batch size and learning rate from one's own sweep under a constant epoch budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral
from typing import NamedTuple

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.advice import Advice, Gain, OptimizerAdvice, Row
from sgdnoise.analysis.estimate import LEVEL, interval
from sgdnoise.analysis.looks import look_at
from sgdnoise.analysis.losses import OPEN, Point, deciding_seeds, losses, point, simultaneous, stacked
from sgdnoise.analysis.optimum import is_imported, lr_statistics, select, wider_window
from sgdnoise.analysis.regimes import constant_epoch_runs
from sgdnoise.analysis.sweep import unread
from sgdnoise.results.run import COMPLETED, MISSING
from sgdnoise.study import budgets
from sgdnoise.study import optimizers as known_optimizers
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import Config

MARGIN = {True: 0.005, False: 0.01}  # our choices, by: is it an accuracy? Half a point, or 1 % of the best value
UNKNOWN = "the noise is unknown: one run counts per cell"


class Known(NamedTuple):
    """The runs of one optimizer by batch size, and what is known of those of which anything is."""

    runs: dict[int, pd.DataFrame]
    points: dict[int, Point]


def recommend(
    cells: pd.DataFrame,
    config: Config,
    benchmark: str | None = None,
    batch_size: int | None = None,
    margin: float | None = None,
    extrapolate: bool = False,
    plan: bool = True,
) -> list[Advice]:
    """Return the advice on every benchmark, or one, of a study; `plan` looks for the seeds that would decide what is not.

    With a batch size, learning rates are interpolated between those measured; beyond them that is an error unless `extrapolate`.
    """
    if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
        raise ValueError(f"batch size {batch_size!r}: give a positive whole number")
    if margin is not None and not 0 < margin < 1:
        raise ValueError(
            f"margin {margin:g}: give a number between 0 and 1: a difference of accuracies, or a share of other metrics"
        )
    if benchmark is not None and benchmark not in config["benchmarks"]:
        raise ValueError(f"{benchmark!r} is not in this study; it has: {', '.join(config['benchmarks'])}")
    runs = constant_epoch_runs(cells)
    if benchmark is not None:
        runs = runs[runs["benchmark"] == benchmark]
    if runs.empty:
        where = f"benchmarks.{benchmark}" if benchmark else "a benchmark"
        raise ValueError(f"no runs under a constant epoch budget to advise from; add constant_epoch to {where} of the config")
    found = [advise(some, str(name), config, margin, plan) for name, some in runs.groupby("benchmark", sort=False)]
    if batch_size is None:
        return [advice for advice, _ in found]
    refused = [reason for advice, known in found for reason in ask(advice, known, batch_size, extrapolate)]
    if not any(one.asked and one.asked.lr for advice, _ in found for one in advice.optimizers):
        raise ValueError(f"no advice for batch size {batch_size}: {'; '.join(refused)}")
    return [advice for advice, _ in found]


def advise(runs: pd.DataFrame, name: str, config: Config, margin: float | None, plan: bool) -> tuple[Advice, dict[str, Known]]:
    """Return the advice on one benchmark from its runs, and what is known of each optimizer."""
    protocol = benchmarks.protocol(name, config["benchmarks"][name].get("file"))
    metric, direction = next(iter(protocol["metrics"].items()))
    if metric not in runs:  # by another file of that name
        raise ValueError(f"{name}: the runs have no {metric}, which its benchmark has here; run it in the folder of the study")
    share = MARGIN[metric.endswith("accuracy")] if margin is None else margin
    known = {}
    for optimizer in known_optimizers.ordered(set(runs["optimizer"])):
        by_size = {int(str(size)): some for size, some in runs[runs["optimizer"] == optimizer].groupby("batch_size")}
        points = {size: point(some, metric, direction) for size, some in by_size.items()}
        known[optimizer] = Known(by_size, {size: one for size, one in points.items() if one})
    optimizers = []
    for optimizer, own in known.items():
        rows = [row_of(size, some, own.points.get(size), metric, direction, config) for size, some in own.runs.items()]
        best = min((np.median(one.trained) for one in own.points.values()), default=math.nan)
        absolute = share if metric.endswith("accuracy") else share * abs(float(best))
        level = 1 - look_at(name, config).level(1 - LEVEL)
        compared = [row for row in rows if row.batch_size in own.points]
        some = runs[(runs["optimizer"] == optimizer) & runs["batch_size"].isin(own.points)]
        if note := unread(some) or unmoved(some[metric]):
            for row in compared:
                row.note = f"not compared: {note}"
        else:
            judge(compared, own, metric, direction, absolute, level, plan)
        gains = list(gains_over(known["sgd"], own, level)) if optimizer != "sgd" and "sgd" in known else []
        its = known_optimizers.of(config, optimizer)
        advised = OptimizerAdvice(
            optimizer, its.is_sgd, its.momentum if its.is_sgd else 0.0, absolute, rows, free_up_to(rows), gains, note
        )
        optimizers.append(advised)
    trained = runs[runs["status"] != MISSING]
    devices = sorted(map(str, trained["device"].dropna().unique()))
    num_epochs = max(budgets.parse(str(one)).amount for one in runs["budget"].unique())  # fewer with gradient_evaluations: equal
    budget, imported = str(runs["budget"].iloc[0]), is_imported(name, config)
    return Advice(name, metric, direction, budget, num_epochs, share, devices, optimizers, imported), known


def unmoved(values: pd.Series) -> str:
    """Say that a metric is the same in every run, if it is; then it compares nothing. Else ""."""
    if values.nunique() != 1:
        return ""
    return f"{values.name} is {values.max():g} in every run, so it does not tell them apart; look at how it is computed"


def row_of(size: int, runs: pd.DataFrame, known: Point | None, metric: str, direction: str, config: Config) -> Row:
    """Return what is known of a batch size by itself: by the estimate, or without one by the paper's rule."""
    trained = runs[runs["status"] != MISSING]
    completed = trained[trained["status"] == COMPLETED]
    by_lr = completed.groupby("lr")
    usable = by_lr["seed"].size()[by_lr["seed"].size() >= by_lr["keep"].first()].index
    row = Row(size, num_seeds=int(trained.groupby("lr").size().median()) if len(trained) else 0, num_lrs=trained["lr"].nunique())
    for name, column, middle in (
        ("examples_per_second", "examples_per_second", "median"),
        ("seconds_per_run", "device_seconds", "mean"),
    ):
        if math.isfinite(value := float(completed[column].agg(middle))):
            setattr(row, name, value)
    if known is None:
        chosen = select(lr_statistics(runs, metric, direction, metric), direction)
        row.lr, row.metric = (value if math.isfinite(value) else None for value in (float(chosen["lr"]), float(chosen["mean"])))
        row.note = (
            "not trained"
            if trained.empty
            else f"too few runs completed, {len(completed)} of {len(trained)}"
            + "; begin at lower learning rates" * chosen["at_edge"]
            if usable.empty
            else UNKNOWN
            if len(usable) > 1 or completed["keep"].max() == 1
            else "only one learning rate at which enough runs completed: where the optimum is, is unknown"
        )
        if usable.empty and chosen["at_edge"]:
            row.widen = widened(runs, size, [chosen["edge"]], config)
        return row
    low, high = (float(np.clip(2**end, usable.min(), usable.max())) for end in interval(known.known.log_lr, LEVEL))
    row.lr, row.lr_low, row.lr_high = float(np.clip(2 ** np.median(known.known.log_lr), low, high)), low, high
    row.metric = float(np.median(known.trained)) * (1 if direction == "min" else -1)
    if edge := known.known.edge:
        row.widen = widened(trained, size, edge.split(), config)
    return row


def widened(trained: pd.DataFrame, size: int, edges: list[str], config: Config) -> str:
    """Write the config's line for a batch size with a window that goes one learning rate beyond the ends named; of imported runs those ends."""
    name, optimizer = trained["benchmark"].iloc[0], trained["optimizer"].iloc[0]
    if is_imported(name, config):
        ends = {"low": f"below {lr_string(trained['lr'].min())}", "high": f"above {lr_string(trained['lr'].max())}"}
        return f"{' and '.join(ends[edge] for edge in edges)} at batch size {size}"
    start, end = config["benchmarks"][name]["constant_epoch"][optimizer][str(size)]
    key = f"benchmarks.{name}.constant_epoch.{optimizer}.{size}"
    return f"{key}: {wider_window(key, min(start, trained['lr'].min()), max(end, trained['lr'].max()), edges, config)}"


def judge(rows: list[Row], own: Known, metric: str, direction: str, margin: float, level: float, plan: bool) -> None:
    """Add losses and words to the rows of one optimizer of which something is known, and what would decide those that are open."""
    if len(rows) < 2:
        for row in rows:
            row.note = "no other batch size to compare it with"
        return
    found = losses([own.points[row.batch_size] for row in rows], margin, level)
    for row, one in zip(rows, found, strict=True):
        row.loss, row.loss_low, row.loss_high, row.word = one.loss, one.low, one.high, one.word
        if one.word == OPEN:
            row.note = widening_first(row, [other for other, its in zip(rows, found, strict=True) if its.best], own)
    if not plan or all(one.word != OPEN for one in found):
        return
    num_seeds = max(row.num_seeds for row in rows)
    seeds = deciding_seeds([own.runs[row.batch_size] for row in rows], metric, direction, margin, level, num_seeds)
    for row, one, more in zip(rows, found, seeds, strict=True):
        if one.word == OPEN and more:
            where = [other for other, its in zip(rows, found, strict=True) if its.best or other is row]
            row.more_seeds = more
            row.more_at = {other.batch_size: own.points[other.batch_size].known.used for other in where}
            row.seconds = more * sum(num_used(other, own) * (other.seconds_per_run or math.nan) for other in where)


def widening_first(row: Row, best: list[Row], own: Known) -> str:
    """Say which windows hide what a batch size costs: its own, and those of others that may be the best, of which nothing bounds the gain."""
    hidden = [other.batch_size for other in best if other is not row and own.points[other.batch_size].unbounded]
    if not hidden:
        return "a wider window of learning rates comes first" if row.widen else ""
    sizes = sorted([*hidden, row.batch_size]) if row.widen else hidden
    return f"a wider window of learning rates at batch size {', '.join(map(str, sizes))} comes first"


def num_used(row: Row, own: Known) -> int:
    """Return how many learning rates an estimate rests on: more seeds are foreseen at these."""
    return int(own.runs[row.batch_size]["lr"].drop_duplicates().between(*own.points[row.batch_size].known.used).sum())


def deciding_points(cells: pd.DataFrame, config: Config, margin: float) -> Iterator[tuple[tuple, tuple[float, float]]]:
    """Yield the points of the grid whose seeds would decide what advice leaves open, with the learning rates that want them."""
    if constant_epoch_runs(cells).empty:
        return
    for advice in recommend(cells, config, margin=margin):
        for one in advice.optimizers:
            for size, used in (pair for row in one.rows for pair in row.more_at.items()):
                yield (advice.benchmark, one.optimizer, advice.budget, size), used


def free_up_to(rows: list[Row]) -> int | None:
    """Return the largest batch size up to which all, from the smallest, are free."""
    found = None
    for row in rows:
        if row.word != "free":
            break
        found = row.batch_size
    return found


def gains_over(sgd: Known, own: Known, level: float) -> Iterator[Gain]:
    """Compare an optimizer with SGD at every batch size that both have, by intervals that hold together in `level` of studies.

    An end that an optimum beyond its window leaves open is infinite.
    """
    shared = [size for size in own.points if size in sgd.points]
    if not shared:
        return
    (value, trained), (sgd_value, sgd_trained) = (stacked([one.points[size] for size in shared]) for one in (own, sgd))
    low, high = simultaneous(sgd_value - trained, sgd_trained - value, level)
    middle = np.median(sgd_trained - trained, axis=0)
    low[[sgd.points[size].unbounded for size in shared]] = -np.inf
    high[[own.points[size].unbounded for size in shared]] = np.inf
    for size, *numbers in zip(shared, middle, low, high, strict=True):
        yield Gain(size, *map(float, numbers))


def ask(advice: Advice, known: dict[str, Known], batch_size: int, extrapolate: bool) -> Iterator[str]:
    """Answer for one batch size: its own row, or a learning rate on the line between its neighbours; yield why there is none."""
    for one in advice.optimizers:
        own = known[one.optimizer]
        one.asked = next((row for row in one.rows if row.batch_size == batch_size), None)
        if one.asked is None:
            try:
                one.asked = between(batch_size, own.points, extrapolate)
            except ValueError as error:
                one.asked = Row(batch_size, note=str(error))
                yield f"{advice.benchmark}, {one.optimizer}: {error}"
        elif one.asked.lr is None:
            yield f"{advice.benchmark}, {one.optimizer}: {one.asked.note}"


def between(batch_size: int, points: dict[int, Point], extrapolate: bool) -> Row:
    """Return a row whose learning rate is on the line, in logarithms, through the two batch sizes measured next to it."""
    sizes = sorted(points)
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} batch sizes with a known optimum, it takes two")
    inside = sizes[0] <= batch_size <= sizes[-1]
    if not inside and not extrapolate:
        raise ValueError(f"measured at batch sizes {sizes[0]} to {sizes[-1]} only; train more, or allow --extrapolate")
    first = int(np.clip(np.searchsorted(sizes, batch_size) - 1, 0, len(sizes) - 2))
    left, right = sizes[first], sizes[first + 1]
    share = math.log(batch_size / left) / math.log(right / left)
    log_lr = (1 - share) * points[left].known.log_lr + share * points[right].known.log_lr
    low, high = interval(log_lr, LEVEL)
    how = "interpolated between" if inside else "EXTRAPOLATED beyond what was measured, by a line through"
    note = f"nothing was trained here: learning rate {how} batch sizes {left} and {right}"
    if edges := [str(size) for size in (left, right) if points[size].known.edge]:
        note += f"; at {' and '.join(edges)} the optimum may lie beyond the learning rates trained"
    return Row(batch_size, 2.0 ** float(np.median(log_lr)), 2.0**low, 2.0**high, note=note)
