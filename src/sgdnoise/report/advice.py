"""What the report begins with: which batch size and learning rate to use, by benchmark."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sgdnoise import figures
from sgdnoise.analysis.advice import Advice, OptimizerAdvice, Row
from sgdnoise.analysis.recommend import recommend
from sgdnoise.analysis.wording import basis, columns, entries, sentences, title
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
            "sentences": [sentence for own in one.optimizers for sentence in sentences(own, one)],
            "widen": [row.widen for own in one.optimizers for row in own.rows if row.widen],
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
