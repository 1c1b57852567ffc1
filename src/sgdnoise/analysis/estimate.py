"""Estimate the optimal learning rate of one point of the grid, and the metric there, by a curve through its sweep.

The paper's rule takes the best learning rate of the grid (`optimum.select`), which is known to half a step of the grid and is
drawn to whatever runs were lucky. Here the mean metric is a curve of log2 lr with one minimum, and all learning rates within two
octaves of the best (or the two next to it on a coarser grid) say where it is:

    mean = value + size * shape(log2 lr - log2 optimal lr),   shape(u) = |u (1 + a tanh u)|^p

with any power p of `POWERS` and any lopsidedness a of `LEANS`: smooth at the optimum, and away from it flat to the left and steep to
the right, as sweeps often are, or a parabola. A posterior over the optimum, the shape, the value, the size (positive) and the
variance of a run (one for the learning rates used whose runs spread alike, scaled inverse chi-square by its degrees of freedom) is
computed on a grid, in closed form in value and size, and drawn from. Where runs surely spread more than at the best learning rate, as
near divergence, the variance is their own. No curve is exact, less so far from its optimum: a mean that is worse than the best by h, at d octaves from it, is
taken to be known to MISFIT * d * h only; where the mean has a kink, its optimum lies beside the curve's, by KINK steps of the grid or so;
and where it turns steep there, the metric is known to a STEEP share of its rise beside the optimum, however little runs differ.

What is estimated is the mean over runs that complete, where at least `keep` of them do: trimming favours the noisier of two arms,
so the paper's mean over the best `keep` runs is not used. docs/statistics.md has how often the intervals hold.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from sgdnoise.analysis.rates import exploded, is_settled, list_apart, step_of, without_huge
from sgdnoise.results.run import MISSING

POINT = ["benchmark", "optimizer", "budget", "batch_size"]

LEVEL = 0.95  # our choice: of every interval in a table
NUM_DRAWS = 8000  # our choice: 20 lie beyond an end of 0.25 %
POWERS = (1.5, 2.0, 3.0)  # our choices, by simulation (docs/statistics.md), as are the following
LEANS = tuple(np.linspace(-0.6, 0.6, 7))  # 0.6: two octaves away one side is 3.7^p times as high as the other
MISFIT = 0.12
REACH = 2  # octaves, and steps of the grid, on either side of the best learning rate
CLEARLY = 2  # standard errors of a difference that a learning rate is worse by
SURELY = 0.005  # our choice: so rarely is a learning rate as good as the best held to be surely worse, or one that spreads as much to spread more
FINE = 8  # places for the optimum in a step of the grid
KINK = 0.2  # s.d., in steps of the grid, of where the optimum of a curve with a kink there may lie besides; half of it for the train metric
STEEP = 0.02  # s.d. of the metric at an optimum, as a share of its rise to the worse of the two learning rates beside the best
STEEPEST = 10  # times the median rise of the learning rates used: more of that rise is near divergence
NUM_SCALES = 7  # of the variance of a run
WIDER = 1.15  # the value's deviations, by as much as simulation shows them too small where noise chooses the learning rates used
BEYOND = 0.05  # more of the posterior than this beyond the learning rates trained makes an optimum that the grid does not enclose


@dataclass(frozen=True)
class Estimate:
    """Draws from what is known of one point's optimum, (NUM_DRAWS,) each.

    `log_lr` is log2 of the optimal learning rate, `value` the metric there and `train` the train metric there. `below` and `above`
    are the shares of the posterior beyond the learning rates trained. `sd` is that of a run. `used` are the lowest and the highest
    of the learning rates that it rests on.
    """

    log_lr: np.ndarray
    value: np.ndarray
    train: np.ndarray
    below: float
    above: float
    sd: float
    used: tuple[float, float]

    @property
    def edge(self) -> str:
        """Name the ends of the window beyond which the optimum may be: "", "low", "high" or "low high"."""
        return " ".join(name for name, share in (("low", self.below), ("high", self.above)) if share > BEYOND)


def interval(draws: np.ndarray, level: float = 0.9) -> tuple[float, float]:
    """Return the central interval of draws that holds `level` of them."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def estimate(runs: pd.DataFrame, metric: str, direction: str, train_metric: str, more: int = 0) -> Estimate | None:
    """Estimate the optimum of a metric at one point of the grid from its `runs`, rows of cells.csv.

    With `more`, foresee the estimate that so many further runs at each learning rate `used` would lead to, were their means, their
    spread and the share of them that completes as measured.

    A learning rate counts if enough of its runs completed; one beside them at which they diverged, or exploded while their metric
    stayed finite, bounds the optimum. None where nothing can be said: fewer than two learning rates count, or none with two runs,
    so that the noise of a run is unknown.
    """
    sign = 1 if direction == "min" else -1
    runs = without_huge(runs, [metric, train_metric])
    swept = _swept(runs[is_settled(runs)], metric, train_metric)
    completed = dict(iter((sign * runs[metric].dropna()).groupby(runs["lr"])))
    x, usable = np.log2(swept.index.to_numpy(float)), (swept["count"] >= swept["keep"]).to_numpy(copy=True)
    if usable.any():
        usable[usable] = ~exploded([completed[lr].to_numpy() for lr in swept.index[usable]])
    if usable.sum() < 2:
        return None
    first, last = usable.nonzero()[0][[0, -1]]
    diverged_below, diverged_above = first > 0, last < len(x) - 1
    step = step_of(x)
    ends = x[first - 1] if diverged_below else x[first] - step, x[last + 1] if diverged_above else x[last] + step
    x, swept = x[usable], swept[usable]
    count, mean, squares = (swept[name].to_numpy(float) for name in ("count", "mean", "squares"))
    mean = sign * mean
    best = int(mean.argmin())
    near, bounds = _near(x, mean, count, squares), _bounds(x, best, [completed[lr].to_numpy() for lr in swept.index])
    if (count[near] < 2).all():
        return None
    outwards = sorted(near.nonzero()[0].tolist(), key=lambda index: abs(x[index] - x[best]))
    (alike, variance), (train_alike, train_variance) = (
        _spread(outwards, count, swept[name].to_numpy(float)) for name in ("squares", "train_squares")
    )
    count = count * np.where(near, 1 + more / swept["num"].to_numpy(float), 1)
    df, train_df = (float((count[some] - 1).sum()) for some in (alike, train_alike))
    random = np.random.default_rng(zlib.crc32("/".join([metric, *(str(runs[key].iloc[0]) for key in POINT)]).encode()))
    low, high = max(ends[0], bounds[0], x[near][0] - REACH), min(ends[1], bounds[1], x[near][-1] + REACH)
    places = np.linspace(low, high, int(np.ceil((high - low) / step * FINE)) + 1)
    size = next(filter(None, np.abs(np.sort(mean))), 1.0)  # of the best mean that is not 0; the worst may be anything
    least = max((1e-6 * size) ** 2, 1e-300)  # runs that are all equal leave no noise to divide by
    log_lr, value = draw_optimum(x[near], mean[near], (np.maximum(variance, least) / count)[near], df, places, random)
    kinked = np.clip(log_lr + KINK * step * random.standard_normal(NUM_DRAWS), places[0], places[-1])
    middle = np.median(value)
    error = np.sqrt(train_variance / count * train_df / random.chisquare(train_df, (NUM_DRAWS, 1)))
    train = swept["train_mean"].to_numpy(float) + error * random.standard_normal((NUM_DRAWS, len(x)))
    apart = list_apart(x, step)
    rise = min(mean[max(best - 1, 0) : best + 2].max(), mean[best] + STEEPEST * np.median(mean[near] - mean[best])) - mean[best]
    return Estimate(
        kinked,
        sign * (middle + WIDER * (value - middle) + STEEP * rise * random.standard_normal(NUM_DRAWS)),
        _interpolated(x[apart], train[:, apart], (log_lr + kinked) / 2),
        0.0 if diverged_below else float((kinked < x[0]).mean()),
        0.0 if diverged_above else float((kinked > x[-1]).mean()),
        float(np.sqrt(variance[best])),
        (float(swept.index[near][0]), float(swept.index[near][-1])),
    )


