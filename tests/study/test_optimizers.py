"""Optimizers that a study defines: what is refused, and what a cell's identity has of them."""

import json

import pytest
from conftest import changed, own_benchmark

from sgdnoise.study import grid, warmups, windows
from sgdnoise.study.cell import make_cell
from sgdnoise.study.config import grid_part, validate

STUDY = {
    "optimizers": {
        "adamw": {"class": "AdamW", "betas": [0.9, 0.95], "schedule": "cosine"},
        "slow": {"momentum": 0.99, "schedule": "linear", "warmup_epochs": 1},
    },
    "benchmarks": {
        "wrn_digits": {
            "seeds": {"num": 1, "keep": 1},
            "constant_epoch": {"epochs": 1, "sgd": {64: [1, 2]}, "adamw": {64: [1, 1]}, "slow": {64: [1, 1]}},
        }
    },
}


def cells(**changes):
    return grid.cells(validate(changed(STUDY, changes)))


def arguments(some):
    return {(cell.optimizer, cell.lr): cell.arguments for cell in some}


def test_a_definition_is_part_of_its_cells_alone():
    before = arguments(cells())
    assert all(("--definition" in words) == (name != "sgd") for (name, _), words in before.items())
    assert '--definition={"momentum": 0.99, "schedule": "linear", "warmup_epochs": 1}' in before["slow", "1"]
    after = arguments(cells(**{"optimizers.adamw.betas": [0.9, 0.99]}))
    assert {key for key in before if before[key] != after[key]} == {("adamw", "1")}
    reordered = dict(reversed(STUDY["optimizers"]["adamw"].items()))
    assert arguments(cells(**{"optimizers.adamw": reordered})) == before


def test_a_cell_by_hand_is_that_of_the_study():
    for one in cells():
        again = make_cell(
            one.benchmark, one.optimizer, one.budget, one.batch_size, float(one.lr), one.seeds, one.settings, 4, None,
            definition=one.definition,
        )  # fmt: skip
        assert (again.spec, again.path) == (one.spec, one.path)


def test_code_of_rules_is_part_of_torchs_own_alone():
    depends = {cell.optimizer: set(cell.depends_on) for cell in cells()}
    assert depends["adamw"] - depends["sgd"] == {"training/updates.py"}
    assert depends["slow"] == depends["sgd"]


