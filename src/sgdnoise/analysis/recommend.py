"""Advise on a batch size from one's own sweep: learning rate, regime, what momentum buys, the largest free batch size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sgdnoise.analysis.bootstrap import LEVEL, Sweep, quantiles, sweep
from sgdnoise.analysis.curves import predict
from sgdnoise.analysis.regimes import FAMILIES, MIN_POINTS, ODDS, Fit, constant_epoch_runs, fit_sweep, summary
from sgdnoise.study.optimizers import OPTIMIZERS

Advice = dict[str, Any]
UNKNOWN = "regime not decided"


def recommend(cells: pd.DataFrame, benchmark: str, batch_size: int, protocol: dict[str, Any], extrapolate: bool) -> Advice:
    """Return the advice for a batch size under the constant epoch budget of `cells`, ready for JSON.

    The learning rates, effective ones, are those of all models by their probability, optimal for the test metric; their
    intervals hold 95 %. Beyond the batch sizes measured there is no advice unless `extrapolate`, and then it says so; `edge_at`
    names the batch sizes, of those measured next to this one, at which the optimum is beyond the learning rates measured.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}: give a positive whole number")
    runs = constant_epoch_runs(cells)
    runs = runs[runs["benchmark"] == benchmark]
    if runs.empty:
        raise ValueError(f"the table has no constant_epoch runs of {benchmark!r}; add the mode to its entry in the config")
    metric, direction = next(iter(protocol["metrics"].items()))
    optima = {name: sweep(runs[runs["optimizer"] == name], metric, direction) for name in OPTIMIZERS}
    optima = {name: found for name, found in optima.items() if len(found.batch_sizes)}
    fits = {name: fit_sweep(found) for name, found in optima.items()}
    advice = {name: advise(name, optima[name], fits[name], batch_size, direction, extrapolate) for name in optima}
    if all("refused" in one for one in advice.values()):
        reasons = "; ".join(f"{name}: {one['refused']}" for name, one in advice.items())
        raise ValueError(f"no advice for batch size {batch_size} of {benchmark}: {reasons or 'fewer than two learning rates'}")
    for name, one in advice.items():
        if name != "sgd" and "sgd" in optima:
            one["over_sgd"] = over_sgd(one, advice["sgd"], optima[name], optima["sgd"], batch_size, direction)
    return {
        "benchmark": benchmark,
        "batch_size": batch_size,
        "num_epochs": float(runs["num_epochs"].iloc[0]),
        "metric": metric,
        "optimizers": advice,
    }


def advise(name: str, optima: Sweep, fit: Fit | None, batch_size: int, direction: str, extrapolate: bool) -> Advice:
    """Return the advice on one optimizer, or why it is refused."""
    smallest, largest = int(optima.batch_sizes[0]), int(optima.batch_sizes[-1])
    outside = not smallest <= batch_size <= largest
    if fit is None:
        return {"refused": f"it takes {MIN_POINTS} batch sizes with two learning rates each, not {len(optima.batch_sizes)}"}
    if outside and not extrapolate:
        return {"refused": f"measured at batch sizes {smallest} to {largest} only; train more, or allow --extrapolate"}
    x = np.log2(batch_size)
    shares = {model: curves.weight / max(curves.weight.sum(), 1e-300) for model, curves in fit.curves.items()}
    weight = np.concatenate([fit.probability[model] * share for model, share in shares.items()])
    low, lr, high = (2**end for end in quantiles(np.concatenate([predict(one, x) for one in fit.curves.values()]), weight))
    noise = sum(fit.probability[m] * shares[m][fit.curves[m].log_break > x].sum() for m in FAMILIES["break"])
    curvature = sum(fit.probability[model] for model in FAMILIES["break"]) - noise
    noise += fit.probability["power"] * (batch_size <= largest)  # beyond, a line says nothing of the regime
    curvature += fit.probability["constant"] * (batch_size >= smallest)
    momentum = OPTIMIZERS[name].momentum
    beside = [int(np.searchsorted(optima.batch_sizes, batch_size, side)) - (side == "right") for side in ("left", "right")]
    beside = sorted({min(max(point, 0), len(optima.batch_sizes) - 1) for point in beside})
    return {
        "lr": lr,
        "lr_low": low,
        "lr_high": high,
        "torch": {"lr": lr * (1 - momentum), "momentum": momentum},
        "regime": regime(noise, curvature),
        "probability_noise": float(noise),
        "probability_curvature": float(curvature),
        "sweep": summary(fit),
        "measured": [smallest, largest],
        "extrapolated": outside,
        "edge_at": [int(optima.batch_sizes[point]) for point in beside if optima.edge[0, point]],
        "free_batch_size": free_batch_size(optima, direction),
    }


def regime(noise: float, curvature: float) -> str:
    """Name the regime that is ODDS times as likely as all else.

    >>> regime(0.9, 0.1), regime(0.5, 0.5)
    ('noise-dominated', 'regime not decided')
    """
    if noise >= ODDS * (1 - noise):
        return "noise-dominated"
    return "curvature-dominated" if curvature >= ODDS * (1 - curvature) else UNKNOWN


