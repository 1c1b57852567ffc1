"""Say where gradient noise gives way to curvature: fit the optimal learning rate against the batch size.

Below the break, the critical batch size, the optimal learning rate grows with the batch size; above it, curvature holds it
level (ICLR v5 sec. 3). `curves.py` has the models and what is taken for the noise of an optimum.

Three families, equally likely before the data are seen, are compared by their evidence: `constant`, `power`, and a break
(`broken`, `smooth`, `bent` alike). One is chosen if it is ODDS times as likely as the next, otherwise the sweep is
`undecided`: not identifiable from this grid. A break is called `smooth` or `bent` only if that is ODDS times as likely as
`broken`. Intervals hold 95 % of the curves by weight; an end that no batch size bounds is 0 or infinite.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.bootstrap import Sweep, quantiles, sweep, with_optima
from sgdnoise.analysis.curves import MODELS, Curves, Likelihood, draw_curves, likelihood, predict
from sgdnoise.study import budgets
from sgdnoise.study.config import Config
from sgdnoise.study.grid import lr_window

FAMILIES = {"constant": ("constant",), "power": ("power",), "break": ("broken", "smooth", "bent")}
UNDECIDED = "undecided"
ODDS = 3  # our choice: "positive" evidence on the scale of Kass and Raftery (1995)
MIN_POINTS = 3  # two batch sizes have a line through them whatever the truth
FACTORS = (2, 4, 8)  # our choice: how far beyond the batch sizes measured to look for those that would decide
LEAST_SLOPE = 0.5  # of a noise regime in the paper: the LSTM's (ICLR v5 fig. 7c); elsewhere it is 1


@dataclass(frozen=True)
class Fit:
    """Every model of one sweep with its probability, and the name of the one chosen, or `undecided`."""

    known: Likelihood
    curves: dict[str, Curves]
    probability: dict[str, float]
    model: str


def constant_epoch_runs(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the constant epoch budget."""
    return cells[cells["modes"].str.split().map(lambda modes: "constant_epoch" in modes)]


def fit_sweep(optima: Sweep, lr_grid: dict[str, float]) -> Fit | None:
    """Fit every model; None if there are fewer than MIN_POINTS batch sizes."""
    if len(optima.batch_sizes) < MIN_POINTS:
        return None
    known = likelihood(optima, lr_grid)
    curves = {model: draw_curves(model, known) for model in MODELS}
    evidence = {model: curves[model].evidence / len(models) for models in FAMILIES.values() for model in models}
    probability = {model: evidence[model] / sum(evidence.values()) for model in MODELS}
    model = choose(probability)
    if model == "constant":  # a break may hide below the smallest batch sizes, but a slope of nothing is none
        broken = curves["broken"]
        curves["broken"] = replace(broken, weight=broken.weight * (broken.below >= LEAST_SLOPE))
    return Fit(known, curves, probability, model)


