"""The noisy quadratic model of training: the expected loss after any number of updates, computed, not trained.

Loss 1/2 sum_i h_i w_i^2; a gradient h_i w_i + noise, whose variance is h_i / B times a level at batch size 1. Directions are independent,
and so is the noise of updates, so that second moments of weight and velocity follow exactly from update to update. Zhang et al. (2019,
"Which algorithmic choices matter at which batch sizes?", arXiv 1907.04164); their notebook (github.com/gd-zhang/noisy-quadratic-model)
has the defaults: h_i = 1 / i in 10^4 directions, put into about 100 bins, noise of covariance H / B, E w_i^2 = 1 at the start.
Its learning rates, as everywhere here, are effective ones, eps / (1 - m).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sgdnoise.study.optimizers import Optimizer
from sgdnoise.study.schedule import SHAPES, multiplier, shaped

BLOCKS = 1000  # our choice; a multiple of 20, so that blocks begin where the paper's schedule steps down
EXPLODED = 100  # our choice: times the loss at the start; what explodes and is then brought back is no optimum of a network
Three = tuple[np.ndarray, np.ndarray, np.ndarray]  # of a symmetric 2 x 2 matrix: w w, w v, v v


class Directions(NamedTuple):
    """Curvatures `h` (bins,), `num` directions have each."""

    h: np.ndarray
    num: np.ndarray


def directions() -> Directions:
    """Put the curvatures 1 / i of 10,000 directions into bins of about equal width in log i, each with the mean of its own.

    >>> [round(float(total), 6) for total in (sum(DIRECTIONS.num), DIRECTIONS.h @ DIRECTIONS.num)], len(DIRECTIONS.h)
    ([10000.0, 9.787606], 99)
    """
    num = 10_000
    edges = np.unique(np.round(np.geomspace(1, num + 1, 121)).astype(int))
    count = np.diff(edges)
    return Directions(np.add.reduceat(1 / np.arange(1, num + 1), edges[:-1] - 1) / count, count)


DIRECTIONS = directions()


@dataclass(frozen=True)
class Form:
    """What an optimizer is in the model: v = m v + (h + damping)^-power g; w -= lr (1 - m) v."""

    momentum: float = 0.0
    power: float = 0.0
    damping: float = 0.0
    has_noise: bool = True


# Stand-ins: theirs is H^-power, with a power from 0 to 1, the larger the better the preconditioner. Which for which is our choice, and so
# is the damping, as a share of the largest curvature. Of Adam momentum is beta1, without bias correction.
ADAM = Form(momentum=0.9, power=0.5)
FORMS = {
    "adam": ADAM,
    "adam_decoupled": ADAM,
    "kfac": Form(momentum=0.9, power=1.0, damping=1e-3),
    "svrg": Form(has_noise=False),  # noise does not depend on w here, so that SVRG removes it all
}


def form_of(name: str, one: Optimizer) -> Form | None:
    """Return the form of an optimizer; None if the model has none: of Muon, for one, as directions here are no matrices.

    >>> form_of("slow", Optimizer("slow", momentum=0.99))
    Form(momentum=0.99, power=0.0, damping=0.0, has_noise=True)
    """
    if name in FORMS and not one.definition:
        return FORMS[name]
    return Form(one.momentum) if one.is_plain else None


def stages(one: Optimizer, num_steps: int, warmup_steps: int = 0) -> list[tuple[float, int]]:
    """List (learning rate / initial learning rate, number of updates) of a schedule, where it changes.

    Exact for the paper's schedule without warmup, and for any of up to BLOCKS updates. Otherwise each of so many blocks of
    updates has the mean of its first and last, and losses are off by less than a thousandth.

    >>> stages(Optimizer("SGD"), 9765)[:2], len(stages(Optimizer("SGD"), 9765))
    ([(1.0, 4882), (0.5, 488)], 11)
    """

    def rate(step: int) -> float:
        if one.schedule in SHAPES:
            return shaped(one.schedule, one.final, step, num_steps, warmup_steps)
        return multiplier(step, num_steps, warmup_steps)

    edges = [block * num_steps // BLOCKS for block in range(BLOCKS + 1)]
    blocks = [((rate(first) + rate(end - 1)) / 2, end - first) for first, end in itertools.pairwise(edges) if first < end]
    return [(value, sum(num for _, num in run)) for value, run in itertools.groupby(blocks, key=lambda block: block[0])]


def expected_loss(
    lrs: np.ndarray, form: Form, schedule: Iterable[tuple[float, int]], noise: float, spectrum: Directions = DIRECTIONS
) -> np.ndarray:
    """Return the expected loss (lrs,) after the updates of a schedule, from weights of variance 1 and velocities of 0.

    `lrs` (lrs,) are initial learning rates, `noise` is the level of the noise at the batch size. Infinite where training
    diverges: at the end of a stage the loss is not finite, or EXPLODED times that of the start.

    >>> one = Directions(np.array([1.0]), np.array([1]))
    >>> expected_loss(np.array([0.0, 0.5, 1.0, 1e300]), Form(), [(1, 2)], 1.0, one).tolist()
    [0.5, 0.1875, 0.5, inf]
    """
    scale = (spectrum.h + form.damping) ** -form.power
    pull, jitter = scale * spectrum.h, scale**2 * spectrum.h * noise * form.has_noise
    eps = np.asarray(lrs)[:, None] * (1 - form.momentum)
    start = np.ones(eps.shape[:1] + pull.shape)
    moments = (start, 0 * start, 0 * start)
    weight = spectrum.h * spectrum.num / 2
    loss, diverged = start @ weight, np.zeros(len(start), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for rate, num in schedule:
            moments = advance(moments, rate * eps, pull, jitter, form.momentum, num)
            loss = moments[0] @ weight
            diverged |= ~(loss < EXPLODED * weight.sum())  # NaN, too
    return np.where(diverged, np.inf, np.maximum(loss, 0))  # rounding alone is below 0


def advance(moments: Three, eps: np.ndarray, pull: np.ndarray, jitter: np.ndarray, momentum: float, num: int) -> Three:
    """Return the second moments of weight and velocity after `num` updates at a constant rate.

    One update is S -> A S A' + Q; of twice as many, A is A^2 and Q is Q + A Q A'. So powers and geometric sums of any number of
    updates take its binary digits.
    """
    matrix = (1 - eps * pull, -eps * momentum, pull, momentum)  # of (w, v), row by row
    added = (eps**2 * jitter, -eps * jitter, jitter)
    while num:
        if num % 2:
            moments = _plus(_congruent(matrix, moments), added)
        if num := num // 2:
            added = _plus(_congruent(matrix, added), added)
            a, b, c, d = matrix
            matrix = (a * a + b * c, b * (a + d), c * (a + d), d * d + b * c)
    return moments


def _congruent(matrix: tuple[np.ndarray | float, ...], moments: Three) -> Three:
    """Return A S A'."""
    a, b, c, d = matrix
    ww, wv, vv = moments
    left, right = a * ww + b * wv, a * wv + b * vv
    return a * left + b * right, c * left + d * right, c * (c * ww + d * wv) + d * (c * wv + d * vv)


def _plus(one: Three, other: Three) -> Three:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def optimum(loss: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Return the learning rate of the least loss, to 1/512 octave, and that loss; the grid moves until it encloses it.

    >>> lr, least = optimum(lambda lrs: 1 + (np.log2(lrs) + 30.3) ** 2)
    >>> round(float(np.log2(lr)), 2), round(least, 5)
    (-30.3, 1.0)
    """
    logs = np.arange(-20.0, 9.0)  # our choice: where it mostly lies
    while (best := int(np.argmin(found := loss(2**logs)))) in (0, len(logs) - 1):
        logs += -14 if best == 0 else 14
    for _ in range(3):  # a sixteenth of two steps each
        logs = np.linspace(logs[best - 1], logs[best + 1], 17)
        found = loss(2**logs)
        best = int(np.clip(np.argmin(found), 1, 15))
    return float(2 ** logs[best]), float(found[best])