def standard_errors(optima: Sweep) -> np.ndarray:
    """Return the spread of the metric over redraws of the seeds, (P,), nowhere below its median over the batch sizes.

    A few runs agree by chance, and then their own spread says nothing.
    """
    spread = np.array([drawn[np.isfinite(drawn)].std() if np.isfinite(drawn).any() else np.nan for drawn in optima.mean[1:].T])
    return np.maximum(spread, np.nanmedian(spread))


def difference(value: float, errors: tuple[float, float], num_runs: int, num_compared: int = 1) -> Advice | None:
    """Return a difference with its interval; None if it is not known, since too few runs completed.

    The interval is Student's for the `num_runs` runs at both optima; it allows for the choice of the largest of
    `num_compared` differences (Bonferroni).
    """
    if num_runs <= 2 or not np.isfinite([value, *errors]).all():
        return None
    half = stats.t.ppf(1 - (1 - LEVEL) / 2 / num_compared, num_runs - 2) * np.hypot(*errors)
    return {"value": float(value), "low": float(value - half), "high": float(value + half)}


def free_batch_size(optima: Sweep, direction: str) -> Advice:
    """Return the largest measured batch size that loses nothing, the next one, and what that loses.

    A batch size loses if its metric is worse than the best of the smaller ones by more than the runs at one learning rate
    differ (one s.d., the median over the batch sizes), and if the interval of that loss excludes none; or if too few of its
    runs completed. `next` is None if the largest batch size measured does not lose.
    """
    metric = optima.mean[0] * (1 if direction == "max" else -1)
    error = standard_errors(optima)
    free, loss = len(metric) - 1, None
    while free > 0:
        best = int(np.where(np.isnan(metric[:free]), -np.inf, metric[:free]).argmax())
        num_runs = optima.num_runs[best] + optima.num_runs[free]
        lost = difference(metric[best] - metric[free], (error[best], error[free]), num_runs, free)
        shown = lost and lost["low"] > 0 and lost["value"] > np.nanmedian(optima.sd)
        if np.isfinite(metric[free]) and not shown:
            break
        free, loss = free - 1, lost
    following = int(optima.batch_sizes[free + 1]) if free + 1 < len(metric) else None
    return {"batch_size": int(optima.batch_sizes[free]), "next": following, "loss": loss}


def over_sgd(own: Advice, sgd: Advice, optima: Sweep, sgd_optima: Sweep, batch_size: int, direction: str) -> Advice | None:
    """Return what an optimizer buys over SGD: gain in the metric, ratio of learning rates; None where one is not measured.

    The metric between two measured batch sizes is that of a line through both; it is never extrapolated.
    """
    if any("refused" in one or one["extrapolated"] for one in (own, sgd)):
        return None
    (better, error), (worse, sgd_error) = (
        [float(np.interp(np.log2(batch_size), np.log2(one.batch_sizes), value)) for value in (one.mean[0], standard_errors(one))]
        for one in (optima, sgd_optima)
    )
    num_runs = min(optima.num_runs) + min(sgd_optima.num_runs)
    gain = difference((better - worse) * (1 if direction == "max" else -1), (error, sgd_error), num_runs)
    return {"gain": gain, "lr_ratio": own["lr"] / sgd["lr"]}


def text(advice: Advice) -> str:
    """Write advice for a person to read."""
    metric = advice["metric"].replace("_", " ")
    lines = [
        f"{advice['benchmark']}, batch size {advice['batch_size']}, {advice['num_epochs']:g} epochs; optimal for {metric}.",
        "Learning rates are effective ones, eps / (1 - momentum); intervals hold 95 %.",
    ]
    for name, one in advice["optimizers"].items():
        label = OPTIMIZERS[name].label
        if "refused" in one:
            lines.append(f"{label}: no advice: {one['refused']}")
            continue
        if one["extrapolated"]:
            lines.append(f"{label}: EXTRAPOLATED, measured at batch sizes {one['measured'][0]} to {one['measured'][1]} only:")
        lines.append(f"{label}: learning rate {one['lr']:.3g} ({one['lr_low']:.3g} to {one['lr_high']:.3g})")
        if one["edge_at"]:
            sizes = " and ".join(map(str, one["edge_at"]))
            lines.append(f"    EXTRAPOLATED: at batch size {sizes} the optimum is at the edge of the learning rates measured")
        lines.append(f"    in torch: lr={one['torch']['lr']:.3g}, momentum={one['torch']['momentum']:g}")
        lines.append(
            f"    {one['regime']} (noise {one['probability_noise']:.0%}, curvature {one['probability_curvature']:.0%}); "
            f"the sweep: {one['sweep']}"
        )
        free = one["free_batch_size"]
        lost = f"; {free['next']} loses {interval(free['loss'])}" if free["next"] else ", the largest measured"
        lines.append(f"    largest batch size that loses nothing: {free['batch_size']}{lost}")
        if bought := one.get("over_sgd"):
            lines.append(
                f"    over SGD: {metric} better by {interval(bought['gain'])}; learning rate {bought['lr_ratio']:.2g} times SGD's"
            )
    return "\n".join(lines)


def interval(value: Advice | None) -> str:
    """Write a difference with its interval."""
    if value is None:
        return "an unknown amount, since too few runs completed"
    shown = "" if value["low"] > 0 or value["high"] < 0 else ": nothing that the seeds show"
    return f"{value['value']:.3g} ({value['low']:.3g} to {value['high']:.3g}){shown}"
