"""Budgets, schedule, grid, config errors: all without torch."""

import json
import math
import os
import shlex
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, changed

from sgdnoise import benchmarks
from sgdnoise.cli.look import curves_left
from sgdnoise.cli.main import main, parser
from sgdnoise.cli.verbs import cell_of
from sgdnoise.study import budgets, cost, grid, schedule, windows
from sgdnoise.study.cell import lr_window, make_cell, seed_range
from sgdnoise.study.config import grid_part, load_config, validate

TINY = yaml.safe_load(
    """
benchmarks:
  wrn_digits:
    seeds: {num: 3, keep: 2}
    constant_epoch:
      epochs: 4
      sgd: {64: [0.5, 1], 128: [1, 2]}
      momentum: {64: [0.5, 1]}
    constant_step:
      steps: 64
      momentum: {64: [0.5, 2], 128: [1, 2]}
    unlimited:
      batch_size: 64
      momentum: {4: [0.5, 1], 8: [0.5, 1]}
"""
)


def config(**changes):
    return changed(TINY, changes)


def cells(**changes):
    return grid.cells(validate(config(**changes)))


# Budgets


@pytest.mark.parametrize(
    ("epochs", "batch_size", "protocol", "steps"),
    [
        (200, 1024, {"num_train": 50_000}, 9765),  # ICLR v5 sec. 4
        (200, 64, {"num_train": 50_000}, 156_250),  # ICLR v5 App. C
        (40, 64, {"num_train": 929_589, "unroll": 35}, 16_560),  # ICLR v5 App. E
        (1, 64, {"num_train": 929_589, "unroll": 35}, 414),
    ],
)
def test_paper_step_counts(epochs, batch_size, protocol, steps):
    assert budgets.num_steps(f"epochs{epochs}", batch_size, protocol) == steps
    assert budgets.canonical(f"steps{steps}", batch_size, protocol) == f"epochs{epochs}"


@pytest.mark.parametrize("text", ["", "epochs", "epochs0", "steps-1", "epochs1.5", "hours3"])
def test_bad_budget_is_named(text):
    with pytest.raises(ValueError, match="write epochsN or stepsN"):
        budgets.parse(text)


def test_budget_without_an_update():
    with pytest.raises(ValueError, match="no whole update"):
        budgets.num_steps("epochs1", 4096, {"num_train": 1024})


# Schedule


