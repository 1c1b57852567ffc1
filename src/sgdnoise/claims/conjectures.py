"""Two statements of the authors' talk that the paper does not test, as claims about any network of a study that has the optimizers.

(i) At a constant epoch budget curvature can be escaped by a smaller batch, so methods made for curvature help at large batches or under constant
step budgets only, and methods made for noise do not work. (ii) What noise does for the test metric can be had by explicit regularisation.

Metrics are those where lower is better (an accuracy counts as its error). Margins are shares of SGD's metric, written here before the
studies that they decide; where a share means nothing, as of a loss below 0, they decide nothing. Each claim names what contradicts it: its contrast beyond the band.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise.analysis.gap import critical_batch
from sgdnoise.analysis.looks import ONLY, Look
from sgdnoise.claims.arms import best_at
from sgdnoise.claims.comparable import fair, has_shares, of_shares, treatment
from sgdnoise.claims.contrasts import CRITICAL, QUANTITIES, Cell, Claim, Contrast, optimizers_of
from sgdnoise.claims.measurements import Key, Measurement, swept_of
from sgdnoise.claims.paper import scale
from sgdnoise.claims.verdicts import MISSING, UNFAIR, UNREAD, UNSCALED, Decided, Outcome, examples_read, judge_all
from sgdnoise.study.arms import Swept, arms, at_of, base_of, plain
from sgdnoise.study.config import Config
from sgdnoise.study.optimizers import EQUAL, OPTIMIZERS, PAPERS, defined_name

CURVATURE = ("momentum", "adam", "adam_decoupled", "muon", "kfac", "soap")
VARIANCE = ("svrg", "alpha_svrg")
NO_BETTER = 0.05  # our choice: a gain of less than 5 % of SGD's metric is none
HALF = 0.5  # our choice: of momentum's gain, of the gap
SLACK = 0.02  # our choice: of SGD's metric, where momentum has no gain
SOURCE = "talk"


def ends(optimizer: str, swept: Swept) -> tuple[int, int]:
    """Return the smallest and the largest batch size that an optimizer and SGD both have."""
    both = sorted(set(swept[optimizer]) & set(swept["sgd"]))
    return both[0], both[-1]


def errors(terms: Mapping[tuple[str, int], float], label: str) -> Contrast:
    """Make a contrast between test errors, {(optimizer, batch size): weight}, that agrees from 0 on."""
    return Contrast(label, {Cell("error", *place): weight for place, weight in terms.items()}, 0)


def claim(name: str, mode: str, statement: str, rule: str, contrasts: list[Contrast]) -> Claim:
    """Make a claim about whatever network has these contrasts."""
    return Claim(name, "", mode, statement, SOURCE, "test metric, lower is better", "", rule, contrasts, statement)


def of_package(swept: Swept, config: Config) -> Swept:
    """Leave out what a study has given the name of a method of the package's, unless it is that method, or torch's of that name."""
    own = {name: said for name, said in config["optimizers"].items() if name in OPTIMIZERS}
    others = {name for name, said in own.items() if EQUAL in said or plain(said) != plain({"optimizer": name})}
    return {name: at for name, at in swept.items() if name not in others or own[name].get("class", "").lower() == name}


def of_curvature(mode: str, swept: Swept) -> Iterator[Claim]:
    """Claim of each method made for curvature where it helps."""
    for one in (name for name in CURVATURE if name in swept and set(swept[name]) & set(swept["sgd"])):
        small, large = ends(one, swept)
        if mode == "constant_epoch" and small < large:
            yield claim(
                f"C1 {one}",
                mode,
                f"At small batches and a constant epoch budget, {one} is no better than SGD.",
                f"at the smallest batch size its metric is at least {1 - NO_BETTER:g} of SGD's",
                [errors({(one, small): 1, ("sgd", small): NO_BETTER - 1}, f"{one} minus {1 - NO_BETTER:g} of sgd at {small}")],
            )
            yield claim(
                f"C2 {one}",
                mode,
                f"At the largest batch and a constant epoch budget, {one} is better than SGD.",
                "at the largest batch size its metric is below SGD's",
                [errors({("sgd", large): 1, (one, large): -1}, f"sgd minus {one} at {large}")],
            )
        if mode == "constant_step" and one != "momentum" and "momentum" in swept:
            sizes = sorted(set(swept[one]) & set(swept["sgd"]) & set(swept["momentum"]))
            gains = [
                errors(
                    {("sgd", size): 1 - HALF + SLACK, ("momentum", size): HALF, (one, size): -1},
                    f"{one} against half of momentum's gain over sgd at {size}",
                )
                for size in sizes
            ]
            yield claim(
                f"C3 {one}",
                mode,
                f"At constant steps, {one} is better than SGD at every batch at which momentum is.",
                f"at every batch size it has at least half of momentum's gain over SGD, but for {SLACK:g} of SGD's metric; at the largest,"
                " momentum has a gain",
                [errors({("sgd", sizes[-1]): 1, ("momentum", sizes[-1]): -1}, f"sgd minus momentum at {sizes[-1]}"), *gains]
                if sizes
                else [],
            )


def of_variance(mode: str, swept: Swept, config: Config) -> Iterator[Claim]:
    """Claim of each method made for noise that it does not work: at equal updates, and where it makes fewer for its gradients."""
    methods, defined = [plain({"optimizer": name}) for name in VARIANCE], config["optimizers"].items()
    equal = [
        name for name, said in defined if said.get(EQUAL) == "equal" and "regulariser" not in said and plain(said) in methods
    ]
    known = of_package(swept, config)
    for one in [name for name in VARIANCE if name in known] + [name for name in equal if name in swept]:
        sizes = sorted(set(swept[one]) & set(swept["sgd"]))
        what = "gradient evaluations" if one in equal else "updates"
        yield claim(
            f"{'C5' if one in equal else 'C4'} {one} {mode}",
            mode,
            f"{one} is not better than SGD at any batch, at equal {what}.",
            f"at every batch size its metric is at least {1 - NO_BETTER:g} of SGD's",
            [
                errors({(one, size): 1, ("sgd", size): NO_BETTER - 1}, f"{one} minus {1 - NO_BETTER:g} of sgd at {size}")
                for size in sizes
            ],
        )


def compared(mode: str, swept: Swept) -> Iterator[tuple[str, tuple[str, str, str], list[int]]]:
    """Yield each method whose critical batch size is compared, with the order claimed and the batch sizes that all three have.

    Only at these are they measured, so that none has a larger one for being trained at larger ones.
    """
    for one in (name for name in CURVATURE if name in swept and name != "momentum" and {"sgd", "momentum"} <= set(swept)):
        order = ("sgd", "momentum", one)
        sizes = sorted(set.intersection(*(set(swept[name]) for name in order)))
        if mode == "constant_epoch" and len(sizes) > 2:
            yield one, order, sizes


def of_critical_batches(mode: str, swept: Swept) -> Iterator[Claim]:
    """Claim of each method that its critical batch size is above momentum's, and momentum's above SGD's."""
    for one, order, sizes in compared(mode, swept):
        at = {name: Cell(f"{CRITICAL} {one}", name, sizes[-1]) for name in order}
        rests_on = {name: {Cell("error", name, size): 0.0 for size in sizes} for name in order}
        yield claim(
            f"C6 {one}",
            mode,
            f"The critical batch sizes are ordered: SGD, momentum, {one}.",
            "each is larger than the one before; a critical batch size is where the metric has risen by 10 % over the smallest batch's",
            [
                Contrast(
                    f"{QUANTITIES[CRITICAL]}, {above} minus {below}",
                    {at[above]: 1, at[below]: -1} | rests_on[above] | rests_on[below],
                    0,
                )
                for below, above in pairwise(order)
            ],
        )