def with_estimates(optimum: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return a table of optima by the paper's rule with the estimates of the same beside them, and their 95 % intervals.

    Columns `fit_lr`, `fit_mean`, each with `_low` and `_high`, and `fit_edge`; NaN where nothing can be estimated.
    """
    points = dict(iter(cells.groupby(POINT)))
    train_metric = {name: rows["metric"].unique()[:2][-1] for name, rows in optimum.groupby("benchmark")}
    keys = [*POINT, "metric"]
    fits = []
    for row in optimum.drop_duplicates(keys).to_dict("records"):
        runs = points[tuple(row[name] for name in POINT)]
        known = estimate(runs, row["metric"], row["direction"], train_metric[row["benchmark"]])
        found = {name: row[name] for name in keys} | {"fit_edge": known.edge if known else ""}
        for name, draws in (("lr", 2**known.log_lr), ("mean", known.value)) if known else ():
            low, high = interval(draws, LEVEL)
            found |= {f"fit_{name}": float(np.median(draws)), f"fit_{name}_low": low, f"fit_{name}_high": high}
        fits.append(found)
    columns = [f"fit_{name}{end}" for name in ("lr", "mean") for end in ("", "_low", "_high")]
    return optimum.merge(pd.DataFrame(fits, columns=[*keys, *columns, "fit_edge"]), on=keys, how="left")


def _swept(runs: pd.DataFrame, metric: str, train_metric: str) -> pd.DataFrame:
    """Summarise learning rates, by learning rate: completed runs, means, squared deviations."""
    runs = runs[runs["status"] != MISSING]
    by_lr = runs.groupby("lr")
    values, train = by_lr[metric], by_lr[train_metric]
    count = runs[metric].notna().groupby(runs["lr"]).sum()
    return pd.DataFrame(
        {
            "keep": by_lr["keep"].first(),
            "num": by_lr.size(),
            "count": count,
            "mean": values.mean(),
            "squares": (values.var() * (count - 1)).fillna(0),
            "train_mean": train.mean(),
            "train_squares": (train.var() * (count - 1)).fillna(0),
        }
    )


def _spread(outwards: list[int], count: np.ndarray, squares: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Return the learning rates whose runs spread alike, and the variance of a run at every one: theirs, or its own if that is larger.

    From the best `outwards`: a rate is alike unless its runs surely spread more than those of all alike rates before it, as
    near divergence. Runs that are all equal, as of a few on a small test set, say nothing of how much runs spread.
    """
    alike: list[int] = []
    pooled = 0.0
    for index in outwards:
        df, own = (count[alike] - 1).sum(), count[index] - 1
        if pooled == 0 or own < 1 or squares[index] / own <= stats.f.isf(SURELY, own, df) * pooled:
            alike.append(index)
            pooled = squares[alike].sum() / max((count[alike] - 1).sum(), 1)
    variance = np.maximum(pooled, squares / np.maximum(count - 1, 1))
    variance[alike] = pooled
    return alike, variance


def _near(x: np.ndarray, mean: np.ndarray, count: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Say which learning rates are used: those within REACH of the best, and from there to the last that is not clearly worse."""
    best = int(mean.argmin())
    near = (np.abs(x - x[best]) < REACH + 0.01) | (np.abs(np.arange(len(x)) - best) <= REACH)
    variance = squares[near].sum() / max((count[near] - 1).sum(), 1)
    as_good = near | (mean - mean[best] < CLEARLY * np.sqrt(variance * (1 / count + 1 / count[best])))
    first, last = as_good.nonzero()[0][[0, -1]]
    return (np.arange(len(x)) >= first) & (np.arange(len(x)) <= last)


def _bounds(x: np.ndarray, best: int, values: list[np.ndarray]) -> tuple[float, float]:
    """Return the learning rates next to the best, on either side, that are surely worse: a curve with one minimum has it between them.

    values: at each, of the runs that completed. Surely by Welch's test or, as runs near divergence are far from normal, by ranks.
    """

    def surely_worse(index: int) -> bool:
        pair = values[index], values[best]
        noisy = min(map(np.ptp, pair)) > 1e-9 * np.abs(pair[0]).max()  # else there is nothing to compare means with
        by_mean = noisy and stats.ttest_ind(*pair, equal_var=False, alternative="greater").pvalue < SURELY
        return bool(by_mean or stats.mannwhitneyu(*pair, alternative="greater").pvalue < SURELY)

    below = (x[index] for index in reversed(range(best)) if surely_worse(index))
    above = (x[index] for index in range(best + 1, len(x)) if surely_worse(index))
    return next(below, -np.inf), next(above, np.inf)


def draw_optimum(
    x: np.ndarray, mean: np.ndarray, variance: np.ndarray, df: float, places: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw optimum and value, (NUM_DRAWS,) each, from the posterior given means (I,) at `x` with their variances.

    For every scale of the variance, place of the optimum and shape, value and size follow from weighted least squares; so does
    their likelihood, over all values and all positive sizes. Shapes count as alike in size over the learning rates used.
    """
    powers, leans = np.array(list(itertools.product(POWERS, LEANS))).T[:, :, None]
    u = x - places[:, None, None]  # (places, shapes, I), as all that follows, after the scales
    shape = np.abs(u * (1 + leans * np.tanh(u))) ** powers
    scale = df / stats.chi2.ppf((np.arange(NUM_SCALES) + 0.5) / NUM_SCALES, df)
    misfit = MISFIT * np.abs(x - x[mean.argmin()]) * (mean - mean.min())
    weight = 1 / (scale[:, None] * variance + misfit**2)  # (scales, I)
    total = weight.sum(axis=1)[:, None, None]
    mean_y = ((weight * mean).sum(axis=1) / weight.sum(axis=1))[:, None, None]
    flat = shape.reshape(-1, len(x)).T
    to_grid = (len(scale), *shape.shape[:2])
    mean_shape = (weight @ flat).reshape(to_grid) / total
    square = (weight @ flat**2).reshape(to_grid) - total * mean_shape**2
    level = square <= 1e-9 * total * mean_shape**2  # as of two learning rates with the optimum midway: says nothing of the size
    square = np.where(level, 1, square)
    size = (((weight * mean) @ flat).reshape(to_grid) - total * mean_shape * mean_y) / square
    residual = (weight * mean**2).sum(axis=1)[:, None, None] - total * mean_y**2 - size**2 * square
    log_weight = np.log(weight).sum(axis=1)[:, None, None] / 2 - np.log(total) / 2
    log_posterior = np.where(level, -np.inf, special.log_ndtr(size * np.sqrt(square)) - residual / 2 + log_weight)
    posterior = np.exp(log_posterior - log_posterior.max()).ravel()

    cumulated = np.cumsum(posterior)
    chosen = np.minimum(np.searchsorted(cumulated, random.uniform(0, cumulated[-1], NUM_DRAWS)), len(posterior) - 1)
    at_scale, at_place, _ = np.unravel_index(chosen, to_grid)
    error = 1 / np.sqrt(square.ravel()[chosen])
    negative = special.ndtr(-size.ravel()[chosen] / error)
    normal = special.ndtri(np.minimum(negative + (1 - negative) * random.uniform(size=NUM_DRAWS), 1 - 1e-12))
    drawn_size = np.maximum(size.ravel()[chosen] + error * normal, 0)
    noise = random.standard_normal(NUM_DRAWS) / np.sqrt(total.ravel()[at_scale])
    value = mean_y.ravel()[at_scale] - drawn_size * mean_shape.ravel()[chosen] + noise
    log_lr = places[at_place] + random.uniform(-0.5, 0.5, NUM_DRAWS) * (places[1] - places[0])
    return np.clip(log_lr, places[0], places[-1]), value


def _interpolated(x: np.ndarray, curves: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the value of each curve (D, I), known at `x`, at its own place (D,): parabolas through the three points nearest.

    Level beyond the ends; a straight line between two points.
    """
    num, at = min(3, len(x)), np.clip(at, x[0], x[-1])
    first = np.clip(np.abs(x - at[:, None]).argmin(axis=1) - 1, 0, len(x) - num)
    used = first[:, None] + np.arange(num)
    ratio = (at[:, None, None] - x[used][:, None, :]) / (x[used][:, :, None] - x[used][:, None, :] + np.eye(num))
    weight = np.where(np.eye(num, dtype=bool), 1.0, ratio).prod(axis=2)  # Lagrange's
    return (weight * np.take_along_axis(curves, used, axis=1)).sum(axis=1)