@pytest.mark.parametrize("num_steps", [20, 200, 9765, 156_250])
def test_schedule_equals_its_definition(num_steps):
    """Constant on [0, N/2), then 2^-(j+1) from update floor((10 + j) N / 20) on."""
    expected = [1.0] * num_steps
    for halving in range(10):
        for step in range((10 + halving) * num_steps // 20, num_steps):
            expected[step] = 2.0 ** -(halving + 1)
    assert [schedule.multiplier(step, num_steps) for step in range(num_steps)] == expected


def test_schedule_of_9765_steps():
    values = [schedule.multiplier(step, 9765) for step in range(9765)]
    assert values.count(1.0) == 4882
    assert values[-1] == 2.0**-10
    assert all(487 <= values.count(2.0**-halving) <= 489 for halving in range(1, 11))


def test_warmup_rises_linearly_then_follows_the_schedule():
    values = [schedule.multiplier(step, 200, warmup_steps=5) for step in range(200)]
    assert values[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert values[5:] == [schedule.multiplier(step, 200) for step in range(5, 200)]


# Grid


def test_cells_shared_by_modes_are_listed_once():
    found = {cell.path: cell for cell in cells()}
    assert len(found) == len(cells())
    shared = found["cells/wrn_digits/momentum/epochs4/batch64_lr1_seeds0-2.h5"]
    assert shared.modes == ("constant_epoch", "constant_step", "unlimited")
    assert shared.num_steps == 64
    # The union of the windows: lr 2 is only in the constant-step window, and the same training as epochs4. Whoever reads the point
    # in one mode sees all learning rates that are trained there.
    assert found["cells/wrn_digits/momentum/epochs4/batch64_lr2_seeds0-2.h5"].modes == shared.modes
    assert found["cells/wrn_digits/momentum/epochs8/batch128_lr1_seeds0-2.h5"].modes == ("constant_step",)


def test_lr_windows_are_on_the_benchmarks_grid():
    assert lr_window(0.35, 5.6, 1, 2**0.5) == ["0.3536", "0.5", "0.7071", "1", "1.414", "2", "2.828", "4", "5.657"]
    assert lr_window(0.00125, 0.16, 0.08, 2) == ["0.00125", "0.0025", "0.005", "0.01", "0.02", "0.04", "0.08", "0.16"]


def test_identity_does_not_depend_on_the_rest_of_the_grid():
    alone = cells(**{"benchmarks.wrn_digits.unlimited": {"batch_size": 64, "momentum": {8: [1, 1]}}})
    paths = {cell.path for cell in cells()}
    assert {cell.path for cell in alone} < paths


def test_adding_a_learning_rate_adds_one_cell():
    more = {cell.path for cell in cells(**{"benchmarks.wrn_digits.constant_epoch.sgd.128": [1, 4]})}
    assert more - {cell.path for cell in cells()} == {"cells/wrn_digits/sgd/epochs4/batch128_lr4_seeds0-2.h5"}


def test_override_changes_the_seeds_of_one_cell():
    override = {
        "benchmark": "wrn_digits",
        "optimizer": "sgd",
        "batch_size": 64,
        "lr": 1,
        "seeds": {"first": 3, "num": 5, "keep": 4},
    }
    before, after = ({cell.path for cell in some} for some in (cells(), cells(overrides=[override])))
    assert after - before == {"cells/wrn_digits/sgd/epochs4/batch64_lr1_seeds3-7.h5"}
    assert before - after == {"cells/wrn_digits/sgd/epochs4/batch64_lr1_seeds0-2.h5"}


def test_seeds_that_an_override_adds_are_cells_of_their_own():
    some = {"benchmark": "wrn_digits", "optimizer": "sgd", "batch_size": 64}
    once = [some | {"lr": [0.5, 1], "add_seeds": 6}]
    twice = [*once, some | {"lr": 1, "add_seeds": 1}]
    before, first, second = ({cell.path: cell for cell in cells(overrides=one)} for one in ([], once, twice))
    name = "cells/wrn_digits/sgd/epochs4/batch64_lr{}_seeds{}.h5"
    assert first.keys() - before.keys() == {name.format(lr, "3-8") for lr in (0.5, 1)}
    assert second.keys() - first.keys() == {name.format(1, "9-9")}
    assert before.keys() <= first.keys() <= second.keys()
    assert {first[name.format(1, block)].keep for block in ("0-2", "3-8")} == {6}  # 2 of 3, 6 of 9, 6 of 10
    assert {second[name.format(1, block)].keep for block in ("0-2", "3-8", "9-9")} == {6}
    assert {cell.added for cell in second.values()} == {()}


def test_a_block_of_its_own_starts_anew():
    own, more = {"seeds": {"first": 5, "num": 2, "keep": 1}}, {"add_seeds": 2}
    blocks = [
        {cell.seeds for cell in cells(overrides=[{"benchmark": "wrn_digits"} | one for one in order])}
        for order in ([own, more], [more, own])
    ]
    assert blocks == [{"5-6", "7-8"}, {"5-6"}]


def test_train_arguments_name_the_cell():
    """What `grid` prints is parsed by `train` into the same cell."""
    for cell in cells():
        options = parser().parse_args(["train", *shlex.split(cell.arguments), "--out=x.h5"])
        again = cell_of(options)
        assert (again.path, again.spec) == (cell.path, cell.spec)


def test_commands_of_a_grid_are_ready_for_a_shell_whatever_its_folders_are_called(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = config(results="my results", data="it's; data")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    assert main(["grid", "--commands"]) == 0
    for line, cell in zip(capsys.readouterr().out.splitlines(), grid.cells(validate(study)), strict=True):
        options = parser().parse_args(shlex.split(line)[4:])
        assert (options.run.__name__, cell_of(options).spec) == ("train", cell.spec)
        assert (str(options.data), str(options.out)) == ("it's; data", f"my results/{cell.path}")


def test_frozen_grid_gives_the_same_cells():
    study = validate(TINY)
    again = validate(json.loads(grid_part(study)))
    assert set(grid.cells(again)) == set(grid.cells(study))


def test_figures_do_not_change_the_frozen_grid():
    plain, drawn = validate(TINY), validate(config(figures={"dpi": 300}, data="elsewhere"))
    assert grid_part(plain) == grid_part(drawn)


def test_planning_imports_nothing_heavy():
    """None of what it may call: every file of the room, and a study expanded, with its costs and figures."""
    code = """
import importlib, pkgutil, sys
import sgdnoise.study
study = {one.name: importlib.import_module(f"sgdnoise.study.{one.name}") for one in pkgutil.iter_modules(sgdnoise.study.__path__)}
config = study["config"].load_config("config.yaml")
study["cost"].costs(config, None)
study["windows"].widest(config)
[study["figures"].caption(path.split("/")[-1]) for path in study["figures"].figure_paths(config)]
print([name for name in ("torch", "numpy", "pandas", "h5py", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", ["config.yaml", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "workflow/config").glob("*.yaml"))]
)
def test_shipped_studies_are_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config(path)
    assert grid.cells(config)
    # Each point alone, as the workflow hands it to `extend`: with all cells that its window may reach.
    config |= {"extend_grid": True}
    starts, ladders = windows.starts(config), windows.ladders(windows.widest(config))
    studies = windows.studies(config)
    assert list(studies) == [start.point for start in starts]
    for start in starts:
        study = validate(json.loads(grid_part(studies[start.point])))
        assert windows.starts(study) == [start]
        assert windows.ladders(windows.widest(study)) == {start.point: ladders[start.point]}


def test_default_study_is_as_large_as_promised(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = grid.cells(load_config("config.yaml"))
    assert len(found) >= 70
    assert all(len(seed_range(cell.seeds)) >= 4 for cell in found)


@pytest.mark.parametrize("name", benchmarks.names())
def test_protocols_are_read_without_running_the_file(name):
    protocol = benchmarks.protocol(name)
    assert set(benchmarks.PROTOCOL_KEYS) <= set(protocol)
    assert all(direction in ("max", "min") for direction in protocol["metrics"].values())


# Bad input: the message names the key, what is wrong and what would be right.

SEEDS = "benchmarks.wrn_digits.seeds"
SGD = "benchmarks.wrn_digits.constant_epoch.sgd"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": 1}, r"unknown key 'benchmark'; did you mean 'benchmarks'\?"),
        ({"figures": {"format": ["png"]}}, r"figures: unknown key 'format'; did you mean 'formats'\?"),
        ({"benchmarks": {}}, "benchmarks: .* at least one benchmark"),
        ({"benchmarks.wrn_digit": TINY["benchmarks"]["wrn_digits"]}, "unknown benchmark 'wrn_digit'; known: .*wrn_digits"),
        ({"benchmarks.wrn digits; rm": {}}, "unknown key 'wrn digits; rm'"),
        ({"benchmarks.my-net": {}}, "unknown key 'my-net'; .* named in lower-case letters, digits and _, a letter first"),
        ({"optimizers": {"adam2": {}}}, "unknown key 'adam2'; .* named in lower-case letters and _"),
        (
            {"benchmarks.wrn_digits.constant_epoch": {"epochs": 4, "momentun": {64: [1, 2]}}},
            r"unknown key 'momentun'; did you mean 'momentum'\? known: epochs",
        ),
        ({"benchmarks.wrn_digits": {"seeds": {"num": 3, "keep": 2}}}, "wrn_digits: no cells; add at least one of constant_epoch"),
        (
            {"benchmarks.wrn_digits.constant_epoch": {"epochs": 4, "rprop": {64: [1, 2]}}},
            "unknown key 'rprop'; known: epochs, sgd, momentum",
        ),
        (
            {"benchmarks.wrn_digits.constant_epoch": {"sgd": {64: [1, 2]}, "momentum": {64: [1, 2]}}},
            "'epochs' is a required property",
        ),
        ({"benchmarks.wrn_digits.constant_epochs": {}}, "unknown key 'constant_epochs'; did you mean 'constant_epoch'"),
        ({"benchmarks.wrn_digits.settings": {"l2": 1}}, "settings: unknown setting 'l2'; known: l2_scope"),
        ({"benchmarks.wrn_digits.settings": {"l2_scope": "some"}}, r"l2_scope: 'some' is not one of \['all', 'weights'\]"),
        ({"benchmarks.wrn_digits.settings": {"norm_decay": "fast"}}, "norm_decay: 'fast' is not a number"),
        ({SEEDS: {"num": 3, "keep": 4}}, "seeds: keep 4 is more than num 3"),
        ({SEEDS: {"num": 0, "keep": 1}}, "seeds.num: 0 is less than the minimum of 1; expected a whole number from 1"),
        (
            {f"{SGD}.64": [0.5, "1e-3"]},
            "sgd.64.1: '1e-3' is not of type 'number'; expected a positive number; write 0.001 or 1.0e-3",
        ),
        ({f"{SGD}.64": [0.5, "fast"]}, "sgd.64.1: 'fast' is not of type 'number'"),
        ({f"{SGD}.64": [0, 1]}, "expected a positive number"),
        ({f"{SGD}.64": [0.5]}, r"expected \[lowest, highest\] learning rate"),
        ({f"{SGD}.64": [0.6, 0.9]}, r"sgd.64: no learning rate of the grid 1 \* 2\^k lies in \[0.6, 0.9\]"),
        ({f"{SGD}.64": [2, 1]}, "no learning rate of the grid"),
        ({SGD: {}}, "sgd: .* non-empty; expected"),
        ({f"{SGD}.8192": [1, 2]}, "sgd.8192: budget epochs4 at batch size 8192 has no whole update"),
        (
            {"overrides": [{"benchmark": "wrn_digits", "lr": 3, "seeds": {"num": 2, "keep": 1}}]},
            "overrides.0: no cell of the grid matches",
        ),
        (
            {"overrides": [{"benchmark": "wrn_digits"}]},
            "overrides.0: give either seeds, in place of .*, or add_seeds, so many more",
        ),
        (
            {"overrides": [{"benchmark": "wrn_digits", "add_seeds": 0}]},
            "add_seeds: 0 is less than .* a whole number of seeds more",
        ),
        (
            {"overrides": [{"benchmark": "wrn_digits", "seeds": {"num": 2, "keep": 1}, "add_seeds": 2}]},
            "overrides.0: give either seeds",
        ),
        (
            {"overrides": [{"benchmark": "wrn_digits", "lr": "1e-3", "add_seeds": 2}]},
            "overrides.0.lr: '1e-3' is not of type 'number'",
        ),
        (
            {"overrides": [{"benchmark": "wrn_digits", "lr": [3, 3.5], "add_seeds": 2}]},
            "overrides.0: no cell of the grid matches",
        ),
        (
            {"overrides": [{"benchmark": "wrn_digits", "lr": [1], "add_seeds": 2}]},
            r"overrides.0.lr: .*expected \[lowest, highest\]",
        ),
        ({"figures": {"lr_sweep": {"lstm": [1]}}}, "lr_sweep.lstm: no such benchmark"),
    ],
)
def test_bad_config_is_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        cells(**changes)


def test_unreadable_config_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("benchmarks: [")
    for some in (path, tmp_path / "missing.yaml"):
        with pytest.raises(ValueError, match=f"cannot read the config {some}"):
            load_config(str(some))


# Cost


def test_costs_add_up():
    study = validate(
        {
            "evaluations": 4,
            "benchmarks": {
                "autoencoder_mnist": {
                    "seeds": {"num": 3, "keep": 2},
                    "settings": {"num_train": 6000},
                    "constant_epoch": {"epochs": 10, "sgd": {"60": [0.04, 0.08]}, "momentum": {"60": [0.08, 0.08]}},
                    "unlimited": {"batch_size": 60, "momentum": {"20": [0.08, 0.08], "10": [0.08, 0.08]}},
                },
                "lstm_ptb": {"seeds": {"num": 1, "keep": 1}, "constant_step": {"steps": 7, "sgd": {"64": [1, 1]}}},
            },
        }
    )
    rows = {
        ("autoencoder_mnist", 60): cost.Throughput("autoencoder_mnist", 60, 1000.0, 5.0, "x"),
        ("lstm_ptb", 64): cost.Throughput("lstm_ptb", 64, 64.0, 2.0, "x"),
    }
    found = cost.costs(study, rows)
    short, longer = found["autoencoder_mnist", "constant_epoch"], found["autoencoder_mnist", "unlimited"]
    assert (short.cells, short.runs, short.updates, short.epochs) == (3, 9, 9000, 90)
    assert (longer.cells, longer.runs, longer.updates, longer.epochs) == (1, 3, 6000, 60)  # the other one is shared
    assert short.flops == 9000 * 60 * 15_430_000
    assert short.hours == pytest.approx((9000 * 60 / 1000 + 9 * 4 * 5) / 3600)
    text = found["lstm_ptb", "constant_step"]
    assert text.flops == 7 * 64 * 35 * 79_560_000
    assert text.hours == pytest.approx((7 + 4 * 2) / 3600)
    assert sum(found.values(), cost.Cost()).runs == 13
    assert math.isnan(cost.costs(study, None)["lstm_ptb", "constant_step"].hours)
    with pytest.raises(ValueError, match="throughput of lstm_ptb at batch size 64 is missing; measure it with"):
        cost.costs(study, {("autoencoder_mnist", 60): rows["autoencoder_mnist", 60]})


def test_a_table_of_throughputs_that_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("benchmark,speed\nlstm_ptb,3\n")
    for name in ("a.csv", "b.csv"):
        with pytest.raises(ValueError, match=f"{name} is not a table of throughputs .* sgdnoise calibrate"):
            cost.read_throughput(tmp_path / name)


@pytest.mark.parametrize(("name", "hours"), [("one_gpu", (8, 12)), ("paper", (12_000, 13_000))])
def test_the_gpu_studies_cost_what_they_say(name, hours):
    """In estimated hours of one H200."""
    folder = ROOT / "workflow/config"
    study = load_config(str(folder / f"{name}.yaml"))
    total = sum(cost.costs(study, cost.read_throughput(folder / "throughput_h200_estimated.csv")).values(), cost.Cost())
    assert hours[0] < total.hours < hours[1]


def test_the_paper_is_whole():
    """Every batch size and budget of every figure and table, with the paper's seeds."""
    study = load_config(str(ROOT / "workflow/config/paper.yaml"))
    points = {(cell.benchmark, cell.optimizer, cell.budget, cell.batch_size) for cell in grid.cells(study)}
    powers = {name: [2**k for k in exponents] for name, exponents in (("wrn", range(6, 14)), ("skip", range(3, 11)))}
    three = ("sgd", "momentum", "momentum_warmup")
    expected = {("wrn_cifar10", optimizer, "epochs200", size) for optimizer in three for size in powers["wrn"]}
    expected |= {("wrn_skipinit_cifar10", optimizer, "epochs200", size) for optimizer in three for size in powers["skip"]}
    networks = ("wrn_skipinit_cifar10", "wrn_plain_cifar10")
    expected |= {(name, "momentum", "epochs200", 2**k) for name in networks for k in range(13)}
    ablation = [f"wrn_{name}_cifar10" for name in ("plain_dropout", "scalar", "scalar_dropout", "scalar_biases")]
    expected |= {(name, "momentum", "epochs200", 64) for name in ablation}
    expected |= {("wrn_cifar10", "momentum", f"epochs{n}", size) for n, size in ((200, 1024), (800, 4096), (3200, 16384))}
    expected |= {("wrn_skipinit_cifar10", "momentum", f"epochs{n}", size) for n, size in ((200, 64), (800, 256), (3200, 1024))}
    expected |= {
        (name, "momentum", f"epochs{50 * 2**k}", 64) for name in ("wrn_cifar10", "wrn_skipinit_cifar10") for k in range(8)
    }
    expected |= {("autoencoder_mnist", name, "epochs200", 2**k) for name in ("sgd", "momentum") for k in range(11)}
    expected |= {("autoencoder_mnist", "momentum", f"epochs{200 * 4**k}", 64 * 4**k) for k in range(4)}
    sweep = (50, 70, 100, 140, 200, 280, 400, 560, 800, 1120)
    expected |= {("autoencoder_mnist", "momentum", f"epochs{epochs}", 32) for epochs in sweep}
    expected |= {("lstm_ptb", name, "epochs40", 2**k) for name in ("sgd", "momentum") for k in range(10)}
    expected |= {("lstm_ptb", "momentum", budget, size) for budget, size in (("epochs80", 128), ("steps16560", 256))}
    expected |= {("lstm_ptb", "momentum", f"epochs{epochs}", 64) for epochs in (10, 14, 20, 28, 40, 56, 80, 112, 160)}
    expected |= {("resnet50_imagenet", name, "epochs90", size) for name in ("sgd", "momentum") for size in (256, 1024, 4096)}
    assert points == expected
    blocks = {(cell.benchmark, len(seed_range(cell.seeds)), cell.keep) for cell in grid.cells(study)}
    assert blocks == {
        ("wrn_cifar10", 15, 12),
        ("wrn_skipinit_cifar10", 15, 12),
        *((name, 15, 12) for name in ("wrn_plain_cifar10", *ablation)),
        ("autoencoder_mnist", 7, 5),
        ("lstm_ptb", 7, 5),
        ("resnet50_imagenet", 1, 1),
    }


def test_the_papers_ablation_is_of_six_networks():
    """SkipInit and five variants, which differ in nothing else."""
    study = load_config(str(ROOT / "workflow/config/paper.yaml"))
    found = set()
    for name in study["figures"]["ablation"]["benchmarks"]:
        (settings,) = {cell.settings for cell in grid.cells(study) if cell.benchmark == name}
        chosen = json.loads(settings)
        found.add(tuple(chosen.pop(part, default) for part, default in (("scalar", True), ("biases", True), ("dropout", 0.6))))
        assert chosen == json.loads(make_cell("wrn_skipinit_cifar10", "sgd", "epochs1", 64, 1, "0-0", "{}", 1, None).settings)
    assert found == {(scalar, biases, drop) for scalar, biases in ((1, 1), (1, 0), (0, 0)) for drop in (0.6, 0)}


def test_the_papers_sweeps_of_learning_rates_have_the_range_of_its_figure():
    """ICLR v5 fig. 4: all of 2^-3 to 2^6, three optimizers, batch sizes 64 and 1,024."""
    study = load_config(str(ROOT / "workflow/config/paper.yaml"))
    wrn = [cell for cell in grid.cells(study) if cell.benchmark == "wrn_cifar10" and cell.budget == "epochs200"]
    for optimizer in ("sgd", "momentum", "momentum_warmup"):
        for size in (64, 1024):
            rates = {float(cell.lr) for cell in wrn if (cell.optimizer, cell.batch_size) == (optimizer, size)}
            assert {2.0**k for k in range(-3, 7)} <= rates
    assert set(study["figures"]["lr_sweep"]["wrn_cifar10"]) >= {64, 1024}


def test_the_papers_sweep_of_both_rates():
    study = load_config(str(ROOT / "workflow/config/paper.yaml"))
    cells = grid.two_rate_cells(study)
    assert {(cell.benchmark, cell.optimizer, cell.batch_size, cell.keep, cell.seeds) for cell in cells} == {
        ("wrn_cifar10", "momentum", 64, 5, "0-6")
    }
    for epochs in (50 * 2**k for k in range(8)):
        some = [cell for cell in cells if cell.budget == f"epochs{epochs}"]
        pairs = {(float(cell.lr), float(cell.final_lr)) for cell in some}
        initial, final = ({pair[end] for pair in pairs} for end in (0, 1))
        assert len(some) == len(pairs) == len(initial) * len(final) >= 30
        assert {0.25, 0.5} <= initial
        assert min(final) < 0.25 / 1024 < 0.5 / 1024 < max(final)


def test_a_cell_with_two_rates_is_another_than_that_without():
    plain, free = (
        make_cell("wrn_digits", "sgd", "epochs1", 64, 1, "0-1", "{}", 1, None, final_lr=final) for final in (None, 0.25)
    )
    assert plain.path == "cells/wrn_digits/sgd/epochs1/batch64_lr1_seeds0-1.h5"
    assert free.path == "cells/wrn_digits/sgd/epochs1/batch64_lr1to0.25_seeds0-1.h5"
    assert free.spec == plain.spec | {"final_lr": "0.25"}
    assert shlex.split(free.arguments) == [
        *shlex.split(plain.arguments)[:-1],
        "--final-lr=0.25",
        shlex.split(plain.arguments)[-1],
    ]
    assert "final" not in plain.arguments
    assert cell_of(parser().parse_args(["train", *shlex.split(free.arguments), "--out=x"])).path == free.path


TWO = {"optimizer": "momentum", "batch_size": 64, "seeds": {"num": 3, "keep": 2}}


def test_a_sweep_of_both_rates_is_part_of_the_study_and_leaves_its_cells_as_they_are():
    two = {"wrn_digits": TWO | {"epochs": {4: {"initial": [0.5, 1], "final": [0.125, 0.5]}}}}
    before, study = validate(config()), validate(config() | {"two_rates": two})
    assert grid.cells(study) == grid.cells(before)
    assert [(cell.lr, cell.final_lr) for cell in grid.two_rate_cells(study)] == [
        (lr, final) for lr in ("0.5", "1") for final in ("0.125", "0.25", "0.5")
    ]
    two["wrn_digits"]["epochs"] = {4: {"initial": [0.5, 1], "final": [0.5, 1]}}
    up_to = [(cell.lr, cell.final_lr) for cell in grid.two_rate_cells(validate(config() | {"two_rates": two}))]
    assert up_to == [("0.5", "0.5"), ("1", "0.5"), ("1", "1")]
    assert len(grid.trained(study)) == len(grid.cells(before)) + 6
    assert "two_rates" not in grid_part(before)  # so that a study from before is as it was
    assert json.loads(grid_part(study))["two_rates"] == study["two_rates"]
    assert cost.costs(study, None)["wrn_digits", "two_rates"].runs == 18


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"wrn_digits": TWO | {"epochs": {4: {"initial": [0.5, 1], "final": [2, 4]}}}},
            r"epochs\.4: no final rate of the grid 1",
        ),
        (
            {"wrn_digits": TWO | {"epochs": {4: {"initial": [0.6, 0.9], "final": [0.5, 0.5]}}}},
            r"epochs\.4: no final rate",
        ),
        ({"wrn_digits": TWO | {"epochs": {4: {"initial": [0.5, 1]}}}}, "'final' is a required property"),
        (
            {"wrn_digits": TWO | {"epochs": {4: {"initial": [1, 0.5], "final": [0.5, 0.5]}}}},
            r"4.initial: no .*\[1, 0.5\]; the lowest",
        ),
        ({"other": TWO | {"epochs": {4: {"initial": [0.5, 1], "final": [0.5, 0.5]}}}}, r"two_rates\.other: no such benchmark"),
        (
            {"wrn_digits": TWO | {"optimizer": "sdg", "epochs": {4: {"initial": [1, 1], "final": [1, 1]}}}},
            "unknown optimizer 'sdg'",
        ),
    ],
)
def test_a_sweep_of_both_rates_that_is_none(entry, message):
    with pytest.raises(ValueError, match=message):
        grid.two_rate_cells(validate(config() | {"two_rates": entry}))


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (
            {"curves": {"wrn_digits": {"optimizer": "sgd", "budget": "epochs4", "batch_size": 64, "lr": [8]}}},
            "no cell of the grid",
        ),
        ({"variants": {"optimizer": "momentum", "benchmarks": ["wrn_digits", "b"]}}, r"figures\.variants\.b: no such benchmark"),
        ({"variants": {"benchmarks": ["wrn_digits", "b"]}}, "'optimizer' is a dependency of 'benchmarks'"),
        (
            {"ablation": {"optimizer": "momentum", "batch_size": 128, "benchmarks": ["wrn_digits", "other"]}},
            "no window of momentum at",
        ),
    ],
)
def test_a_figure_that_the_study_has_no_cells_for(figure, message):
    study = config()
    study["benchmarks"]["other"] = study["benchmarks"]["wrn_digits"] | {"file": "wrn_skipinit_digits"}
    with pytest.raises(ValueError, match=message):
        grid.curve_cells(validate(study | {"figures": figure}), "wrn_digits", figure["curves"]["wrn_digits"])