def test_a_study_without_has_no_trace_of_them_and_a_window_only_its_own():
    config = validate(STUDY)
    assert set(json.loads(grid_part(config))["optimizers"]) == {"adamw", "slow"}
    del (
        config["benchmarks"]["wrn_digits"]["constant_epoch"]["adamw"],
        config["benchmarks"]["wrn_digits"]["constant_epoch"]["slow"],
    )
    assert "optimizers" not in json.loads(grid_part(config | {"optimizers": {}}))
    alone = {point[1]: set(study["optimizers"]) for point, study in windows.studies(validate(STUDY)).items()}
    assert alone == {"sgd": set(), "adamw": {"adamw"}, "slow": {"slow"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizers.sgd": {}}, r"optimizers.sgd: sgd is an optimizer of the paper"),
        ({"optimizers.adam8": {}}, r"optimizers: unknown key 'adam8'"),
        ({"optimizers.unused": {"momentum": 2}}, r"optimizers.unused: momentum: 2 is not"),
        ({"benchmarks.wrn_digits.constant_epoch.rprop": {64: [1, 1]}}, r"unknown key 'rprop'; known: .*, adamw, slow"),
        ({"optimizers.slow.weight_decay": 0.1}, r"optimizers.slow: weight_decay: without class it is the paper's SGD"),
        ({"optimizers.slow.momentum": 1.0}, r"optimizers.slow: momentum: 1.0 is not a number from 0 below 1"),
        ({"optimizers.adamw.lr": 0.1}, r"optimizers.adamw: lr is what the windows"),
        ({"optimizers.adamw.factory": "make"}, r"optimizers.adamw: give either class, .* or factory"),
        (
            {"optimizers.adamw": {"factory": "make"}},
            r"its factory 'make' is not a function of the file of wrn_digits, which is not",
        ),
        (
            {"optimizers.adamw.schedule": "cosin"},
            r"its schedule 'cosin' is not one of paper, constant, linear, cosine, or a func",
        ),
        ({"optimizers.adamw.warmup_steps": 1, "optimizers.adamw.warmup_epochs": 1}, r"either warmup_steps or warmup_epochs"),
        (
            {"optimizers.slow": {"final": 0.1}},
            r"optimizers.slow: final is the share of the learning rate .* constant, linear, cosine",
        ),
        ({"optimizers.adamw.groups": [{"match": "bias"}, {"match": "("}]}, r"optimizers.adamw: groups: match: '\(' is not a reg"),
        ({"optimizers.adamw.groups": [{"match": "a{99999999999}"}]}, r"optimizers.adamw: groups: match: 'a{9*}' is not a reg"),
        (
            {
                "optimizers.smooth": {"regulariser": "label_smoothing"},
                "benchmarks.wrn_digits.constant_epoch.smooth@2": {64: [1, 1]},
            },
            r"@2: the coefficient of label_smoothing is a share of the target, from 0 to 1",
        ),
        (
            {"optimizers.slow": {"schedule": "constant", "final": 0.1}},
            r"optimizers.slow: final is .* only linear and cosine have one",
        ),
        (
            {"optimizers.slow": {"schedule": "constant", "final": 0}},
            r"optimizers.slow: final is .* only linear and cosine have one",
        ),
        ({"optimizers.adamw": {"optimizer": "adam", "schedule": "constant", "final": 1}}, r"optimizers.adamw: final is"),
        ({"optimizers.adamw.betas": [0.9, "a"]}, r"optimizers.adamw.betas.1: 'a' is not of type 'number'"),
        (
            {"optimizers.adamw.amsgrad": "false"},
            r"optimizers.adamw: amsgrad: 'false' is text; write true, false, null or a number",
        ),
        ({"optimizers.adamw.foreach": "None"}, r"optimizers.adamw: foreach: 'None' is text"),
        ({"optimizers.adamw.eps": "1e-8"}, r"optimizers.adamw: eps: '1e-8' is text; .* as 0.001"),
        ({"optimizers.adamw.initial_lr": 0.1}, r"optimizers.adamw: initial_lr: the network and the grid say it"),
        (
            {"optimizers.adamw.groups": [{"match": "bias"} | {"amsgrad": "No"}]},
            r"optimizers.adamw: groups: amsgrad: 'No' is text",
        ),
        ({"optimizers.adamw.groups": [{"match": "bias"} | {"params": 1}]}, r"optimizers.adamw: groups: params: the network"),
        ({"optimizers.adamw.groups": [{"match": "bias"} | {"lr": 0.1}]}, r"optimizers.adamw: groups: lr: .* give lr_factor"),
        (
            {"optimizers.adamw.groups": [{"match": "bias"} | {"schedule": "cosine"}]},
            r"optimizers.adamw: groups: schedule: all groups have that of the run",
        ),
        (
            {"optimizers.adamw.groups": [{"match": "bias"} | {"micro_batch": 4}]},
            r"optimizers.adamw: groups: micro_batch: all groups",
        ),
        ({"optimizers.steps": {"momentum": 0.5}}, r"optimizers: unknown key 'steps'; .* but not steps, epochs or batch_size"),
        (
            {"optimizers.steps": {"momentum": 0.5}, "benchmarks.wrn_digits.constant_epoch.steps": {64: [1, 1]}},
            r"optimizers: unknown key 'steps'; .* but not steps, epochs or batch_size",
        ),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    with pytest.raises(ValueError, match=f"^config: .*{message}|^config: {message}"):
        cells(**changes)


def test_settings_that_are_text_and_regular_expressions_may_be_any():
    said = {"class": "Muon", "adjust_lr_fn": "original", "groups": [{"match": "no", "amsgrad": False}, {"match": "1"}]}
    assert cells(**{"optimizers.adamw": said, "optimizers.steps_more": {"momentum": 0.5}})


def test_a_warmup_that_takes_all_of_a_run_is_said():
    """An epoch is 8 updates at batch size 128."""
    windows = {"epochs": 1, "adamw": {64: [1, 1], 128: [1, 1]}, "momentum_warmup": {64: [1, 1], 128: [1, 1]}}
    study = changed(STUDY, {"benchmarks.wrn_digits.constant_epoch": windows, "optimizers.adamw.warmup_steps": 7})
    paper = "wrn_digits: the warmup of momentum_warmup takes all of a run of epochs1 at batch size 64, 128, so its learning rates"
    (said,) = warmups.warnings(validate(study))
    assert said.startswith(paper)
    own, said = warmups.warnings(validate(changed(study, {"optimizers.adamw.warmup_steps": 8})))
    assert own.startswith("wrn_digits: the warmup of adamw takes all of a run of epochs1 at batch size 128, ")
    assert said.startswith(paper)
    too_long, _ = warmups.warnings(validate(changed(study, {"optimizers.adamw.warmup_steps": 9})))
    assert too_long == own
    assert list(warmups.warnings(validate(changed(STUDY, {"optimizers.slow.warmup_epochs": 0})))) == []


def test_functions_are_looked_for_in_the_benchmarks_own_file(tmp_path):
    file = own_benchmark(tmp_path, ("\n\ndef benchmark(", "\n\ndef fall(step, num_steps):\n    return 1\n\n\ndef benchmark("))
    words = ("own", "mine", "steps2", 8, 1, "0-0", "{}", 1, str(file))
    assert make_cell(*words, definition='{"schedule": "fall"}').definition == '{"schedule": "fall"}'
    with pytest.raises(ValueError, match=r"its schedule 'rise' is not one of .* or a function of the file of own \(.*own.py\)"):
        make_cell(*words, definition='{"schedule": "rise"}')
    with pytest.raises(ValueError, match="a final learning rate of its own goes with the paper's schedule only"):
        make_cell(*words, final_lr=0.5, definition='{"schedule": "fall"}')
