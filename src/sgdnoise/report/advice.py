"""What the report begins with: which batch size and learning rate to use, by benchmark."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pandas as pd

from sgdnoise import figures
from sgdnoise.analysis.advice import Advice, OptimizerAdvice, Row
from sgdnoise.analysis.recommend import recommend
from sgdnoise.analysis.wording import amount, basis, columns, entries, sentences, title
from sgdnoise.report.tables import Entry, Table, number, text
from sgdnoise.study.config import Config


def advice(cells: pd.DataFrame, config: Config) -> list[dict[str, Any]]:
    """Return what the page shows of the advice on each benchmark that has a constant epoch budget."""
    if not any("constant_epoch" in entry for entry in config["benchmarks"].values()):
        return []
    return [
        {
            "benchmark": one.benchmark,
            "table": advice_table(one),
            "doublings": doublings_table(one),
            "sentences": [sentence for own in one.optimizers for sentence in sentences(own, one)],
            "widen": [row.widen for own in one.optimizers for row in own.rows if row.widen and not one.imported],
            "basis": basis(one),
        }
        for one in recommend(cells, config)
    ]


def advice_table(one: Advice) -> Table:
    """Return a row per optimizer and batch size."""
    rows = [shown(row, own, one) for own in one.optimizers for row in own.rows]
    return Table(f"{one.benchmark}: {title(one)}", ["optimizer", *columns(one)], rows)


def shown(row: Row, own: OptimizerAdvice, one: Advice) -> list[Entry]:
    """Show a row, each column sorted by its number if it has one."""
    orders = (row.batch_size, row.lr, row.lr and row.lr * (1 - own.momentum), row.metric, row.loss)
    numbers = [
        number(float("nan") if order is None else order).order
        for order in (*orders, row.examples_per_second, row.seconds_per_run)
    ]
    *values, word = entries(row, own, one)
    by_number = [Entry(value, order) for value, order in zip(values, numbers, strict=True)]
    return [text(figures.optimizer_label(own.optimizer)), *by_number, text(word)]


def doublings_table(one: Advice) -> Table:
    """Return a row per optimizer and step to the next larger batch size: what a doubling of the batch costs and saves there."""
    rows = []
    for own in (its for its in one.optimizers if not its.unread):
        for before, after in pairwise([row for row in own.rows if row.metric is not None]):
            num_doublings = math.log2(after.batch_size / before.batch_size)
            better = 1 if one.direction == "max" else -1
            assert before.metric is not None
            assert after.metric is not None
            loss = better * (before.metric - after.metric) / num_doublings
            rows.append(
                [
                    text(figures.optimizer_label(own.optimizer)),
                    number(before.batch_size),
                    number(after.batch_size),
                    Entry(amount(loss, one), loss),
                    *(
                        factor(getattr(before, name), getattr(after, name), num_doublings)
                        for name in ("seconds_per_run", "examples_per_second")
                    ),
                ]
            )
    unit = " (points)" if one.is_accuracy else ""
    columns = [
        "optimizer",
        "from batch size",
        "to",
        f"loss of {one.metric.replace('_', ' ')}{unit}",
        "time of a run",
        "examples/s",
    ]
    return Table(
        f"{one.benchmark}: what each doubling of the batch costs, as measured; intervals are in the table of losses",
        columns,
        rows,
    )


def factor(before: float | None, after: float | None, num_doublings: float) -> Entry:
    """Show by what a doubling multiplies a number that is known at both ends of some."""
    if not before or not after:
        return number(math.nan)
    value = (after / before) ** (1 / num_doublings)
    return Entry(f"{value:.2f} times", value)
