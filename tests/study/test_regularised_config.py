"""Regularised optimizers in a config: their coefficient as an axis of the grid, and what is refused."""

import copy
import json
import re

import pytest
import yaml
from conftest import ROOT, changed

from sgdnoise.results.collect import identity
from sgdnoise.study import arms, grid, optimizers, text
from sgdnoise.study.cell import make_cell
from sgdnoise.study.config import validate
from sgdnoise.study.regularisers import REGULARISERS

STUDY = {
    "optimizers": {
        "penalty": {"regulariser": "gradient_norm", "micro_batch": 4},
        "decay": {"regulariser": "weight_decay", "optimizer": "momentum"},
        "svrg_equal": {"optimizer": "svrg", "gradient_evaluations": "equal"},
    },
    "benchmarks": {
        "lstm_synthetic": {
            "seeds": {"num": 2, "keep": 2},
            "settings": {"num_train": 1040},
            "constant_step": {"steps": 96, "sgd": {4: [0.5, 1], 16: [0.5, 1]}, "penalty@0.01": {16: [0.5, 1]}},
        }
    },
}
PAGE = ROOT / "docs/your_own_network.md"
MODE = "benchmarks.lstm_synthetic.constant_step"


def cells(**changes):
    return grid.cells(validate(changed(STUDY, changes)))


def with_arm(name, windows=None, **definitions):
    """Return the study with another optimizer under constant_step; the coefficient has a dot, which `changed` would cut."""
    study = copy.deepcopy(STUDY)
    study["optimizers"] |= definitions
    study["benchmarks"]["lstm_synthetic"]["constant_step"][name] = windows or {16: [0.5, 0.5]}
    return grid.cells(validate(study))


def test_each_coefficient_is_an_optimizer_of_the_grid_with_learning_rates_of_its_own():
    found = with_arm("penalty@0.02", {16: [0.25, 0.5]})
    rates = {name: [cell.lr for cell in found if cell.optimizer == name] for name in ("penalty@0.01", "penalty@0.02")}
    assert rates == {"penalty@0.01": ["0.5", "0.7071", "1"], "penalty@0.02": ["0.25", "0.3536", "0.5"]}
    cell = next(cell for cell in found if cell.optimizer == "penalty@0.02")
    assert "/penalty@0.02/" in cell.path
    assert json.loads(cell.definition) == STUDY["optimizers"]["penalty"]
    again = make_cell(
        cell.benchmark,
        cell.optimizer,
        cell.budget,
        16,
        float(cell.lr),
        cell.seeds,
        cell.settings,
        4,
        None,
        definition=cell.definition,
    )
    assert (again.spec, again.path) == (cell.spec, cell.path)


def test_versions_of_regulariser_and_optimizer_are_part_of_a_cell_where_they_act():
    versions = {name: optimizers.depends_on(name, json.dumps(said)) for name, said in (
        ("penalty@0.01", STUDY["optimizers"]["penalty"]),
        ("penalty@0", STUDY["optimizers"]["penalty"]),
        ("both@0.1", {"regulariser": "sam", "micro_batch": 4, "optimizer": "svrg"}),
        ("penalised@0.1", {"regulariser": "sam", "micro_batch": 4, "class": "AdamW"}),
    )}  # fmt: skip
    assert versions["penalty@0.01"] == {"gradient_norm": "version=1"}
    assert versions["penalty@0"] == {}
    assert set(versions["both@0.1"]) == {"svrg", "sam"}
    assert set(versions["penalised@0.1"]) == {"sam", "training/updates.py"}


def test_equal_gradient_evaluations_are_fewer_updates_in_the_same_budget():
    found = with_arm("svrg_equal")
    equal = next(cell for cell in found if cell.optimizer == "svrg_equal")
    plain = next(cell for cell in found if cell.optimizer == "sgd" and cell.batch_size == 16)
    assert (equal.budget, equal.num_steps, plain.num_steps) == (plain.budget, 32, 96)
    rows = {cell.optimizer: identity(cell) for cell in found if cell.batch_size == 16}
    assert rows["svrg_equal"]["gradient_evaluations"] == rows["sgd"]["num_steps"] * 16
    assert rows["penalty@0.01"]["gradient_evaluations"] == 3 * 96 * 16
    assert "gradient_evaluations" not in rows["sgd"]