def choose(probability: dict[str, float]) -> str:
    """Choose a model from the probabilities of all.

    >>> choose({"constant": 0.01, "power": 0.09, "broken": 0.5, "smooth": 0.3, "bent": 0.1})
    'broken'
    >>> choose({"constant": 0.01, "power": 0.39, "broken": 0.3, "smooth": 0.2, "bent": 0.1})
    'undecided'
    """
    families = ranked_families(probability)
    if probability_of(probability, families[0]) < ODDS * probability_of(probability, families[1]):
        return UNDECIDED
    best = max(FAMILIES[families[0]], key=probability.__getitem__)
    return "broken" if families[0] == "break" and probability[best] < ODDS * probability["broken"] else best


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

    `power` has no break up to `break_low`, `constant` none of slope LEAST_SLOPE or more above `break_high`; the slope above
    is that of `bent`, so that it is not level by assumption. What a model does not have is NaN.
    """
    if fit is None:
        names = ("break", "slope_below", "slope_above")
        return {f"{name}{end}": np.nan for name in names for end in ("", "_low", "_high")}
    broken = fit.curves[fit.model if fit.model in FAMILIES["break"] else "broken"]
    low, middle, high = quantiles(broken.log_break, broken.weight)
    found = {
        "break": 2**middle if fit.model in FAMILIES["break"] else np.nan,
        "break_low": 2**low if low >= fit.known.x[1] and fit.model != "constant" else 0.0,
        "break_high": 2**high if high <= fit.known.x[-1] and fit.model != "power" else np.inf,
    }
    missing = (np.nan, np.nan, np.nan)
    source = fit.curves["power"] if fit.model == "power" else broken
    below = missing if fit.model == "constant" else quantiles(source.below, source.weight)
    source = fit.curves["power" if fit.model == "constant" else "bent"]
    above = missing if fit.model == "power" else quantiles(source.above, source.weight)
    for name, (low, middle, high) in (("slope_below", below), ("slope_above", above)):
        found |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return found


def summary(fit: Fit | None) -> str:
    """Say in a few words what a sweep shows."""
    if fit is None:
        return f"fewer than {MIN_POINTS} batch sizes"
    found = estimates(fit)
    if fit.model == UNDECIDED:
        return "not identifiable from this grid"
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
    """Return a row per benchmark, optimizer and metric of the constant epoch budget."""
    rows = []
    for names, runs in constant_epoch_runs(cells).groupby(["benchmark", "optimizer", "budget"], sort=False):
        benchmark, optimizer, budget = map(str, names)
        protocol = benchmarks.protocol(benchmark, config["benchmarks"][benchmark].get("file"))
        for metric, direction in protocol["metrics"].items():
            optima = sweep(runs, metric, direction)
            fit = fit_sweep(optima, protocol["lr_grid"])
            rows.append(
                {
                    "benchmark": benchmark,
                    "optimizer": optimizer,
                    "budget": budget,
                    "metric": metric,
                    "num_points": len(optima.batch_sizes),
                    "num_censored": int((optima.edge[0] != 0).sum()),
                    "model": fit.model if fit else UNDECIDED,
                    **estimates(fit),
                    **{f"probability_{model}": fit.probability[model] if fit else np.nan for model in MODELS},
                    "decide": deciding_cells(fit, optima, f"benchmarks.{benchmark}.constant_epoch.{optimizer}", budget, protocol),
                }
            )
    return pd.DataFrame(rows)


def deciding_cells(fit: Fit | None, optima: Sweep, key: str, budget: str, protocol: dict[str, Any]) -> str:
    """Say which cells would decide what the sweep leaves open, as lines of the config; "" if it leaves nothing open.

    An undecided sweep is asked for the fewest batch sizes beyond those measured, the nearest first, with which either of the
    two families that it is between would be chosen, were the optima there as it expects.
    """
    advice = []
    if censored := optima.batch_sizes[optima.edge[0] != 0].tolist():
        advice.append(f"widen {key} at batch size {', '.join(map(str, censored))}, whose optimum is at the edge")
    if fit is None:
        return "; ".join([f"add batch sizes to {key}, {MIN_POINTS} of them with two learning rates at least", *advice])
    found = estimates(fit)
    smaller, larger = ([size for size in sizes if is_trainable(size, budget, protocol)] for sizes in beyond(optima))
    if fit.model == UNDECIDED:
        models = candidates(fit)
        near = [size for pair in itertools.zip_longest(larger, smaller) for size in pair if size]
        enough = next(
            (near[:num] for num in range(1, len(near) + 1) if would_decide(fit, optima, models, near[:num], protocol)), []
        )
        lines = [config_line(fit, models, size, protocol) for size in enough]
        added = ", ".join(f"{key}.{line}" for line in lines) if lines else "more seeds, or batch sizes further away"
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
                advice.append(f"no {side} limit of the break: add {key}.{line}")
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


def would_decide(fit: Fit, optima: Sweep, models: list[str], batch_sizes: list[int], protocol: dict[str, Any]) -> bool:
    """Tell whether optima at more batch sizes, as each of the models expects them, would have its family chosen."""
    for model in models:
        lrs = [2 ** expected_log_lr(fit, model, np.log2(size))[1] for size in batch_sizes]
        then = fit_sweep(with_optima(optima, batch_sizes, lrs), protocol["lr_grid"])
        if not any(model in family and then and then.model in family for family in FAMILIES.values()):
            return False
    return True


def expected_log_lr(fit: Fit, model: str, x: float) -> tuple[float, float, float]:
    """Return the interval, with its median, of log2 lr that a model expects at log2 batch size x."""
    return quantiles(predict(fit.curves[model], x), fit.curves[model].weight)


def config_line(fit: Fit, models: list[str], batch_size: int, protocol: dict[str, Any]) -> str:
    """Write the config's line for a batch size: the window holds the intervals that the models expect, and a step more."""
    expected = [expected_log_lr(fit, model, np.log2(batch_size)) for model in models]
    ratio = protocol["lr_grid"]["ratio"]
    low, high = 2.0 ** min(one[0] for one in expected), 2.0 ** max(one[2] for one in expected)
    lrs = lr_window(low / ratio, high * ratio, **protocol["lr_grid"])
    return f"{batch_size}: [{lrs[0]}, {lrs[-1]}]"
