"""Decide the paper's claims from a table of optima, with the uncertainty of every number.

A contrast agrees with a claim if it lies in the claim's band at the 5 % level (as in an equivalence test: its whole 90 %
interval lies inside), disagrees if it lies outside at 5 % divided by the claim's number of contrasts, and is undetermined
between. All contrasts must agree for `confirmed`, which needs no correction; one disagreement makes `contradicted`, whence
the division. The claims are not corrected for one another. A study that is looked at several times (`decide`) has these levels
spent over its looks, and wider intervals at each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sgdnoise.analysis.estimate import NUM_DRAWS, interval
from sgdnoise.analysis.looks import ONLY, Look
from sgdnoise.analysis.sweep import epoch_sizes
from sgdnoise.claims.contrasts import Cell, Claim, Contrast, optimizers_of
from sgdnoise.claims.measurements import Key, Measurement, swept_of
from sgdnoise.claims.paper import FIXED, paper_budget, paper_table, same_budget, scale
from sgdnoise.claims.power import power
from sgdnoise.claims.statements import CLAIMS
from sgdnoise.study import text

LEVEL = 0.05
AGREES, DISAGREES, MISSING, EDGE, UNKNOWN, NOISE = "agrees", "disagrees", "missing", "edge", "unknown", "noise"
UNFAIR, UNREAD = "unfair", "unread"  # of optimizers that are compared; of batch sizes that do not read the same examples
UNSCALED = "unscaled"  # of a margin that is a share of a metric without a zero
REASONS = {  # of undetermined, the first that applies
    MISSING: "missing cells",
    UNREAD: "an epoch has more examples at one batch size than at another, as ends of a text are not read",
    UNSCALED: "a margin is a share of the test metric, which means nothing where that may be below 0, or is a score that is no fraction",
    UNFAIR: "the optimizers compared differ in seeds, or in the number of their learning rates",
    EDGE: "optimum at the edge of the grid",
    UNKNOWN: "one run counts per cell, so the noise is unknown",
    NOISE: "noise larger than the effect",
}
WORDS = {True: ("confirmed", "contradicted"), False: ("agrees", "disagrees")}  # by: is it a verdict on the paper?


class Outcome(NamedTuple):
    """What the measurements say of one contrast, with the interval that decides, of 90 % if there is one look.

    `lacks` is what is not measured.
    """

    contrast: Contrast
    state: str
    value: float = np.nan
    interval_low: float = np.nan
    interval_high: float = np.nan
    lacks: tuple[Cell, ...] = ()

    @property
    def text(self) -> str:
        """Write the contrast, its value and the band that agrees."""
        low, high = (f"{end:.3g}" for end in (self.contrast.low, self.contrast.high))
        band = f"at least {low}" if high == "inf" else f"at most {high}" if low == "-inf" else f"{low} to {high}"
        number = "not measured" if np.isnan(self.value) else f"{self.value:.3g}"
        known = "" if np.isnan(self.interval_low) else f" [{self.interval_low:.3g}, {self.interval_high:.3g}]"
        return f"{self.contrast.label}: {number}{known} (agrees: {band})"


class Decided(NamedTuple):
    """A claim with what the measurements say of its contrasts: on the paper itself, or as evidence at a `scale` of its own."""

    claim: Claim
    role: str
    benchmark: str
    scale: str
    outcomes: list[Outcome]


def decide_claims(
    optimum: pd.DataFrame,
    sibling_of: dict[str, str],
    found: dict[Key, Measurement],
    looks: Mapping[str, Look] = MappingProxyType({}),
) -> list[Decided]:
    """Decide every claim of the paper, then the evidence from other budgets and from siblings.

    `optimum` has the columns of optimum.csv, which the paper's own table has too, and `found` is what `measure` makes of it;
    `sibling_of` maps a benchmark to the paper's that it stands for. `looks` has the look that a benchmark is at, if there are several.
    """
    at_budget, read = same_budget(optimum, paper_table()), examples_read(optimum)
    points = {(one["benchmark"], one["mode"], one["optimizer"], swept_of(one)) for one in at_budget.to_dict("records")}
    own = {key: one for key, one in found.items() if key[:4] in points}
    verdicts = [
        Decided(
            claim,
            "paper",
            claim.benchmark,
            "the paper's",
            judge_all(claim, claim.benchmark, own, claim.contrasts, looks.get(claim.benchmark, ONLY), read),
        )
        for claim in CLAIMS
    ]
    evidence = []
    for claim in CLAIMS:
        if not claim.scale_free:
            continue
        optimizers = optimizers_of(claim.scale_free([1, 2]))  # the same whatever is swept
        for benchmark in optimum["benchmark"].unique():
            role = _role(claim, benchmark, sibling_of, at_budget)
            swept = _swept(claim.mode, benchmark, optimizers, found)
            if role and len(swept) > 1:
                here = optimum[(optimum["benchmark"] == benchmark) & (optimum["mode"] == claim.mode)]
                own = here["optimizer"].isin(optimizers)
                outcomes = judge_all(claim, benchmark, found, claim.scale_free(swept), looks.get(benchmark, ONLY), read)
                evidence.append(Decided(claim, role, benchmark, scale(here[own], claim.mode), outcomes))
    return verdicts + evidence


def _role(claim: Claim, benchmark: str, sibling_of: dict[str, str], at_budget: pd.DataFrame) -> str:
    """Say what a benchmark can be evidence of beside the verdict, if anything."""
    if sibling_of.get(benchmark) == claim.benchmark:
        return "sibling"
    decided = ((at_budget["benchmark"] == benchmark) & (at_budget["mode"] == claim.mode)).any()
    return "other budget" if benchmark == claim.benchmark and not decided else ""


def _swept(mode: str, benchmark: str, optimizers: set[str], found: dict[Key, Measurement]) -> list[int]:
    """List the batch sizes (or epochs) that a benchmark has in a budget mode for all of some optimizers."""
    swept = [{key[3] for key in found if key[:3] == (benchmark, mode, name)} for name in optimizers]
    return sorted(set.intersection(*swept))


def row(decided: Decided) -> dict[str, Any]:
    """Return the row of a claim in claims.csv."""
    claim, role, benchmark, scale, outcomes = decided
    verdict, reason = conclude(outcomes, claim, role)
    return {
        "claim": claim.name,
        "role": role,
        "benchmark": benchmark,
        "mode": claim.mode,
        "scale": scale,
        "statement": claim.statement if role == "paper" else claim.evidence,
        "verdict": verdict,
        "reason": reason,
        "source": claim.source,
        "quantity": claim.quantity,
        "paper": claim.paper if role == "paper" else "",
        "needs": needs(claim, (cell for one in outcomes for cell in one.contrast.terms)) if role == "paper" else "",
        "rule": claim.rule if role in ("paper", "conjecture") else "scale-free: only the direction, as each contrast says",
        "power": power(claim) if role == "paper" else "",
        "measured": _headline(outcomes),
        "num_contrasts": len(outcomes),
        "contrasts": "; ".join(outcome.text for outcome in outcomes),
    }


def judge_all(
    claim: Claim,
    benchmark: str,
    found: dict[Key, Measurement],
    contrasts: list[Contrast],
    look: Look,
    read: Mapping[tuple, float],
) -> list[Outcome]:
    """Compare contrasts of a claim with their bands; nothing is said where batch sizes `read` unlike numbers of examples in an epoch."""
    outcomes = [judge(contrast, claim, benchmark, found, len(contrasts), look) for contrast in contrasts]
    return [one if alike(one.contrast, claim, benchmark, read) else one._replace(state=UNREAD) for one in outcomes]


def examples_read(optimum: pd.DataFrame) -> dict[tuple, float]:
    """Return the examples that an epoch has at each point of a table of optima, by benchmark, mode, optimizer and what is swept."""
    points = optimum.drop_duplicates(["benchmark", "mode", "optimizer", "budget", "batch_size"])
    keys = ((row["benchmark"], row["mode"], row["optimizer"], swept_of(row)) for row in points.to_dict("records"))
    return dict(zip(keys, epoch_sizes(points), strict=True))


def alike(contrast: Contrast, claim: Claim, benchmark: str, read: Mapping[tuple, float]) -> bool:
    """Tell whether all points of a contrast on one benchmark read as many examples in an epoch."""
    sizes: dict[str, list[float]] = {}
    for key in keys_of(contrast, claim, benchmark).values():
        if key[:4] in read:
            sizes.setdefault(key[0], []).append(read[key[:4]])
    return all(max(some) <= (1 + text.ALIKE) * min(some) for some in sizes.values())


def keys_of(contrast: Contrast, claim: Claim, benchmark: str) -> dict[Cell, Key]:
    """Return the keys by which the terms of a contrast are measured."""
    return {cell: (cell.benchmark or benchmark, claim.mode, cell.optimizer, cell.swept, cell.quantity) for cell in contrast.terms}


def draws_of(contrast: Contrast, keys: dict[Cell, Key], found: dict[Key, Measurement]) -> np.ndarray:
    """Return draws from what is known of a contrast, (NUM_DRAWS,); terms whose noise is not known count as certain.

    No verdict rests on such terms; what would decide a claim is foreseen with them.
    """
    terms = [(weight, found[keys[cell]]) for cell, weight in contrast.terms.items()]
    return sum(weight * (one.value if one.draws is None else one.draws) for weight, one in terms) + np.zeros(NUM_DRAWS)


def judge(
    contrast: Contrast, claim: Claim, benchmark: str, found: dict[Key, Measurement], num: int, look: Look = ONLY
) -> Outcome:
    """Compare a contrast, one of `num`, with its band."""
    keys = keys_of(contrast, claim, benchmark)
    if lacks := tuple(
        cell for cell, key in keys.items() if key not in found or (np.isnan(found[key].value) and not found[key].edge)
    ):
        return Outcome(contrast, MISSING, lacks=lacks)
    terms = [(weight, found[keys[cell]]) for cell, weight in contrast.terms.items()]
    value = round(sum(weight * one.value for weight, one in terms), 12) + 0.0  # no minus zero
    if any(one.edge for _, one in terms):
        return Outcome(contrast, EDGE, value)
    if any(one.draws is None for _, one in terms):
        return Outcome(contrast, UNKNOWN, value)
    draws = draws_of(contrast, keys, found)
    low, high = interval(draws, 1 - 2 * look.level(LEVEL))
    if contrast.low <= low and high <= contrast.high:
        return Outcome(contrast, AGREES, value, low, high)
    wide_low, wide_high = interval(draws, 1 - 2 * look.level(LEVEL / num))
    outside = wide_high < contrast.low or wide_low > contrast.high
    return Outcome(contrast, DISAGREES if outside else NOISE, value, low, high)


def conclude(outcomes: list[Outcome], claim: Claim, role: str) -> tuple[str, str]:
    """Return the verdict of a claim from those of its contrasts, and the reason."""
    yes, no = WORDS[role == "paper"]
    if against := [outcome for outcome in outcomes if outcome.state == DISAGREES]:
        return no, "; ".join(outcome.text for outcome in against)
    for state, reason in REASONS.items():
        open_ = [outcome for outcome in outcomes if outcome.state == state]
        if state == NOISE and claim.doubt and role == "paper":
            return "undetermined", f"the source contradicts itself: {claim.doubt}"
        if open_:
            labels = "; ".join(one.contrast.label for one in open_)
            if state == MISSING and role != "conjecture":
                labels = needs(claim, [cell for outcome in open_ for cell in outcome.lacks])
            return "undetermined", f"{reason}: {labels}"
    return yes, ""


def needs(claim: Claim, cells: Iterable[Cell]) -> str:
    """List cells of a claim at the paper's budget, by benchmark and optimizer."""
    swept: dict[str, set[int]] = {}
    for cell in cells:
        swept.setdefault(f"{cell.benchmark} {cell.optimizer}".strip(), set()).add(cell.swept)
    listed = "; ".join(f"{name} {', '.join(map(str, sorted(values)))}" for name, values in sorted(swept.items()))
    return f"{claim.mode} with {FIXED[claim.mode]} {paper_budget(claim.benchmark, claim.mode)}: {listed}"


def _headline(outcomes: list[Outcome]) -> str:
    """Write the contrast that decides: of those in its state with the same band, the nearest to its end, or furthest beyond."""
    order = (DISAGREES, MISSING, UNREAD, UNSCALED, UNFAIR, EDGE, UNKNOWN, NOISE, AGREES)
    first = min(outcomes, key=lambda one: order.index(one.state))
    same = [
        one
        for one in outcomes
        if (one.state, one.contrast.low, one.contrast.high) == (first.state, first.contrast.low, first.contrast.high)
    ]
    margins = [min(one.value - one.contrast.low, one.contrast.high - one.value) for one in same]
    return same[int(np.argmin(margins))].text if np.isfinite(margins).any() else first.text
