"""How a person reads what `recommend` advises: a table and sentences; and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math

from sgdnoise.analysis.advice import Advice, Gain, OptimizerAdvice, Row
from sgdnoise.analysis.estimate import LEVEL
from sgdnoise.analysis.losses import COSTS, FREE, MOST_SEEDS, OPEN
from sgdnoise.study.optimizers import label


def as_json(advice: list[Advice]) -> str:
    """Write advice for programs; what is not known is null."""

    def known(value: object) -> object:
        if isinstance(value, dict):
            return {key: known(one) for key, one in value.items()}
        if isinstance(value, list):
            return [known(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(known([dataclasses.asdict(one) | {"text": text(one)} for one in advice]), indent=2)


def text(advice: Advice) -> str:
    """Write the advice on a benchmark for a person to read."""
    blocks = [f"{advice.benchmark}: {title(advice)}"]
    for one in advice.optimizers:
        rows = [row for row in one.rows if one.asked in (None, row)]
        if rows or one.asked is None:
            blocks.append(f"{label(one.optimizer)}\n{aligned([columns(advice), *(entries(row, one, advice) for row in rows)])}")
        if one.asked and not rows:
            blocks.append(f"{label(one.optimizer)} at batch size {one.asked.batch_size}: {asked(one)}")
        blocks.append("\n".join([*sentences(one, advice), *(f"    {row.widen}" for row in widening(one) if not advice.imported)]))
    return "\n\n".join([*blocks, basis(advice)])


def title(advice: Advice) -> str:
    """Say what is compared."""
    return f"{advice.metric.replace('_', ' ')} after {advice.num_epochs:g} epochs, at every batch size"


def basis(advice: Advice) -> str:
    """Say what the advice rests on."""
    seeds = sorted({row.num_seeds for one in advice.optimizers for row in one.rows if row.num_seeds})
    lrs = sorted({row.num_lrs for one in advice.optimizers for row in one.rows if row.num_lrs})
    margin = f"{100 * advice.margin:g} points" if advice.is_accuracy else f"{100 * advice.margin:g} % of the best value"
    return (
        f"It rests on {span(seeds)} seed{'s' * (seeds != [1])} at each of {span(lrs)} learning rates per batch size, a budget of "
        f"{advice.num_epochs:g} epochs, on {', '.join(advice.devices) or 'an unknown device'}; time and speed as measured there. Margin "
        f"(--margin): {margin}. Losses are against the best batch size measured with that optimizer; the {100 * LEVEL:g} % intervals of its "
        f"losses hold together. {rates(advice)}"
    )


def rates(advice: Advice) -> str:
    """Say what the learning rates are."""
    others = [label(one.optimizer) for one in advice.optimizers if not one.is_sgd]
    if len(others) == len(advice.optimizers):
        return "Learning rates are torch's own."
    return (
        "Learning rates are effective ones, eps / (1 - momentum)" + f"; of {', '.join(others)} torch's own" * bool(others) + "."
    )


def columns(advice: Advice) -> list[str]:
    """Name the columns of the table."""
    metric = advice.metric.replace("_", " ")
    unit = " (points)" if advice.is_accuracy else ""
    names = ["batch size", f"learning rate ({100 * LEVEL:g} %)", "torch's own", metric, f"loss{unit}"]
    return [*names, "examples/s", "s per run", "word"]


def entries(row: Row, one: OptimizerAdvice, advice: Advice) -> list[str]:
    """Write a row of the table."""
    return [
        str(row.batch_size),
        rate(row),
        torch_options(row, one),
        "" if row.metric is None else f"{100 * row.metric:.1f} %" if advice.is_accuracy else f"{row.metric:.4g}",
        "" if row.loss is None else f"{amount(row.loss, advice)} ({between(row, advice)})",
        "" if row.examples_per_second is None else f"{row.examples_per_second:,.0f}",
        "" if row.seconds_per_run is None else f"{row.seconds_per_run:.3g}",
        word(row, advice),
    ]


def rate(row: Row) -> str:
    """Write a learning rate with its interval."""
    if row.lr is None:
        return "unknown"
    if row.lr_low is None or row.lr_high is None:
        return short(row.lr)
    return f"{short(row.lr)} ({short(row.lr_low)} to {short(row.lr_high)})"


def torch_options(row: Row, one: OptimizerAdvice) -> str:
    """Write what torch's optimizer is given."""
    if row.lr is None:
        return ""
    return f"lr={short(row.lr * (1 - one.momentum))}" + f", momentum={one.momentum:g}" * (one.momentum > 0)


