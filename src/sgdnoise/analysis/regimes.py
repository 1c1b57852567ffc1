"""Say where gradient noise gives way to curvature: fit the optimal learning rate against the batch size.

Below the break, the critical batch size, the optimal learning rate grows with the batch size; above it, curvature holds it
level (ICLR v5 sec. 3). `curves.py` has the models, `estimate.py` what is known of each optimum.

Three families, equally likely before the data are seen, are compared by their evidence: `constant`, `power`, and a break
(`broken`, `smooth`, `bent` alike). One is chosen if it is ODDS times as likely as the next, and if the slope of a line through all
batch sizes excludes LEAST_SLOPE (`constant`), or 0 (`power`); otherwise the sweep is `undecided`: not identifiable. Evidence alone
calls a quarter of the slopes of one half level where few batch sizes tell little. A break is called `smooth` or `bent` only if
that is ODDS times as likely as `broken`. Intervals hold 95 % of the curves by weight; an end that no batch size bounds is 0 or
infinite.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.curves import MODELS, Curves, Likelihood, draw_curves, likelihood, predict, with_optima
from sgdnoise.analysis.optimum import is_imported
from sgdnoise.analysis.sweep import Sweep, quantiles, sweep
from sgdnoise.study import budgets
from sgdnoise.study.cell import lr_window
from sgdnoise.study.config import Config

FAMILIES = {"constant": ("constant",), "power": ("power",), "break": ("broken", "smooth", "bent")}
UNDECIDED = "undecided"
ODDS = 3  # our choice: "positive" evidence on the scale of Kass and Raftery (1995)
MIN_POINTS = 3  # two batch sizes have a line through them whatever the truth
TWO_SLOPES = 4  # batch sizes: through fewer a break and both slopes can be laid whatever the truth
FACTORS = (2, 4, 8)  # our choice: how far beyond the batch sizes measured to look for those that would decide
WIDEST = 12  # our choice: learning rates of a window that is worth a proposal
LEAST_SLOPE = 0.5  # of a noise regime in the paper: the LSTM's (ICLR v5 fig. 7c); elsewhere it is 1


@dataclass(frozen=True)
class Fit:
    """Every model of one sweep with its probability, and the name of the one chosen, or `undecided`."""

    known: Likelihood
    curves: dict[str, Curves]
    probability: dict[str, float]
    model: str


def constant_epoch_runs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the constant epoch budget, but those with a regulariser whose coefficient is swept."""
    return cells[cells["modes"].str.split().map(lambda modes: "constant_epoch" in modes) & ~cells["optimizer"].str.contains("@")]


def fit_sweep(optima: Sweep) -> Fit | None:
    """Fit every model; None if the noise is known at fewer than MIN_POINTS batch sizes, or if they read unlike shares of a text."""
    is_known = np.array([one is not None for one in optima.known], bool)
    if is_known.sum() < MIN_POINTS or optima.unread:
        return None
    return fit_models(
        likelihood(np.log2(optima.batch_sizes[is_known]), [one for one in optima.known if one], optima.windows[is_known])
    )


def fit_models(known: Likelihood) -> Fit:
    """Fit every model to what is known of the optima, and choose one."""
    curves = {model: draw_curves(model, known) for model in MODELS}
    evidence = {model: curves[model].evidence / len(models) for models in FAMILIES.values() for model in models}
    probability = {model: evidence[model] / sum(evidence.values()) for model in MODELS}
    line = curves["power"]
    low, _, high = quantiles(line.below, line.weight)
    model = choose(probability, low, high)
    if model == "constant":  # a break may hide below the smallest batch sizes, but a slope of nothing is none
        broken = curves["broken"]
        curves["broken"] = replace(broken, weight=broken.weight * (broken.below >= LEAST_SLOPE))
    return Fit(known, curves, probability, model)


def choose(probability: dict[str, float], low: float, high: float) -> str:
    """Choose a model from the probabilities of all and the interval of the slope of a line through all batch sizes.

    >>> choose({"constant": 0.01, "power": 0.04, "broken": 0.6, "smooth": 0.3, "bent": 0.05}, 0.2, 0.6)
    'broken'
    >>> choose({"constant": 0.8, "power": 0.1, "broken": 0.05, "smooth": 0.03, "bent": 0.02}, -0.2, 0.6)
    'undecided'
    """
    first, second = ranked_families(probability)[:2]
    agrees = {"constant": low > -LEAST_SLOPE and high < LEAST_SLOPE, "power": low > 0 or high < 0, "break": True}
    if not agrees[first] or probability_of(probability, first) < ODDS * probability_of(probability, second):
        return UNDECIDED
    best = max(FAMILIES[first], key=probability.__getitem__)
    return "broken" if first == "break" and probability[best] < ODDS * probability["broken"] else best


def probability_of(probability: dict[str, float], family: str) -> float:
    """Add up the probabilities of a family's models."""
    return sum(probability[model] for model in FAMILIES[family])


