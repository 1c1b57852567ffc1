"""Foresee how many seeds more would decide a claim.

The estimates that these would lead to are foreseen by the estimator itself, with the means, the spread of a run and the share of runs
that completes as measured (`estimate`, `more`): what does not shrink with seeds, as the misfit of its curve, does not shrink here. Each
of many imagined studies then finds a value of every term about the true one, as far off as the part of that uncertainty says which
seeds remove, and decides the claim by the rule of `verdicts`. Enough is what POWER of these studies decide. Not foreseen: that learning rates which were lucky
will look worse, and others be used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sgdnoise.analysis.estimate import NUM_DRAWS, interval
from sgdnoise.analysis.looks import Look
from sgdnoise.claims.contrasts import Contrast
from sgdnoise.claims.measurements import Key, Measurement
from sgdnoise.claims.verdicts import LEVEL, NOISE, Decided, Outcome, draws_of, keys_of

Found = dict[Key, Measurement]

POWER = 0.8
LADDER = (1, 2, 4, 8, 16, 32, 64, 100)  # seeds more that are tried; between them the probability is interpolated
ALL = 1000  # seeds more that leave as good as no noise
NUM_STUDIES = 1000  # imagined, of each number of seeds and effect
NUM_EFFECTS = 80  # drawn from what is known of the terms
HARDLY = 0.5  # our choice: of an interval's width left by ALL


class Foresight(NamedTuple):
    """How many seeds more are enough if the effect is as measured, and if it is what the present intervals allow, the middle half.

    Infinite if not even LADDER's last are, which then decide with the probability `chance`. `coarse` says that this is because seeds
    hardly narrow an interval.
    """

    more: float
    low: float
    high: float
    chance: float
    coarse: bool


def foresight(decided: Decided, now: Found, ahead: Iterable[Found], look: Look) -> Foresight:
    """Say how many seeds more would decide a claim that noise leaves open; `ahead` is what is known then, by the LADDER, and by ALL.

    `look` is the one that would decide it.
    """
    known, (*ladder, last) = stacked(decided, now), [stacked(decided, then) for then in ahead]
    left = np.array([np.ptp(interval(some)) for some in last])
    effects = np.column_stack([[one.value for one in decided.outcomes], known[:, :: NUM_DRAWS // NUM_EFFECTS]])
    contrasts = [one.contrast for one in decided.outcomes]
    chances = [decided_share(contrasts, then, effects, left, look) for then in ladder]
    needed = [enough(chance) for chance in np.array(chances).T]
    low, high = np.quantile(needed[1:], [0.25, 0.75], method="nearest").tolist()
    low, high = min(low, needed[0]), max(high, needed[0])
    noisy = [index for index, one in enumerate(decided.outcomes) if one.state == NOISE]
    coarse = any(is_coarse(decided.outcomes[index], np.ptp(interval(known[index])), left[index]) for index in noisy)
    return Foresight(needed[0], low, high, float(chances[-1][0]), coarse)


def predictive(decided: Decided, now: Found, then: Found, last: Found, look: Look) -> float:
    """Return the probability that a claim is decided by what is known `then`, over the effects that the present draws allow."""
    left = np.array([np.ptp(interval(some)) for some in stacked(decided, last)])
    effects = stacked(decided, now)[:, :: NUM_DRAWS // NUM_EFFECTS]
    contrasts = [one.contrast for one in decided.outcomes]
    return float(decided_share(contrasts, stacked(decided, then), effects, left, look).mean())


def stacked(decided: Decided, found: Found) -> np.ndarray:
    """Return the draws of each contrast of a claim, (C, NUM_DRAWS)."""
    contrasts = [one.contrast for one in decided.outcomes]
    return np.stack([draws_of(one, keys_of(one, decided.claim, decided.benchmark), found) for one in contrasts])


def is_coarse(one: Outcome, width: float, left: float) -> bool:
    """Say whether the interval of a contrast hardly shrinks, and would decide if it did: the value is well off the band's ends."""
    away = min(abs(one.value - one.contrast.low), abs(one.value - one.contrast.high))
    return bool(left > HARDLY * width and away > left / 4)


def decided_share(contrasts: list[Contrast], draws: np.ndarray, effects: np.ndarray, left: np.ndarray, look: Look) -> np.ndarray:
    """Return the share of imagined studies that decide a claim, (E,), for its effects (C, E), by draws (C, NUM_DRAWS) as foreseen.

    An estimate is off as its draws lie about their median, the other way, by the part that seeds remove: without them the
    intervals are `left` (C,) wide.
    """
    num = len(contrasts)
    agree, disagree = np.ones((2, effects.shape[1], NUM_STUDIES), bool)
    disagree[:] = False
    centred = draws - np.median(draws, axis=1, keepdims=True)
    for contrast, some, effect, rest in zip(contrasts, centred, effects, left, strict=True):
        (low, high), (wide_low, wide_high) = (interval(some, 1 - 2 * look.level(level)) for level in (LEVEL, LEVEL / num))
        noise = np.sqrt(max(1 - (rest / (high - low)) ** 2, 0)) if high > low else 0
        centre = effect[:, None] - noise * some[:: NUM_DRAWS // NUM_STUDIES]
        agree &= (contrast.low <= centre + low) & (centre + high <= contrast.high)
        disagree |= (centre + wide_high < contrast.low) | (centre + wide_low > contrast.high)
    return (agree | disagree).mean(axis=1)


def enough(chances: np.ndarray) -> float:
    """Return how many seeds more give POWER, by the chances of the LADDER; infinity if none does.

    >>> enough(np.array([0.1, 0.2, 0.4, 0.7, 0.9, 1, 1, 1]))
    12.0
    """
    if chances.max() < POWER:
        return np.inf
    above = int(np.argmax(chances >= POWER))
    if above == 0:
        return float(LADDER[0])
    between = np.interp(POWER, chances[above - 1 : above + 1], LADDER[above - 1 : above + 1])
    return float(np.ceil(round(float(between), 6)))