def of_regularisers(mode: str, swept: Swept, config: Config) -> Iterator[Claim]:
    """Claim of each regulariser that it closes the gap between small and large batch, and of whole batches that they close less of it."""
    if mode != "constant_step":
        return
    own, bases = arms(config), {name: base for name in arms(config) if name in swept and (base := base_of(name, swept, config))}
    for name, base in bases.items():
        said, small, large = own[name], min(swept[base]), max(swept[name])
        if large not in swept[base] or small == large:
            continue
        gap = errors({(base, large): 1, (base, small): -1}, f"gap: {base} at {large} minus at {small}")
        half = {(base, large): 1 - HALF, (base, small): HALF, (name, large): -1}
        yield claim(
            f"C7 {name}",
            mode,
            f"At equal updates, {name} at the large batch recovers the small batch's test metric.",
            f"there is a gap between batch size {small} and {large}, and at the best coefficient at least half of it is recovered",
            [gap, errors(half, f"{name} at {large} against half of the gap")],
        )
        for other in bases:
            if other != name and whole(own[other]) == whole(said) == dict(own[other]) and large in swept[other]:
                yield claim(
                    f"C8 {name}",
                    mode,
                    f"{name} on micro-batches recovers more than on the whole batch ({other}).",
                    "at its best coefficient its metric is below that on the whole batch",
                    [errors({(other, large): 1, (name, large): -1}, f"{other} minus {name} at {large}")],
                )