def amount(loss: float, advice: Advice) -> str:
    """Write a loss: that of an accuracy in points."""
    return short(loss * (100 if advice.is_accuracy else 1))


def short(value: float) -> str:
    """Write a number with two digits, from 10 to ten million as a whole one.

    >>> short(0.0256), short(4.0), short(99.5), short(250), short(-0.0), short(1.2e36)
    ('0.026', '4', '100', '250', '0', '1.2e+36')
    """
    return f"{value + 0.0:.0f}" if 10 <= abs(value) < 1e7 else f"{value + 0.0:.2g}"


def between(row: Row, advice: Advice) -> str:
    """Write the interval of a loss."""
    assert row.loss_low is not None
    assert row.loss_high is not None
    return span_of(row.loss_low, row.loss_high, advice)


def span_of(low: float, high: float, advice: Advice) -> str:
    """Write an interval; an infinite end is none."""
    return f"{amount(low, advice)} {f'to {amount(high, advice)}' if math.isfinite(high) else 'or more'}"


def word(row: Row, advice: Advice) -> str:
    """Write the word of a batch size, or why it has none."""
    unit = " points" if advice.is_accuracy else ""
    if row.word == COSTS:
        return f"costs {between(row, advice)}{unit}"
    if row.word != OPEN:
        return row.word or row.note
    assert row.loss_high is not None
    may = (
        f"may cost up to {amount(row.loss_high, advice)}{unit}"
        if math.isfinite(row.loss_high)
        else "nothing bounds what it may cost"
    )
    will = f"no number of seeds up to {MOST_SEEDS} would decide it at the loss and noise measured, from which the true ones may differ"
    if row.more_seeds:
        time = f", {duration(row.seconds)}" if row.seconds is not None and math.isfinite(row.seconds) else ""
        will = f"{row.more_seeds} more seed{'s' * (row.more_seeds > 1)} would probably decide{time}"
    elif row.note:
        will = row.note
    return f"not decided: {may}; {will}"


def duration(seconds: float) -> str:
    """Write a time of one device.

    >>> duration(12.0), duration(720.0), duration(8000.0), duration(math.nan)
    ('about 12 seconds', 'about 12 minutes', 'about 2.2 hours', 'time not measured')
    """
    if math.isnan(seconds):
        return "time not measured"
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    return f"about {seconds / 60:.0f} minutes" if seconds < 5400 else f"about {seconds / 3600:.1f} hours"


def sentences(one: OptimizerAdvice, advice: Advice) -> list[str]:
    """Say what to do, what momentum gains, and which windows to widen."""
    found = [action(one, advice)]
    if gains := [gain for gain in one.gains if one.asked is None or gain.batch_size == one.asked.batch_size]:
        found.append(over_sgd(gains, one, advice))
    remedy = f"make runs at learning rates {', '.join(row.widen for row in widening(one))}"
    if edges := [str(row.batch_size) for row in widening(one) if row.lr is not None]:
        found.append(
            f"At batch size {', '.join(edges)} with {label(one.optimizer)} the optimum may lie beyond the learning rates "
            "trained: it may cost less than shown, not more; the other batch sizes may then cost more. "
            f"To see, {remedy if advice.imported else 'widen its window in the config'}."
        )
    elif advice.imported and widening(one):
        found.append(f"{remedy[0].upper()}{remedy[1:]}.")
    return found