@pytest.mark.parametrize(
    ("name", "definitions", "message"),
    [
        ("penalty", {}, "penalty has a regulariser, whose coefficient belongs to its name in the grid; write for example penalty@0.01"),
        ("penalty@0.010", {}, "@0.010: the coefficient is a number from 0 with up to four digits; write @0.01"),
        ("penalty@1e-2", {}, "write @0.01"),
        ("penalty@much", {}, "@much: the coefficient is a number from 0"),
        ("penalty@-1", {}, "@-1: the coefficient is a number from 0"),
        ("penalty@nan", {}, "@nan: the coefficient is a number from 0"),
        ("penalty@", {}, "penalty@ has a regulariser, whose coefficient"),
        ("sgd@0.1", {}, "unknown optimizer 'sgd@0.1'"),
        ("strange@0.1", {}, "unknown key 'strange@0.1'"),
        ("plain@0.1", {"plain": {"momentum": 0.5}}, "@0.1 is the coefficient of a regulariser, and it has none; leave it out"),
        ("one@0.1", {"one": {"regulariser": "dropout"}}, "regulariser 'dropout' is none of gradient_norm, sam"),
        ("one@0.1", {"one": {"regulariser": "sam"}}, "sam acts on micro-batches: give micro_batch"),
        ("one@0.1", {"one": {"regulariser": "sam", "micro_batch": 3}}, "micro_batch 3 of one@0.1 does not divide the batch size 16"),
        ("one@0.1", {"one": {"regulariser": "isotropic_noise", "micro_batch": "all"}}, "a batch of 16 is a single one, so there is none"),
        ("one@0.1", {"one": {"regulariser": "multiplicative_noise", "micro_batch": 16}}, "choose a smaller micro_batch"),
        ("one@0.1", {"one": {"regulariser": "weight_decay", "micro_batch": 4}}, "weight_decay does not act on micro-batches"),
        ("one@0.1", {"one": {"regulariser": "sam", "micro_batch": 4, "by": "double_backward"}}, "leave it out with sam"),
        ("one", {"one": {"micro_batch": 4}}, "micro_batch goes with a regulariser, one of gradient_norm"),
        ("one", {"one": {"optimizer": "lion"}}, "optimizer: 'lion' is none of the package's sgd, momentum"),
        ("one", {"one": {"optimizer": "svrg", "momentum": 0.9}}, "momentum: svrg has its settings fixed"),
        ("one", {"one": {"gradient_evaluations": "equal"}}, "gradient_evaluations: an update takes one gradient an example"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name, definitions, message):
    with pytest.raises(ValueError, match=r"(?s)config: .*" + message.replace("(", r"\(")):
        with_arm(name, **definitions)


@pytest.mark.parametrize("arm", ["gradient_norm@0.1", "sam@0.1", "isotropic_noise@0"])
def test_one_micro_batch_is_a_batch_where_that_does_something(arm):
    """Or where nothing is asked for, as at the coefficient 0."""
    name, _, coefficient = arm.partition("@")
    assert with_arm(f"one@{coefficient}", one={"regulariser": name, "micro_batch": "all"})


def test_a_definition_may_have_the_name_of_an_optimizer_that_is_not_the_papers():
    mine = optimizers.optimizer("svrg", '{"class": "AdamW"}')
    assert (mine.rule, mine.source) == ("torch", "")
    with pytest.raises(ValueError, match="momentum is an optimizer of the paper"):
        optimizers.optimizer("momentum", '{"class": "AdamW"}')


def test_every_regulariser_has_a_coefficient_that_is_described():
    assert all(one.coefficient and one.version >= 1 and one.evaluations >= 1 for one in REGULARISERS.values())


# Texts


@pytest.mark.parametrize(("num_train", "unlike"), [(1040, False), (1024, True), (528, False), (7952, False), (784, False)])
def test_batch_sizes_that_read_unlike_shares_of_a_text_are_named(num_train, unlike):
    study = changed(STUDY, {"benchmarks.lstm_synthetic.settings.num_train": num_train})
    found = list(text.warnings(validate(study)))
    assert len(found) == unlike
    if unlike:
        assert found[0].startswith("lstm_synthetic: batch sizes read unlike shares of the text in an epoch, 94% at 4, 75% at 16")
        assert found[0].endswith("with num_train: 784 all read the same")


def test_images_are_read_whole_at_every_batch_size():
    study = changed(
        STUDY,
        {
            "benchmarks": {
                "wrn_digits": {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 3, "sgd": {64: [1, 1], 1000: [1, 1]}}}
            }
        },
    )
    assert list(text.warnings(validate(study))) == []


@pytest.mark.parametrize(
    ("said", "base"),
    [
        ({}, "sgd"),
        ({"momentum": 0.0}, "sgd"),
        ({"optimizer": "momentum"}, "momentum"),
        ({"momentum": 0.9}, "momentum"),
        ({"momentum": 0.99}, None),
        ({"momentum": 0.9, "schedule": "cosine"}, "cosine"),
        ({"optimizer": "momentum", "schedule": "cosine"}, "cosine"),
        ({"optimizer": "momentum", "schedule": "cosine", "final": 0.1}, None),
        ({"optimizer": "svrg", "gradient_evaluations": "equal"}, "svrg"),
        ({"class": "AdamW"}, "adamw"),
        ({"class": "AdamW", "schedule": "paper"}, "adamw"),
        ({"class": "AdamW", "schedule": "linear"}, None),
        ({"class": "AdamW", "betas": [0.9, 0.99]}, None),
        ({"optimizer": "adam"}, None),  # the package's, and the study has an own one of that name
        ({"class": "Adam"}, "adam"),
        ({"factory": "mine"}, "own"),
        ({"factory": "other"}, None),
    ],
)
def test_a_regularised_optimizer_is_compared_with_what_it_is_without(said, base):
    """Or with itself at the coefficient 0, if that is swept."""
    own = {
        "cosine": {"optimizer": "momentum", "schedule": "cosine"},
        "adamw": {"class": "AdamW"},
        "adam": {"class": "Adam"},
        "own": {"factory": "mine"},
        "other": said | {"regulariser": "weight_decay"},
        "arm": said | {"regulariser": "sam", "micro_batch": 4},
    }
    config = validate(STUDY | {"optimizers": own})
    swept = dict.fromkeys(("sgd", "momentum", "svrg", *own, "arm@0.1"), (4, 16))
    assert arms.base_of("arm", swept, config) == base
    assert arms.base_of("arm", swept | {"arm@0": (4, 16)}, config) == (base or "arm@0")
    assert arms.compared(swept, config) == ({"arm": base} if base else {})
    assert arms.compared(swept | {"arm@0.1": (4,)}, config) == {}


def test_the_study_of_the_page_can_be_planned():
    (block,) = re.findall(r"```yaml\n(optimizers:\n  penalty: .*?)```", PAGE.read_text(), re.DOTALL)
    assert {cell.optimizer for cell in grid.cells(validate(yaml.safe_load(block)))} > {"momentum", "penalty@0.01"}


@pytest.mark.parametrize(("convention", "version"), [("half", "version=1"), ("full", "version=2")])
def test_weight_decay_by_the_full_convention_of_l2_is_of_another_version(convention, version):
    """The first had twice the coefficient there, so its results are not those of now."""
    words = json.dumps({"regulariser": "weight_decay", "optimizer": "momentum"})
    chosen = json.dumps({"l2_convention": convention})
    cell = make_cell("autoencoder_digits", "decay@0.01", "steps2", 16, 0.1, "0-0", chosen, 1, None, definition=words)
    assert cell.depends_on["weight_decay"] == version
