"""Where the looks of `decide` add seeds, and which verdict stands."""

import pandas as pd
import pytest
from test_decide import LRS, study_of

from sgdnoise.claims import looks
from sgdnoise.claims.statements import to_decide
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import validate


def ask(claims="all", margin=None, looked=(), **options):
    """A study with `decide`, and its runs."""
    config, cells = study_of(**options)
    decide = {"claims": claims, "max_seeds": 15} | ({} if margin is None else {"margin": margin})
    return validate({"benchmarks": config["benchmarks"], "decide": decide, "looks": list(looked)}), cells


def points(added):
    return {(line["optimizer"], line["batch_size"]) for line in added}


def test_seeds_go_to_the_claim_that_is_open_up_to_the_next_look():
    config, cells = ask(["5"], noise=0.01)
    added = looks.next_look(config, cells)
    assert points(added) == {("sgd", 64), ("momentum", 64)}
    assert {line["add_seeds"] for line in added} == {4}
    after = config | {"looks": [added]}
    seeds = {(cell.optimizer, cell.batch_size, float(cell.lr)): len(seed_range(cell.seeds)) for cell in grid.whole_cells(after)}
    assert set(seeds.values()) == {3, 7}
    near = {
        (name, 64, lr) for name in ("sgd", "momentum") for lr in LRS if lr < max(LRS)
    }  # 8 is too far from the optimum, 1, to count
    assert {place for place, num in seeds.items() if num == 7} == near
    assert {cell.path for cell in grid.cells(config)} < {cell.path for cell in grid.cells(after)}


def test_nothing_is_added_for_a_claim_that_is_decided_or_not_asked_for():
    assert looks.next_look(*ask(["5"], noise=0.0005)) == []
    assert looks.next_look(*ask(["11a"], noise=0.01)) == []


def test_nothing_is_added_where_it_would_hardly_decide(monkeypatch):
    """A difference of one octave is at the end of the band: it may be decided either way, but seldom."""
    inside, at_the_end = (ask(["5"], noise=0.006, best=best) for best in ((1, 1), (1, 2)))
    monkeypatch.setattr(looks, "FUTILE", 0.4)
    assert looks.next_look(*inside)
    assert looks.next_look(*at_the_end) == []


def test_advice_with_a_margin_has_seeds_too():
    assert points(looks.next_look(*ask(["11a"], margin=0.02, noise=0.01)))


def test_seeds_are_added_to_those_that_other_looks_left_behind():
    first = {"benchmark": "wrn_digits", "optimizer": "sgd", "budget": "epochs4", "batch_size": 64, "lr": [1, 1], "add_seeds": 4}
    config, _ = ask(["5"], looked=[[first]])
    _, cells = study_of(num=3, noise=0.01)
    more = cells.query("optimizer == 'sgd' and batch_size == 64 and lr == 1")
    cells = pd.concat([cells, *(more.assign(seed=more["seed"] + 3 * num) for num in (1, 2))]).query("seed < 7")
    had = pd.DataFrame([vars(cell) for cell in grid.whole_cells(config)]).assign(lr=lambda some: some["lr"].astype(float))
    assert len(looks.runs_at(config, cells)) == sum(len(seed_range(seeds)) for seeds in had["seeds"])
    assert looks.runs_at(config | {"looks": []}, cells)["seed"].max() == 2
    added = [line for line in looks.next_look(config, cells) if (line["optimizer"], line["batch_size"]) == ("sgd", 64)]
    assert {(*line["lr"], line["add_seeds"]) for line in added if line["lr"][0] <= 1 <= line["lr"][1]} == {(1, 1, 8)}
    assert {line["add_seeds"] for line in added} == {8, 12}


def test_the_first_verdict_stands():
    _, cells = ask(["5"], noise=0.0005, num=7)
    line = {"benchmark": "wrn_digits", "budget": "epochs4", "batch_size": 64, "lr": [min(LRS), max(LRS)], "add_seeds": 4}
    sooner, _ = ask(["5"], num=3, looked=[[line | {"optimizer": name} for name in ("sgd", "momentum")]])
    judged = looks.judge_looks(sooner, cells)
    assert len(judged) == 2
    found = {(one.role, one.claim.name): number for one, number in looks.first_verdicts(judged)}
    assert found["sibling", "5"] == 1
    assert found["paper", "1"] == 2  # never decided


def test_a_claim_that_there_is_not_is_named():
    config, _ = ask(["5", "77"])
    with pytest.raises(ValueError, match=r"decide.claims: there is no claim '77'; there are: 1, 2"):
        to_decide(config)
