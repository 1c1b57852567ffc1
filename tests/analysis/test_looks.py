"""The levels of a study's looks against simulated random walks, and which look a study is at."""

import numpy as np
import pytest
from conftest import changed
from made_up import EXTENDED
from scipy import stats

from sgdnoise.analysis.looks import Look, levels, look_at
from sgdnoise.study import grid, looks, windows
from sgdnoise.study.config import validate


@pytest.mark.parametrize("numbers", [(15, 31), (3, 7, 15, 31), (5, 11, 20)])
@pytest.mark.parametrize("whole", [0.05, 0.01])
def test_the_looks_together_err_in_the_whole_level(numbers, whole):
    walks = np.random.default_rng(0).standard_normal((200_000, numbers[-1])).cumsum(axis=1)
    beyond = stats.norm.sf(walks[:, np.array(numbers) - 1] / np.sqrt(numbers)) < levels(numbers, whole)
    spent = np.logical_or.accumulate(beyond, axis=1).mean(axis=0)
    np.testing.assert_allclose(spent, whole * np.array(numbers) / numbers[-1], atol=4 * np.sqrt(whole / 200_000))


def test_one_look_has_the_whole_level():
    assert Look().level(0.05) == 0.05


def study(**changes):
    return validate(changed(EXTENDED, changes))


def test_a_study_is_at_the_look_that_its_added_seeds_say():
    config = study(decide={"max_seeds": 15})
    assert looks.numbers_of("autoencoder_digits", config) == [4, 9, 15]
    assert [look_at("autoencoder_digits", config | {"looks": [[]] * num}).index for num in range(4)] == [0, 1, 2, 2]
    assert look_at("wrn_cifar10", config) == look_at("autoencoder_digits", study()) == Look()
    assert looks.most(config) == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"decide": {"max_seeds": 4}}, "decide.max_seeds: 4 adds none to the 4 of `seeds`; choose more"),
        ({"decide": {"max_seeds": 9, "claims": "every"}}, "decide.claims: 'all' was expected; expected all, or a list of claims"),
        ({"decide": {"max_seeds": 9, "margin": 2}}, "decide.margin: 2 is greater than or equal to the maximum of 1"),
        ({"decide": {}}, "'max_seeds' is a required property"),
        ({"decide": {"max_seeds": 9}, "allow_missing": True, "extend_grid": False}, "decide: it needs every cell of a look"),
    ],
)
def test_bad_settings_are_named(changes, error):
    with pytest.raises(ValueError, match=error.replace("(", r"\(")):
        study(**changes)


@pytest.mark.parametrize("own", [{"seeds": {"num": 9, "keep": 8}}, {"add_seeds": 5}, {"seeds": {"num": 12, "keep": 8}}])
@pytest.mark.parametrize("where", [{}, {"lr": 0.16}, {"lr": 0.32}])  # the last where a window may get to
def test_an_override_leaves_the_looks_seeds_to_add(own, where):
    override = {"benchmark": "autoencoder_digits"} | where | own
    with pytest.raises(
        ValueError, match=r"decide.max_seeds: 9 adds none to the (9|12) that `overrides` give autoencoder_digits, "
    ):
        grid.cells(windows.widest(study(decide={"max_seeds": 9}, overrides=[override])))
    assert grid.cells(windows.widest(study(decide={"max_seeds": 13}, overrides=[override])))
    assert grid.cells(windows.widest(study(overrides=[override])))
    added = {"benchmark": "autoencoder_digits", "add_seeds": 5}
    assert grid.cells(study(decide={"max_seeds": 9}) | {"looks": [[added]]})  # which reaches it by itself


def test_a_damaged_look_is_named(tmp_path):
    (tmp_path / "1.json").write_text("[")
    with pytest.raises(ValueError, match=r"1.json is not a look .* make it with: snakemake --cores 1 --force"):
        looks.read(tmp_path / "1.json")