def ranked_families(probability: dict[str, float]) -> list[str]:
    """List the families, the most probable first."""
    return sorted(FAMILIES, key=lambda family: -probability_of(probability, family))


def candidates(fit: Fit) -> list[str]:
    """Return the model chosen; of an undecided sweep the best models of the two families that it is between."""
    if fit.model != UNDECIDED:
        return [fit.model]
    return [max(FAMILIES[family], key=fit.probability.__getitem__) for family in ranked_families(fit.probability)[:2]]


def estimates(fit: Fit | None) -> dict[str, float]:
    """Return the break and the slopes below and above it, each with its interval.

    `power` has no break up to `break_low`, `constant` none of slope LEAST_SLOPE or more above `break_high`, and nothing is known of
    the break of an undecided sweep. The slope above is that of `bent`, so that it is not level by assumption; so are both of an
    undecided sweep. What a model does not have is NaN; so is the slope above a break of fewer than TWO_SLOPES batch sizes.
    """
    if fit is None:
        names = ("break", "slope_below", "slope_above")
        return {f"{name}{end}": np.nan for name in names for end in ("", "_low", "_high")}
    broken = fit.curves[fit.model if fit.model in FAMILIES["break"] else "broken"]
    low, middle, high = quantiles(broken.log_break, broken.weight)
    found = {
        "break": 2**middle if fit.model in FAMILIES["break"] else np.nan,
        "break_low": 2**low if low >= fit.known.x[1] and fit.model not in ("constant", UNDECIDED) else 0.0,
        "break_high": 2**high if high <= fit.known.x[-1] and fit.model not in ("power", UNDECIDED) else np.inf,
    }
    missing = (np.nan, np.nan, np.nan)
    source = {"power": fit.curves["power"], UNDECIDED: fit.curves["bent"]}.get(fit.model, broken)
    below = missing if fit.model == "constant" else quantiles(source.below, source.weight)
    source = fit.curves["power" if fit.model == "constant" else "bent"]
    has_above = fit.model == "constant" or (fit.model != "power" and len(fit.known.x) >= TWO_SLOPES)
    above = quantiles(source.above, source.weight) if has_above else missing
    for name, (low, middle, high) in (("slope_below", below), ("slope_above", above)):
        found |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return found


def obstacle(optima: Sweep) -> str:
    """Say why a sweep has no fit; "" if it has one."""
    if optima.unread:
        return f"not identifiable: {optima.unread}"
    num_known = sum(one is not None for one in optima.known)
    if num_known >= MIN_POINTS:
        return ""
    if len(optima.batch_sizes) >= MIN_POINTS and (optima.num_runs <= 1).all():
        return "not identifiable: one run counts per cell, so the noise is unknown"
    return f"not identifiable: fewer than {MIN_POINTS} batch sizes with two learning rates and two runs"


def summary(fit: Fit) -> str:
    """Say in a few words what a sweep shows."""
    found = estimates(fit)
    if fit.model == UNDECIDED:
        return "not identifiable from these runs"
    if fit.model == "power":
        limit = f"no break up to {found['break_low']:.0f}" if found["break_low"] else "a break is not excluded"
        return f"slope {found['slope_below']:.2f}, {limit}"
    if fit.model == "constant":
        limit = f"no break above {found['break_high']:.0f}" if np.isfinite(found["break_high"]) else "a break is not excluded"
        return f"level, {limit}"
    high = "?" if np.isinf(found["break_high"]) else f"{found['break_high']:.0f}"
    low = f"{found['break_low']:.0f}" if found["break_low"] else "?"
    return f"{fit.model} at {found['break']:.0f} ({low} to {high}), slope {found['slope_below']:.2f} below"


