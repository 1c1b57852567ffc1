"""Random curves of optimal learning rate against batch size, weighted by how well they agree with a sweep.

Which learning rate is optimal is known as `estimate` knows it: a batch size is a likelihood of the true optimum, not a point. Where
a part of it lies beyond the window, as much as lies in a step of the grid beyond, the optimum is censored: every learning rate
further out is supported equally.

Models of log lr against log batch size: `constant`, `power` (a line), `broken` (a line, level above the break), `smooth`
(lr proportional to (1 + break / batch size)^-slope: the same, rounded) and `bent` (two lines).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sgdnoise.analysis.estimate import Estimate

MODELS = ("constant", "power", "broken", "smooth", "bent")
SEED = 0
NUM_CURVES = 20_000  # our choice: leaves hundreds of effective draws of 8 batch sizes
STEPS = 8  # our choice: of the likelihood, in an octave
FLOOR = 0.001  # our choice: of the likelihood, per octave: an outlier; one draw in NUM_DRAWS is the least that can be told
MAX_SLOPE = 3  # our choice: three times the linear rule


class Likelihood(NamedTuple):
    """The likelihood of the true optimum, (P, K), per octave: at P log2 batch sizes `x`, in K steps of log2 learning rate.

    The steps are `step` octaves wide; the middle of the first is `origin`.
    """

    x: np.ndarray
    table: np.ndarray
    origin: float
    step: float


@dataclass(frozen=True)
class Curves:
    """NUM_CURVES curves of one model, each with its weight, and the mean likelihood of the model, its evidence.

    A curve has log2 learning rate `level` at log2 batch size `log_break`, and the slopes `below` and `above` it.
    """

    model: str
    log_break: np.ndarray
    level: np.ndarray
    below: np.ndarray
    above: np.ndarray
    weight: np.ndarray
    evidence: float


def rise(model: str, beyond: Any) -> Any:
    """Return the part of a curve of slope 1 below its break that is not level, `beyond` octaves above the break.

    >>> float(rise("broken", -3.0)), float(rise("broken", 2.0)), float(rise("smooth", 0.0))
    (-3.0, 0.0, -1.0)
    """
    return -np.log2(1 + 2**-beyond) if model == "smooth" else np.minimum(beyond, 0)


def predict(curves: Curves, x: float | np.ndarray) -> np.ndarray:
    """Return log2 learning rates at log2 batch sizes: (NUM_CURVES,) or (NUM_CURVES, len(x))."""
    log_break, level, below, above = curves.log_break, curves.level, curves.below, curves.above
    if np.ndim(x):
        log_break, level, below, above = (value[:, None] for value in (log_break, level, below, above))
    return level + below * rise(curves.model, x - log_break) + above * np.maximum(x - log_break, 0)


def likelihood(x: np.ndarray, known: list[Estimate], windows: np.ndarray) -> Likelihood:
    """Turn the estimates at P log2 batch sizes, and the ends of their windows (P, 2) in log2 learning rates, into likelihoods.

    The steps go on, beyond all that is known of any optimum, for as many octaves as the batch sizes span.
    """
    span = x[-1] - x[0]
    low, high = (np.round(end * STEPS) / STEPS for end in (windows.min() - span, windows.max() + span))
    ends = low + np.arange(round((high - low) * STEPS) + 1) / STEPS
    table = np.stack([_density(one, first, last, ends) for one, (first, last) in zip(known, windows.tolist(), strict=True)])
    return Likelihood(x, FLOOR + table, float(ends[0] + 0.5 / STEPS), 1 / STEPS)


def _density(known: Estimate, first: float, last: float, ends: np.ndarray) -> np.ndarray:
    """Return the density of an optimum in the steps between `ends`; beyond its window, `first` to `last`, level."""
    middles = (ends[:-1] + ends[1:]) / 2
    density = np.histogram(known.log_lr, ends)[0] * STEPS / len(known.log_lr)
    for share, beyond, reach in (
        (known.below, middles < first, first - known.log_lr.min()),
        (known.above, middles > last, known.log_lr.max() - last),
    ):
        if share:
            density[beyond] = share / reach
    return density


def with_optima(known: Likelihood, x: list[float], log_lr: list[float], sd: float) -> Likelihood:
    """Add log2 batch sizes as if they had been measured, each optimum with a standard deviation of `sd` octaves."""
    places = known.origin + known.step * np.arange(known.table.shape[1])
    away = (places - np.array(log_lr)[:, None]) / sd
    table = np.vstack([known.table, FLOOR + np.exp(-(away**2) / 2) / sd / np.sqrt(2 * np.pi)])
    order = np.argsort([*known.x, *x])
    return known._replace(x=np.append(known.x, x)[order], table=table[order])


def draw_curves(model: str, known: Likelihood) -> Curves:
    """Draw curves of a model in proportion to their likelihood.

    A curve goes through random optima of the smallest and the largest batch size; its break is anywhere between, or above
    by as much as the two largest batch sizes differ. Its weight is its likelihood over its chance of being drawn.

    Before the data are seen, all steps of the grid are equally likely at both ends (and at the break of `bent`), and so are
    all log breaks below the second largest batch size: the evidence is the mean likelihood over these. (A break further up
    has no second point beyond it to show.)
    """
    random = np.random.default_rng(SEED)
    x = known.x

    def draw_log_lr(own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return random optima and the ratios of their prior to their chance of being drawn."""
        share = own / own.sum() + known.table.sum(axis=0) / known.table.sum()  # the latter in case the own is an outlier
        steps = random.choice(len(share), NUM_CURVES, p=share / share.sum())
        log_lr = known.origin + known.step * (steps + random.uniform(-0.5, 0.5, NUM_CURVES))
        return log_lr, share.mean() / share[steps]

    (left, left_ratio), (right, right_ratio) = draw_log_lr(known.table[0]), draw_log_lr(known.table[-1])
    ratio = left_ratio * right_ratio
    log_break = random.uniform(x[0], 2 * x[-1] - x[-2], NUM_CURVES)
    below = above = np.zeros(NUM_CURVES)
    if model == "constant":
        level, ratio = right, right_ratio
    elif model == "power":
        log_break, level = np.full(NUM_CURVES, x[0]), left
        below = above = (right - left) / (x[-1] - x[0])
    elif model == "bent":
        log_break = random.uniform(x[0], x[-2], NUM_CURVES)
        level, level_ratio = draw_log_lr(np.ones_like(known.table[0]))
        ratio = ratio * level_ratio
        below, above = (level - left) / (log_break - x[0]), (right - level) / (x[-1] - log_break)
    else:
        first, last = rise(model, x[0] - log_break), rise(model, x[-1] - log_break)
        below = (right - left) / (last - first)
        level = right - below * last
    curves = Curves(model, log_break, level, below, above, ratio, np.nan)
    weight = ratio * _likelihood_of(curves, known)
    seen = (log_break <= x[-2]) | (model == "constant")
    return replace(curves, weight=weight, evidence=float(weight[seen].mean()))


def _likelihood_of(curves: Curves, known: Likelihood) -> np.ndarray:
    steps = np.rint((predict(curves, known.x) - known.origin) / known.step)
    inside = (steps >= 0) & (steps < known.table.shape[1])
    found = known.table[np.arange(len(known.x)), np.where(inside, steps, 0).astype(int)] * inside
    return found.prod(axis=1) * ((np.abs(curves.below) <= MAX_SLOPE) & (np.abs(curves.above) <= MAX_SLOPE))
