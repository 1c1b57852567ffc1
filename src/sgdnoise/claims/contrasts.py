"""The vocabulary of the claims: linear contrasts between cells, each with the band of values that agrees with the claim.

A claim holds if all of its contrasts lie in their bands: a plateau is that all differences within it are small, a fall that
one difference is large, a power law that a least-squares slope (which is a contrast too) is near its exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import inf, log2
from typing import NamedTuple

WRN, SKIPINIT, AUTOENCODER = "wrn_cifar10", "wrn_skipinit_cifar10", "autoencoder_mnist"
LSTM, IMAGENET = "lstm_ptb", "resnet50_imagenet"
SGD, MOMENTUM, WARMUP = "sgd", "momentum", "momentum_warmup"

# The authors' own noise, by which their independent sweeps differ; it is in every tolerance. Where a claim is about the size of
# an effect, half the paper's effect agrees (our choice: less would be another statement).
POINT = 0.001  # of accuracy: 94.35 and 94.47 % for the same cell (ICLR v5 fig. 2, fig. 5)
OCTAVE = 1.0  # of learning rate: 0.25 and 0.5 for the same cell (ICLR v5 table 2, fig. 5); also the Wide-ResNets' grid step
HALF_OCTAVE = 0.55  # the LSTM's grid step (ICLR v5 fig. 7), and what the paper rounds: 2.8 for 2.83

CRITICAL = "critical"  # followed by the method that it is compared for, whose batch sizes it is measured at
QUANTITIES = {  # of an accuracy, test or train, its error: 1 - accuracy, so that lower is better for every benchmark
    "error": "test error",
    "train": "train loss at the test-optimal lr",
    "best_train": "best train loss",
    "lr": "log2 test-optimal lr",
    "train_lr": "log2 train-optimal lr",
    "stable_lr": "log2 largest lr that completes",
    CRITICAL: "log2 critical batch size",
}


class Cell(NamedTuple):
    """A quantity at a point of a budget mode's sweep: `swept` is its batch size, or in `unlimited` its epochs."""

    quantity: str
    optimizer: str
    swept: int
    benchmark: str = ""  # empty: the claim's own


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cells, and the band [low, high] that agrees with the claim."""

    label: str
    terms: dict[Cell, float]
    low: float = -inf
    high: float = inf


def optimizers_of(contrasts: Iterable[Contrast]) -> set[str]:
    """Name the optimizers that contrasts compare."""
    return {cell.optimizer for contrast in contrasts for cell in contrast.terms}


@dataclass(frozen=True)
class Claim:
    """A falsifiable statement of the paper.

    `paper` is what the paper found for `quantity`; `rule` says in words what `contrasts` decide, with the tolerance.
    `scale_free` makes, from a list of swept values, contrasts that need neither the paper's sizes nor its numbers, for the
    weaker statement `evidence`. `doubt` names an inconsistency of the source, because of which the claim cannot be confirmed;
    `short` says why a full study often leaves the claim open even if it is true as the paper has it (`power`).
    """

    name: str
    benchmark: str
    mode: str
    statement: str
    source: str
    quantity: str
    paper: str
    rule: str
    contrasts: list[Contrast]
    evidence: str = ""
    scale_free: Callable[[list[int]], list[Contrast]] | None = None
    doubt: str = ""
    short: str = ""


def rise(quantity: str, optimizer: str, first: int, last: int, low: float = -inf, high: float = inf) -> list[Contrast]:
    """Compare the two ends of a sweep: last minus first.

    >>> rise("error", "sgd", 512, 2048, low=0)[0].label
    'test error, sgd, 512 to 2048'
    """
    terms = {Cell(quantity, optimizer, last): 1.0, Cell(quantity, optimizer, first): -1.0}
    return [Contrast(f"{QUANTITIES[quantity]}, {optimizer}, {first} to {last}", terms, low, high)]


def falls(quantity: str, optimizer: str, swept: Sequence[int], by: Sequence[float]) -> list[Contrast]:
    """Compare neighbours: each is lower than the one before, by at least so much."""
    return [
        contrast
        for (first, last), least in zip(pairwise(swept), by, strict=True)
        for contrast in rise(quantity, optimizer, first, last, high=-least)
    ]


def flat(quantity: str, optimizer: str, swept: Sequence[int], tolerance: float) -> list[Contrast]:
    """Compare all pairs: the range is at most the tolerance."""
    return [
        contrast
        for first, last in combinations(swept, 2)
        for contrast in rise(quantity, optimizer, first, last, -tolerance, tolerance)
    ]


def gap(quantity: str, one: str, other: str, swept: Sequence[int], low: float = -inf, high: float = inf) -> list[Contrast]:
    """Compare two optimizers at each point: one minus the other."""
    return [
        Contrast(
            f"{QUANTITIES[quantity]} at {value}, {one} minus {other}",
            {Cell(quantity, one, value): 1.0, Cell(quantity, other, value): -1.0},
            low,
            high,
        )
        for value in swept
    ]


def level(quantity: str, optimizer: str, wanted: dict[int, float], tolerance: float) -> list[Contrast]:
    """Compare learning rates with the paper's own, {swept: learning rate}; the tolerance is in octaves."""
    return [
        Contrast(
            f"{QUANTITIES[quantity]}, {optimizer} at {swept}",
            {Cell(quantity, optimizer, swept): 1.0},
            log2(lr) - tolerance,
            log2(lr) + tolerance,
        )
        for swept, lr in wanted.items()
    ]


