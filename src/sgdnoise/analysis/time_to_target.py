"""Steps, examples and seconds to a target of the test metric, from learning curves; the critical batch size where curves give one.

No target is chosen for anybody: the best value that every batch size reaches is reached by the worst of them at the end of its schedule,
whatever it is, so that the schedule would be measured.

A learning rate counts where as many runs completed as count elsewhere (`keep`). The mean over all that completed reaches the target
between two evaluations, on the straight line through them; of learning rates the fastest counts. That is an upper limit, `at_edge`, if
the fastest is the lowest or highest one trained, or if it is there at the first evaluation. The curve of `steps_to_target` goes through
the other points. Its interval holds 95 % of the curves through resampled runs: of every learning rate as many as there are, with
replacement, their deviations from the mean widened by sqrt(n / (n - 1)), as n of n drawn vary too little, and the interval by WIDER and Student's t
over the normal quantile, as the spread is known from few runs (`performance/steps_calibration.py`: how often it holds).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sgdnoise.analysis.steps_to_target import beyond, fit
from sgdnoise.results.run import COMPLETED, MISSING
from sgdnoise.study.optimizers import label, ordered

WIDER = 1.15  # our choice, by simulation: resamples of few runs, whose fastest learning rate counts, vary too little
MODES = ("constant_epoch", "constant_step")
LEAST, DRAWS, LEVEL = 3, 200, 0.95  # batch sizes of a curve, and runs of an interval; resamples; of the interval


def time_to_target_table(cells: pd.DataFrame, curves: pd.DataFrame, metric: str, direction: str, target: float) -> pd.DataFrame:
    """Return a row per budget mode, optimizer and batch size of one benchmark; all of a curve have its critical batch size.

    `cells` and `curves` are as `collect_cells` and `collect_curves` have them. Steps, examples and seconds (by the median measured
    speed of training, without evaluations) are NaN where the target is not reached; `best` is the best mean of any evaluation. A
    ValueError if no run has two evaluations.
    """
    if curves.groupby("num_steps")["step"].nunique().max() < 2:
        raise ValueError("one evaluation per run says nothing of when a target is reached; raise evaluations in the config")
    rng, rows = np.random.default_rng(0), []
    common = {
        "benchmark": cells["benchmark"].iloc[0],
        "num_train": cells["num_train"].iloc[0],
        "metric": metric,
        "target": target,
    }
    for mode in MODES:
        runs, evaluated = (table[table["modes"].str.contains(rf"\b{mode}\b")] for table in (cells, curves))
        for optimizer in ordered(set(runs["optimizer"])):
            points, resampled = [], []
            own = evaluated[evaluated["optimizer"] == optimizer]
            for size, some in runs[runs["optimizer"] == optimizer].groupby("batch_size"):
                point, draws = reach(some, own[own["batch_size"] == size], metric, direction, target, rng)
                points.append(common | {"mode": mode, "optimizer": optimizer, "batch_size": size} | point)
                resampled.append(draws)
            found = critical(pd.DataFrame(points), np.array(resampled))
            rows += [point | found for point in points]
    return pd.DataFrame(rows)


def reach(
    runs: pd.DataFrame, curves: pd.DataFrame, metric: str, direction: str, target: float, rng: np.random.Generator
) -> tuple[dict[str, Any], np.ndarray]:
    """Return how one batch size reaches the target, and in how many steps in each of DRAWS resamples (NaN: it does not)."""
    means, plain, draws, first = {}, {}, {}, np.inf
    for lr, some in curves.groupby("lr"):
        completed = some[some["status"] == COMPLETED].pivot(index="seed", columns="step", values=metric)
        if (num := len(completed)) < min(some["keep"].iloc[0], some["seed"].nunique()):
            continue
        steps, values, first = completed.columns.to_numpy(float), completed.to_numpy(float), float(completed.columns[0])
        means[lr] = values.mean(axis=0)
        drawn = values[rng.integers(num, size=(DRAWS, num))].mean(axis=1)
        wider = means[lr] + np.sqrt(num / max(num - 1, 1)) * (drawn - means[lr])
        plain[lr], draws[lr] = (steps_to(target, steps, mean, direction) for mean in (means[lr], wider))
    fastest = min(plain, key=lambda lr: (plain[lr], lr), default=np.nan)
    steps_needed = plain.get(fastest, np.inf)
    reached, trained = np.isfinite(steps_needed), runs.loc[runs["status"] != MISSING, "lr"]
    batch_size, speed = runs["batch_size"].iloc[0], runs["examples_per_second"].median()
    steps_needed = float(steps_needed) if reached else np.nan
    better = np.max if direction == "max" else np.min
    point = {
        "lr": fastest if reached else np.nan,
        "steps": steps_needed,
        "examples": batch_size * steps_needed,
        "seconds": batch_size * steps_needed / speed,
        "best": better(list(means.values())) if means else np.nan,
        "num_completed": int(((runs["lr"] == fastest) & (runs["status"] == COMPLETED)).sum()) if reached else 0,
        "num_missing": int((runs["status"] == MISSING).sum()),
        "at_edge": bool(reached and (fastest in (trained.min(), trained.max()) or steps_needed <= first)),
    }
    fewest = np.min(list(draws.values()), axis=0) if draws else np.full(DRAWS, np.inf)
    return point, np.where(np.isfinite(fewest), fewest, np.nan)


def steps_to(target: float, steps: np.ndarray, values: np.ndarray, direction: str) -> np.ndarray:
    """Return after how many steps curves, (..., E) at the steps (E,), first reach a target, between evaluations on a line; or inf.

    >>> steps_to(0.5, np.array([10.0, 20.0, 30.0]), np.array([[0.2, 0.6, 0.4], [0.1, 0.2, 0.3]]), "max")
    array([17.5,  inf])
    """
    over = (values - target) * (1 if direction == "max" else -1)
    after = (over >= 0).argmax(axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    (x0, y0), (x1, y1) = ((steps[at], np.take_along_axis(over, at, axis=-1)) for at in (before, after))
    share = np.divide(-y0, y1 - y0, out=np.ones_like(y0), where=after > 0)
    return np.where((over >= 0).any(axis=-1), (x0 + share * (x1 - x0))[..., 0], np.inf)


def critical(points: pd.DataFrame, resampled: np.ndarray) -> dict[str, float]:
    """Fit the curve through the points of one optimizer, if they do for one, with the interval that `resampled`, (points, DRAWS), gives.

    An end of the interval that is beyond the batch sizes of the curve is 0 or inf.
    """
    used, none = fitted(points), dict.fromkeys(("fewest_steps", "critical", "critical_low", "critical_high"), np.nan)
    if used.sum() < LEAST:
        return none
    sizes = points["batch_size"].to_numpy(float)[used]
    curve = fit(sizes, points["steps"].to_numpy(float)[used])
    found = none | {"fewest_steps": curve.a, "critical": curve.critical_batch_size}
    there = [(sizes[kept], steps[kept]) for steps in resampled[used].T for kept in [np.isfinite(steps)] if kept.sum() >= LEAST]
    if points["num_completed"][used].min() < LEAST or len(there) < DRAWS:
        return found
    tail, freedom = (1 - LEVEL) / 2, (points["num_completed"][used] - 1).sum()
    logs = np.quantile([np.log(fit(*one).critical_batch_size) for one in there], [tail, 1 - tail])
    centre = np.log(curve.critical_batch_size)
    low, high = np.exp(centre + (logs - centre) * WIDER * stats.t.isf(tail, freedom) / stats.norm.isf(tail))
    return found | {"critical_low": low if low >= sizes.min() else 0, "critical_high": high if high <= sizes.max() else np.inf}


def fitted(points: pd.DataFrame) -> np.ndarray:
    """Say which points a curve goes through: those that reach the target, no upper limits."""
    return (np.isfinite(points["steps"]) & ~points["at_edge"] & (points["num_missing"] == 0)).to_numpy(bool)


def summary(points: pd.DataFrame) -> str:
    """Say what the points of one optimizer show; a number beyond the batch sizes of the curve is not measured, and not said."""
    one, used, name = points.iloc[0], points[fitted(points)], label(points["optimizer"].iloc[0])
    if np.isnan(one["critical"]):
        reached = int(np.isfinite(points["steps"]).sum())
        limited = reached > len(used)
        limits, none = f", {reached - len(used)} as upper limits" * limited, " that are none" * limited
        return f"{name}: {reached} of {len(points)} batch sizes reach it{limits}; a curve takes {LEAST}{none}"
    least, most = used["batch_size"].min(), used["batch_size"].max()

    def said(size: float) -> str:
        return beyond(size, least, most) or (f"{size:.3g}" if size < 1000 else f"{size:.0f}")

    known = f"95 %: {said(one['critical_low'])} to {said(one['critical_high'])}"
    if np.isnan(one["critical_low"]):
        few = used["num_completed"].min() < LEAST
        why = f"fewer than {LEAST} runs" if few else f"not all resamples reach it at {LEAST} batch sizes"
        known = f"interval unknown: {why}"
    return f"{name}: critical batch size {said(one['critical'])} ({known})"
