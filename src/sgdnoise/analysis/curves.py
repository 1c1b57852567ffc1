"""Random curves of optimal learning rate against batch size, weighted by how well they agree with a sweep.

Which learning rate is optimal is known to half a step of the grid, and as well as the seeds tell. So a batch size is a
likelihood of the true optimum, not a point: the share of redraws of the seeds that select this step of the grid, level
over the step. Quantisation errors need not be independent (where both grids have the same ratio and the slope is 1, all
are equal), and here they are not taken to be.

A redraw whose optimum is at the end of its window is censored: it supports every learning rate beyond the end equally.
An optimum inside whose error bar touches the end counts as measured. The grid is taken to go on, beyond every optimum
selected, for as many octaves as the batch sizes span.

Models of log lr against log batch size: `constant`, `power` (a line), `broken` (a line, level above the break), `smooth`
(lr proportional to (1 + break / batch size)^-slope: the same, rounded) and `bent` (two lines).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sgdnoise.analysis.bootstrap import SEED, Sweep

MODELS = ("constant", "power", "broken", "smooth", "bent")
NUM_CURVES = 20_000  # our choice: leaves about 2,000 effective draws of 8 batch sizes
OFF_BY_ONE = 1 / 12  # of 6 optima that the authors publish twice 1 differs, by one step (WRN without norm, batch size 64)
FLOOR = 0.001  # our choice: of any likelihood
MAX_SLOPE = 3  # our choice: three times the linear rule


class Likelihood(NamedTuple):
    """The likelihood of the true optimum, (P, K): at P log2 batch sizes `x`, in K steps of the learning-rate grid.

    The steps are `step` octaves wide; the middle of the first is `origin`, a log2 learning rate.
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


def likelihood(optima: Sweep, lr_grid: dict[str, float]) -> Likelihood:
    """Turn the redraws of a sweep into likelihoods."""
    step = float(np.log2(lr_grid["ratio"]))
    anchor = float(np.log2(lr_grid["anchor"]))
    chosen = np.rint((np.log2(optima.lr[1:]) - anchor) / step)
    x = np.log2(optima.batch_sizes)
    reach = np.ceil((x[-1] - x[0]) / step)
    steps = np.arange(chosen.min() - reach, chosen.max() + reach + 1)
    away, edge = steps - chosen[..., None], optima.edge[1:, :, None]
    supported = np.where(edge == 0, away == 0, away * edge >= 0)
    share = supported.mean(axis=0)
    padded = np.pad(share, ((0, 0), (1, 1)), mode="edge")
    neighbours = (padded[:, :-2] + padded[:, 2:]) / 2
    table = FLOOR + (1 - FLOOR) * ((1 - OFF_BY_ONE) * share + OFF_BY_ONE * neighbours)
    return Likelihood(x, table, anchor + step * steps[0], step)


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