def line(quantity: str, optimizer: str, swept: Sequence[int]) -> dict[Cell, float]:
    """Return the terms of the slope of a least-squares line through a sweep, per octave."""
    x = [log2(value) for value in swept]
    middle = sum(x) / len(x)
    square = sum((value - middle) ** 2 for value in x)
    return {Cell(quantity, optimizer, value): (at - middle) / square for value, at in zip(swept, x, strict=True)}


def slope(optimizer: str, swept: Sequence[int], wanted: float, tolerance: float) -> list[Contrast]:
    """Fit a power law by least squares: the exponent of the test-optimal learning rate.

    >>> sorted(slope("sgd", [64, 256], 1, 0.5)[0].terms.values())
    [-0.5, 0.5]
    """
    label = f"slope of {QUANTITIES['lr']}, {optimizer}, {swept[0]} to {swept[-1]}"
    return [Contrast(label, line("lr", optimizer, swept), wanted - tolerance, wanted + tolerance)]


def trend(quantity: str, optimizer: str, swept: Sequence[int], low: float = -inf, high: float = inf) -> list[Contrast]:
    """Compare the ends of a least-squares line through a sweep, last minus first: all of its points tell, not two.

    >>> sorted(trend("lr", "sgd", [64, 128, 256], 0)[0].terms.values())
    [-1.0, 0.0, 1.0]
    """
    octaves = log2(swept[-1] / swept[0])
    terms = {cell: octaves * weight for cell, weight in line(quantity, optimizer, swept).items()}
    return [Contrast(f"trend of {QUANTITIES[quantity]}, {optimizer}, {swept[0]} to {swept[-1]}", terms, low, high)]


def combine(label: str, parts: Sequence[tuple[float, list[Contrast]]], low: float = -inf, high: float = inf) -> list[Contrast]:
    """Add up contrasts with weights; their own bands do not matter."""
    terms: dict[Cell, float] = {}
    for weight, contrasts in parts:
        for cell, coefficient in contrasts[0].terms.items():
            terms[cell] = terms.get(cell, 0.0) + weight * coefficient
    return [Contrast(label, terms, low, high)]


def excess(quantity: str, one: str, other: str, first: int, last: int, low: float) -> list[Contrast]:
    """Compare how two optimizers change from first to last."""
    ends = [(weight, rise(quantity, name, first, last)) for weight, name in ((1, one), (-1, other))]
    return combine(f"rise of {QUANTITIES[quantity]} from {first} to {last}, {one} minus {other}", ends, low)


def follows(optimizer: str, swept: Sequence[int], exponent: float, tolerance: float) -> list[Contrast]:
    """Compare the growth of the optimal learning rate from first to last with a power law, in octaves; no growth never agrees."""
    growth = exponent * log2(swept[-1] / swept[0])
    return rise("lr", optimizer, swept[0], swept[-1], growth - min(tolerance, growth / 2), growth + tolerance)
