"""Variants of shipped benchmarks: a name and settings of their own; SkipInit and the networks that lack parts of it."""

import json

import pytest
import torch
from torch import nn

from sgdnoise import benchmarks
from sgdnoise.study import grid
from sgdnoise.study.cell import CELL_OPTIONS, make_cell
from sgdnoise.study.config import grid_part, load_config, validate
from sgdnoise.training.cell import train_cell, use_device

CPU = use_device("cpu", threads=1)
NONE = {"scalar": False, "biases": False, "dropout": 0}
STUDY = {
    "benchmarks": {
        "wrn_skipinit_digits": {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {128: [0.25, 0.25]}}},
        "wrn_plain_digits": {
            "file": "wrn_skipinit_digits",
            "settings": NONE,
            "seeds": {"num": 1, "keep": 1},
            "constant_epoch": {"epochs": 1, "sgd": {128: [0.25, 0.25]}},
        },
    }
}


def network(name="wrn_skipinit_cifar10", **settings):
    torch.manual_seed(0)
    return benchmarks.load(name, settings=settings).build()


def parts(model):
    """Count the scalars, and the biases of convolutions; return the probability to drop."""
    scalars = sum(parameter.ndim == 0 for parameter in model.parameters())
    biases = sum(module.bias is not None for module in model.modules() if isinstance(module, nn.Conv2d))
    (dropout,) = (module.p for module in model.modules() if isinstance(module, nn.Dropout))
    return scalars, biases, dropout


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, (6, 16, 0.6)),
        ({"scalar": False}, (0, 16, 0.6)),
        ({"biases": False}, (6, 0, 0.6)),
        ({"dropout": 0}, (6, 16, 0)),
        (NONE, (0, 0, 0)),
    ],
)
def test_each_part_of_skipinit_is_a_setting(settings, wanted):
    assert parts(network(**settings)) == wanted


def test_the_plain_network_is_the_one_with_norm_without_its_norm():
    plain, normed = network(**NONE), network("wrn_cifar10")
    convolutions = [
        [module.weight.shape for module in model.modules() if isinstance(module, nn.Conv2d)] for model in (plain, normed)
    ]
    assert convolutions[0] == convolutions[1]
    assert sum(parameter.numel() for parameter in plain.parameters()) == 2_748_890 - 2 * 1_808  # less the norms
    images = torch.randn(8, 3, 32, 32)
    assert plain.eval()(images).std() > 3 * network().eval()(images).std()  # nothing holds its branches down


def test_at_their_defaults_the_parts_are_no_part_of_a_cells_identity():
    """So that results from before they were settings stay valid."""
    cell = make_cell("wrn_skipinit_cifar10", "sgd", "epochs1", 64, 1, "0-0", '{"scalar": true, "dropout": 0.6}', 1, None)
    before = {"conv_init": "he", "l2_convention": "half", "l2_scope": "all", "micro_batch": 0, "padding": "reflect"}
    assert json.loads(cell.settings) == before
    assert cell.depends_on == {}
    other = make_cell("wrn_skipinit_cifar10", "sgd", "epochs1", 64, 1, "0-0", '{"scalar": false}', 1, None)
    assert json.loads(other.settings) == before | {"scalar": False}


def test_a_variant_is_a_benchmark_of_its_own_in_a_study():
    skipinit, plain = grid.cells(validate(STUDY))
    assert plain.path == skipinit.path.replace("wrn_skipinit_digits", "wrn_plain_digits")
    assert json.loads(plain.settings) == json.loads(skipinit.settings) | NONE
    assert plain.depends_on == {"wrn_skipinit_digits": "1"}  # what it is a variant of is part of its identity
    assert make_cell(**{name: getattr(plain, name) for name in CELL_OPTIONS} | {"lr": 0.25}).spec == plain.spec
    protocol = benchmarks.protocol("wrn_plain_digits", "wrn_skipinit_digits")
    assert protocol["title"].startswith("wrn_plain_digits: Wide-ResNet 10-1")
    assert "sibling_of" not in protocol  # the claims are not about it


def test_a_variant_is_read_the_same_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/config.yaml").write_text(json.dumps(STUDY))
    monkeypatch.chdir(tmp_path)
    config = load_config("studies/config.yaml")
    assert config["benchmarks"]["wrn_plain_digits"]["file"] == "wrn_skipinit_digits"
    assert set(grid.cells(validate(json.loads(grid_part(config))))) == set(grid.cells(config))


def test_a_variant_trains_its_own_network(data_folder):
    skipinit, plain = (train_cell(cell, data_folder, CPU) for cell in grid.cells(validate(STUDY)))
    assert plain.spec["benchmark"] == "wrn_plain_digits"
    assert plain.status == ["completed"]
    assert not (plain.curves["test_loss"] == skipinit.curves["test_loss"]).any()


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        (
            "wrn_digits",
            {"file": "wrn_skipinit_digits"},
            "'wrn_digits' is a benchmark of the package; give a variant of wrn_skipinit",
        ),
        ("plain", {"file": "wrn_skipinit_digit"}, "there is no file wrn_skipinit_digit"),
        (
            "plain",
            {"file": "wrn_skipinit_digits", "settings": {"scalars": 0}},
            "unknown setting 'scalars'; known: .* scalar, biases",
        ),
        (
            "plain",
            {"file": "wrn_skipinit_digits", "settings": {"dropout": 1}},
            "settings.dropout: 1 is not a number from 0 below 1",
        ),
    ],
)
def test_a_variant_that_is_none(name, entry, message):
    study = {"benchmarks": {name: STUDY["benchmarks"]["wrn_skipinit_digits"] | entry}}
    with pytest.raises(ValueError, match=message):
        grid.cells(validate(study))