def widening(one: OptimizerAdvice) -> list[Row]:
    """List the rows shown whose optimum may lie beyond the learning rates trained, or below them as runs diverged at all."""
    return [row for row in one.rows if row.widen and one.asked in (None, row)]


def action(one: OptimizerAdvice, advice: Advice) -> str:
    """Say in a sentence which batch size and learning rate to use, and what the next larger one costs."""
    name = label(one.optimizer)
    margin = f"{amount(one.margin, advice)}{' points' * advice.is_accuracy}"
    free = [row for row in one.rows if row.word == FREE]
    judged = [row for row in one.rows if row.word]
    if not judged:
        return f"{name}: no batch size can be said to be free or to cost: {one.rows[0].note}."
    if free:
        used = next((row for row in one.rows if row.batch_size == one.free_up_to), free[-1])
        why = f"it costs at most {margin} against the best measured"
        others = [str(row.batch_size) for row in free if row is not used]
        if others:
            why += f", as do{'es' * (len(others) == 1)} {', '.join(others)} at a learning rate of {'its' if len(others) == 1 else 'their'} own"
        if one.free_up_to is None:
            why += f", though this is not shown of the smallest, {one.rows[0].batch_size}"
    else:
        used = min(judged, key=lambda row: row.loss or 0.0)
        why = f"the best measured, though none is shown to be free within {margin}"
    assert used.lr is not None
    larger = [row for row in one.rows if row.batch_size > used.batch_size]
    beyond = f"{larger[0].batch_size}: {word(larger[0], advice)}" if larger else "larger ones were not measured"
    rates = f"at learning rate {short(used.lr)} (torch: {torch_options(used, one)})"
    return f"Use batch size {used.batch_size} with {name} {rates}: {why}; {beyond}."


def asked(one: OptimizerAdvice) -> str:
    """Say which learning rate to use at a batch size that was not trained, or why this is not known."""
    row = one.asked
    assert row
    if row.lr is None:
        return f"no advice: {row.note}."
    return f"learning rate {rate(row)} (torch: {torch_options(row, one)}). {row.note[:1].upper()}{row.note[1:]}."


def over_sgd(gains: list[Gain], own: OptimizerAdvice, advice: Advice) -> str:
    """Say at which batch sizes an optimizer is shown to be better or worse than SGD, and by how much."""
    unit = " points" if advice.is_accuracy else ""

    def listed(some: list[Gain], sign: int) -> str:
        ends = ((gain, sorted((sign * gain.low, sign * gain.high))) for gain in some)
        return ", ".join(f"{span_of(low, high, advice)}{unit} at {gain.batch_size}" for gain, (low, high) in ends)

    def most(end: float) -> str:
        return f"{amount(end, advice)}{unit}" if math.isfinite(end) else "any amount"

    better, worse = [gain for gain in gains if gain.low > 0], [gain for gain in gains if gain.high < 0]
    rest = [gain for gain in gains if gain not in better and gain not in worse]
    parts = [f"better by {listed(better, 1)}"] * bool(better) + [f"worse by {listed(worse, -1)}"] * bool(worse)
    if rest:
        ends = (f"{most(-one.low)} worse and {most(one.high)} better at {one.batch_size}" for one in rest)
        parts.append(f"not decided: between {', between '.join(ends)}")
    return f"{label(own.optimizer)} against SGD at the same batch size: {'; '.join(parts)}."


def span(numbers: list[int]) -> str:
    """Write a number, or the range of some.

    >>> span([3]), span([3, 5, 7]), span([])
    ('3', '3 to 7', 'no')
    """
    return "no" if not numbers else str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def aligned(rows: list[list[str]]) -> str:
    """Write rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip() for row in rows)
