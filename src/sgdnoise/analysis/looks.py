"""How strictly each look of `decide` judges, so that looking again does not raise the rate of wrong verdicts (group-sequential)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from sgdnoise.study.config import Config
from sgdnoise.study.looks import numbers_of


@dataclass(frozen=True)
class Look:
    """One of the looks that are planned at so many seeds each; a study without `decide` has one only."""

    numbers: tuple[int, ...] = (1,)
    index: int = 0

    @property
    def seeds(self) -> int:
        """The seeds of a learning rate at this look."""
        return self.numbers[self.index]

    @property
    def next(self) -> Look:
        """The look after this one; the last has none but itself."""
        return Look(self.numbers, min(self.index + 1, len(self.numbers) - 1))

    @property
    def last(self) -> Look:
        """The last look, which judges what more seeds have shown."""
        return Look(self.numbers, len(self.numbers) - 1)

    def level(self, whole: float) -> float:
        """Return the share of a one-sided error level `whole` at which this look judges."""
        return levels(self.numbers, whole)[self.index]


ONLY = Look()


def look_at(benchmark: str, config: Config) -> Look:
    """Return the look that a study is at, by the seeds that looks have added to it."""
    numbers = tuple(numbers_of(benchmark, config))
    return Look(numbers, min(len(config["looks"]), len(numbers) - 1))


@functools.cache
def levels(numbers: tuple[int, ...], whole: float) -> tuple[float, ...]:
    """Return the one-sided level of each look at so many seeds; together they err in `whole`.

    The level is spent in proportion to the seeds (Lan and DeMets 1983, doi:10.1093/biomet/70.3.659; Kim and DeMets 1987, with
    exponent 1). The boundaries follow from the joint normal distribution of estimates at n and m > n seeds, which are correlated by
    sqrt(n / m).

    >>> levels((15,), 0.05)
    (0.05,)
    >>> [round(level, 4) for level in levels((3, 7, 15, 31), 0.05)]
    [0.0048, 0.0077, 0.016, 0.0341]
    """
    seeds = np.array(numbers, float)
    correlation = np.sqrt(np.minimum.outer(seeds, seeds) / np.maximum.outer(seeds, seeds))
    ends = [float(stats.norm.isf(whole * numbers[0] / numbers[-1]))]
    for num in range(2, len(numbers) + 1):
        joint = stats.multivariate_normal(cov=correlation[:num, :num], seed=0, abseps=1e-7, releps=1e-7, maxpts=20_000)
        none_beyond = 1 - whole * numbers[num - 1] / numbers[-1]
        ends.append(float(optimize.brentq(lambda end, joint=joint, wanted=none_beyond: joint.cdf([*ends, end]) - wanted, 0, 9)))
    return (whole,) if len(numbers) == 1 else tuple(stats.norm.sf(ends).tolist())