def whole(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition of the same regulariser on whole batches."""
    return {**said, "micro_batch": "all"}


def claims_about(mode: str, swept: Swept, config: Config) -> list[Claim]:
    """List the claims about a network whose optimizers have these batch sizes in a budget mode."""
    if "sgd" not in swept:
        return list(of_regularisers(mode, swept, config))
    return [
        one
        for made in (
            of_curvature(mode, of_package(swept, config)),
            of_critical_batches(mode, of_package(swept, config)),
            of_variance(mode, swept, config),
            of_regularisers(mode, swept, config),
        )
        for one in made
        if one.contrasts
    ]


def decide_conjectures(
    optimum: pd.DataFrame, cells: pd.DataFrame, found: dict[Key, Measurement], config: Config, looks: Mapping[str, Look]
) -> list[Decided]:
    """Decide the claims about every network of a study that has the optimizers, where arms were treated alike."""
    decided: list[Decided] = []
    if set(map(defined_name, optimum["optimizer"])) <= set(PAPERS):
        return decided
    for (benchmark, mode), rows in optimum[optimum["mode"] != "unlimited"].groupby(["benchmark", "mode"], sort=False):
        swept: dict[str, list[int]] = {}
        for optimizer, at in sorted({(one["optimizer"], swept_of(one)) for one in rows.to_dict("records")}):
            swept.setdefault(optimizer, []).append(at)
        here = found | derived(str(benchmark), str(mode), swept, found, config)
        named = {name for *_, name, _, _ in here}
        swept |= {name: at_of(name, swept) for name in arms(config) if name in named}
        read = examples_read(rows)
        test = rows[rows["metric"] == rows["metric"].iloc[0]]
        treated = treatment(cells[cells["benchmark"] == benchmark], rows)
        shares = has_shares(test["mean"], test["direction"].iloc[0])
        for one in claims_about(str(mode), swept, config):
            outcomes = judge_all(one, str(benchmark), here, one.contrasts, looks.get(str(benchmark), ONLY), read)
            unlike = [outcome._replace(state=comparable_state(outcome, treated, shares)) for outcome in outcomes]
            own = rows[rows["optimizer"].map(defined_name).isin(optimizers_of(one.contrasts))]
            decided.append(Decided(one, "conjecture", str(benchmark), scale(own, str(mode)), unlike))
    return sorted(decided, key=lambda one: one.claim.name)


def comparable_state(outcome: Outcome, treated: Mapping[tuple[str, int], tuple[int, int]], shares: bool) -> str:
    """Return the state of a contrast as judged, but where its metric has not the `shares` that it is of, or its arms were treated unlike."""
    if outcome.state in (MISSING, UNREAD):
        return outcome.state
    if of_shares(outcome.contrast) and not shares:
        return UNSCALED
    return outcome.state if fair(outcome, treated) else UNFAIR


def derived(benchmark: str, mode: str, swept: Swept, found: dict[Key, Measurement], config: Config) -> dict[Key, Measurement]:
    """Measure what several points tell together: regularised optimizers at their best coefficients, critical batch sizes."""
    made: dict[Key, Measurement] = {}
    for arm in arms(config):
        if (base := base_of(arm, swept, config)) is None:
            continue
        for size in at_of(arm, swept):
            best = best_at(benchmark, mode, arm, base, size, swept, found)
            if best is not None:
                value = Measurement(float(np.median(best.value)), best.value, bool(best.edge))
                made[benchmark, mode, arm, size, "error"] = value
    for one, order, sizes in compared(mode, of_package(swept, config)):
        for name in order:
            at = {size: found[benchmark, mode, name, size, "error"] for size in sizes}
            if (known := {size: some.draws for size, some in at.items() if some.draws is not None}).keys() == at.keys():
                draws = critical_batch(known, name)
                key = (benchmark, mode, name, sizes[-1], f"{CRITICAL} {one}")
                made[key] = Measurement(
                    float(np.median(draws)), draws, False
                )  # if at an edge, the metrics that it rests on say so
    return made