def test_the_papers_optima_are_inside_its_windows():
    """At least one step of the grid from either end."""
    source = ROOT.parent / "shared/paper_values.json"
    if not source.exists():
        pytest.skip("the paper's values are not at hand")
    values = json.loads(source.read_text())
    study = load_config(str(ROOT / "workflow/config/paper.yaml"))["benchmarks"]
    checked = 0
    for name, mode, entry in (
        ("wrn_cifar10", "constant_epoch", "wrn_bn_epoch200"),
        ("wrn_skipinit_cifar10", "constant_epoch", "wrn_skipinit_epoch200"),
        ("autoencoder_mnist", "constant_epoch", "autoencoder_epoch200"),
        ("lstm_ptb", "constant_epoch", "lstm_epoch40"),
    ):
        ratio = benchmarks.protocol(name)["lr_grid"]["ratio"]
        for optimizer, optima in values[entry]["opt_lr_test"].items():
            windows = study[name][mode][optimizer.replace("warmup", "momentum_warmup")]
            for batch_size, optimum in zip(values[entry]["B"], optima, strict=True):
                low, high = windows[str(batch_size)]
                assert low * ratio * 0.97 <= optimum <= high / ratio * 1.03
                checked += 1
    assert checked == 24 + 24 + 22 + 20


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("./out", "out"),
        ("out/", "out"),
        ("out//x", "out/x"),
        ("./a/./b/../c//", "a/c"),
        ("../x", "../x"),
        ("./../x/", "../x"),
        ("/tmp//x/", "/tmp/x"),
        ("a b", "a b"),
        (".", os.getcwd()),
        ("./", os.getcwd()),
    ],
)
def test_a_folder_is_the_same_however_it_is_written(written, read):
    """Snakemake warns of every path that begins with ./ or has //."""
    study = TINY | {"results": written, "data": written, "figures": {"folder": written}}
    config = validate(study)
    assert (config["results"], config["data"], config["figures"]["folder"]) == (read, read, read)


def test_a_cell_whose_curves_are_asked_for_twice_is_drawn_once():
    study = validate(TINY)
    once = {"optimizer": "sgd", "budget": "epochs4", "batch_size": [64], "lr": [0.5]}
    (cell,) = grid.curve_cells(study, "wrn_digits", once)
    for twice in ({"batch_size": [64, 64]}, {"lr": [0.5, 0.5]}, {"lr": [0.5, 0.50001]}):
        assert grid.curve_cells(study, "wrn_digits", once | twice) == [cell]
        extended = curves_left(study | {"extend_grid": True}, "wrn_digits", once | twice)
        assert extended == [cell]