def regimes_table(cells: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return a row per benchmark, optimizer and metric of the constant epoch budget; none, but columns, without one."""
    rows = []
    for names, runs in constant_epoch_runs(cells).groupby(["benchmark", "optimizer", "budget"], sort=False):
        benchmark, optimizer, budget = map(str, names)
        protocol = benchmarks.in_study(benchmark, config["benchmarks"][benchmark])
        for metric, direction in protocol["metrics"].items():
            optima = sweep(runs, metric, direction)
            fit = fit_sweep(optima)
            decide = deciding_cells(fit, optima, key := f"benchmarks.{benchmark}.constant_epoch.{optimizer}", budget, protocol)
            if is_imported(benchmark, config):
                decide = decide.replace(f"{key}.", f"runs of {optimizer} at batch size ").replace(key, f"the runs of {optimizer}")
            rows.append(
                {
                    "benchmark": benchmark,
                    "optimizer": optimizer,
                    "budget": budget,
                    "metric": metric,
                    "num_points": len(optima.batch_sizes),
                    "num_censored": len(censored(optima)),
                    "model": fit.model if fit else UNDECIDED,
                    **estimates(fit),
                    **{f"probability_{model}": fit.probability[model] if fit else np.nan for model in MODELS},
                    "decide": decide,
                }
            )
    return pd.DataFrame(rows, columns=None if rows else ["benchmark", "optimizer", "budget", "metric", "model", "decide"])


def censored(optima: Sweep) -> list[int]:
    """List the batch sizes whose optimum may lie beyond the learning rates trained, or cannot be told as too few runs completed."""
    open_ended = [bool(one.edge) if one else edge != 0 for one, edge in zip(optima.known, optima.edge, strict=True)]
    return optima.batch_sizes[np.array(open_ended, bool)].tolist()


def deciding_cells(fit: Fit | None, optima: Sweep, key: str, budget: str, protocol: dict[str, Any]) -> str:
    """Say which cells would decide what the sweep leaves open, as lines of the config; "" if it leaves nothing open.

    An undecided sweep is asked for the fewest batch sizes beyond those measured, the nearest first, with which either of the
    two families that it is between would be chosen, were the optima there as it expects and known as well as the median of those
    measured.
    """
    if optima.unread:
        return f"{obstacle(optima)}; `sgdnoise plan` says of how many words all read the same"
    if fit is None:
        need = "more seeds" if "one run counts" in obstacle(optima) else "batch sizes"
        return f"{obstacle(optima)}; add {need} to {key}, {MIN_POINTS} batch sizes with two learning rates and two runs at least"
    found = estimates(fit)
    advice = []
    smaller, larger = ([size for size in sizes if is_trainable(size, budget, protocol)] for sizes in beyond(optima))
    if fit.model == UNDECIDED:
        models = candidates(fit)
        near = [size for pair in itertools.zip_longest(larger, smaller) for size in pair if size]
        sd = float(np.median([one.log_lr.std() for one in optima.known if one]))
        enough = next((near[:num] for num in range(1, len(near) + 1) if would_decide(fit, models, near[:num], sd)), [])
        lines = [config_line(fit, models, size, protocol) for size in enough]
        added = (
            ", ".join(f"{key}.{line}" for line in lines) if all(lines) and lines else "more seeds, or batch sizes further away"
        )
        advice.append(f"{' or '.join(models)}: add {added}")
    else:
        for side, sizes, is_open in (
            ("upper", larger, np.isinf(found["break_high"])),
            ("lower", smaller, found["break_low"] == 0),
        ):
            if is_open and not sizes:
                advice.append(f"no {side} limit of the break, and no batch size beyond that can be trained")
            elif is_open:
                line = config_line(fit, ["broken", fit.model if fit.model != "broken" else "power"], sizes[0], protocol)
                advice.append(f"no {side} limit of the break: add {f'{key}.{line}' if line else 'more seeds'}")
    if advice and (at_edge := censored(optima)):
        sizes_at_edge = ", ".join(map(str, at_edge))
        advice.insert(0, f"widen {key} at batch size {sizes_at_edge}, whose optimum may lie beyond the edge")
    return "; ".join(advice)


def beyond(optima: Sweep) -> tuple[list[int], list[int]]:
    """List the batch sizes below and above those measured that could decide, the nearest first."""
    smallest, largest = int(optima.batch_sizes[0]), int(optima.batch_sizes[-1])
    return [smallest // factor for factor in FACTORS], [largest * factor for factor in FACTORS]


def is_trainable(batch_size: int, budget: str, protocol: dict[str, Any]) -> bool:
    """Tell whether the budget has an update of this size, and the data have as many examples."""
    try:
        return 1 <= batch_size <= protocol["num_train"] and budgets.num_steps(budget, batch_size, protocol) >= 1
    except ValueError:
        return False


def would_decide(fit: Fit, models: list[str], batch_sizes: list[int], sd: float) -> bool:
    """Tell whether optima at more batch sizes, as each of the models expects them, would have its family chosen."""
    x = [float(np.log2(size)) for size in batch_sizes]
    for model in models:
        expected = [expected_log_lr(fit, model, one)[1] for one in x]
        then = fit_models(with_optima(fit.known, x, expected, sd)).model
        if not any(model in family and then in family for family in FAMILIES.values()):
            return False
    return True


def expected_log_lr(fit: Fit, model: str, x: float) -> tuple[float, float, float]:
    """Return the interval, with its median, of log2 lr that a model expects at log2 batch size x."""
    return quantiles(predict(fit.curves[model], x), fit.curves[model].weight)


def config_line(fit: Fit, models: list[str], batch_size: int, protocol: dict[str, Any]) -> str:
    """Write the config's line for a batch size: the window holds the intervals that the models expect, and a step more.

    Nothing if it has more than WIDEST learning rates: then so little is expected that seeds where there are runs say more.
    """
    expected = [expected_log_lr(fit, model, np.log2(batch_size)) for model in models]
    ratio = protocol["lr_grid"]["ratio"]
    low, high = 2.0 ** min(one[0] for one in expected), 2.0 ** max(one[2] for one in expected)
    lrs = lr_window(low / ratio, high * ratio, **protocol["lr_grid"])
    return f"{batch_size}: [{lrs[0]}, {lrs[-1]}]" if len(lrs) <= WIDEST else ""
