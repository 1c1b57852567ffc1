"""The figure of what regularisers recover, from made-up tables."""

import re

import pandas as pd
import pytest

from sgdnoise import benchmarks, figures
from sgdnoise.cli.main import main
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import load_config
from sgdnoise.study.figures import figure_names, figure_paths

STUDY = """
results: results
optimizers:
  penalty: {optimizer: momentum, regulariser: gradient_norm, micro_batch: 4}
benchmarks:
  lstm_synthetic:
    seeds: {num: 3, keep: 2}
    settings: {num_train: 1040}
    constant_step:
      steps: 64
      momentum: {4: [0.25, 1], 16: [0.25, 1]}
      penalty@0.01: {16: [0.25, 1]}
      penalty@0.04: {16: [0.25, 1]}
      penalty@0.16: {16: [0.25, 1]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a study and the table of its runs, in which the middle coefficient recovers half of the gap."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(STUDY)
    best = {"momentum": {4: 10.0, 16: 12.0}, "penalty@0.01": {16: 11.8}, "penalty@0.04": {16: 11.0}, "penalty@0.16": {16: 12.5}}
    rows = []
    for cell in grid.cells(load_config(tmp_path / "config.yaml")):
        for seed in seed_range(cell.seeds):
            value = best[cell.optimizer][cell.batch_size] + abs(float(cell.lr) - 0.5) ** 2 + 0.02 * seed
            identity = {
                name: getattr(cell, name) for name in ("benchmark", "optimizer", "budget", "batch_size", "num_steps", "keep")
            }
            measured = {"test_perplexity": value, "train_perplexity": value - 2, "train_objective": value / 9}
            more = {
                "lr": float(cell.lr),
                "num_train": 1040,
                "num_epochs": cell.num_steps * cell.batch_size / 64,
                "modes": "constant_step",
            }
            rows.append(identity | more | {"bound": 9.0, "seed": seed, "status": "completed"} | measured)
    pd.DataFrame(rows).to_csv("cells.csv", index=False)
    return tmp_path


def test_verb_and_figure_say_what_is_recovered(folder, capsys):
    main(["gap", "--config=config.yaml", "--benchmark=lstm_synthetic", "--cells=cells.csv", "--out=gap.csv"])
    assert "lstm_synthetic: penalty at 0.0" in (said := capsys.readouterr().out)
    table = pd.read_csv("gap.csv")
    best = table[table["kind"] == "best"].iloc[0]
    assert best["share_low"] < 0.5 < best["share_high"]
    assert f"{best['share']:.2f} [" in said
    words = ["figure", "gap", "--benchmark=lstm_synthetic", "--gap=gap.csv", "--out=gap.png"]
    main(words)
    assert (folder / "gap.png").stat().st_size > 10_000
    protocol = benchmarks.protocol("lstm_synthetic") | {"title": "a network"}
    drawn = figures.draw("gap", {"gap": table}, "lstm_synthetic", protocol, {})
    assert [text.get_text().split("\n")[0] for text in drawn.axes[0].get_yticklabels()] == ["penalty"]
    assert drawn.axes[0].get_legend_handles_labels()[1] == ["momentum at batch size 4", "momentum at batch size 16"]
    assert [axes.get_title() for axes in drawn.axes] == ["at the best coefficient", "penalty"]
    assert "equal updates: 64, batch sizes 4 and 16" in drawn._suptitle.get_text()


def test_only_what_is_not_enclosed_is_hollow(folder):
    main(["gap", "--config=config.yaml", "--benchmark=lstm_synthetic", "--cells=cells.csv", "--out=gap.csv"])
    protocol = benchmarks.protocol("lstm_synthetic") | {"title": "a network"}
    for edge, face in (("", "#3f3f3f"), ("high lr", "white")):
        table = pd.read_csv("gap.csv").assign(edge=edge)
        table.to_csv("other.csv", index=False)
        drawn = figures.draw("gap", {"gap": pd.read_csv("other.csv")}, "lstm_synthetic", protocol, {})
        marks = [line for axes in drawn.axes for line in axes.get_lines() if line.get_marker() == "o"]
        assert len(marks) > 2
        assert {line.get_markerfacecolor() for line in marks} == {face}


def test_a_study_has_the_figure_where_regularisers_are_swept_at_equal_updates(folder):
    config = load_config(folder / "config.yaml")
    assert figure_names(config, "lstm_synthetic") == ["constant_step", "headline", "gap"]
    assert "lstm_synthetic/gap" in figure_paths(config)


def test_a_study_without_is_told(folder, capsys):
    (folder / "plain.yaml").write_text(STUDY.split("      penalty@0.01")[0])
    assert main(["gap", "--config=plain.yaml", "--benchmark=lstm_synthetic", "--cells=cells.csv", "--out=gap.csv"]) == 1
    assert "plain.yaml: no optimizer with a regulariser, as penalty@0.01, under constant_step" in capsys.readouterr().err


def test_a_regulariser_without_its_own_optimizer_is_said_when_planned(folder, capsys):
    """The study has momentum, and the regulariser of SGD: no figure, no share, and what to add."""
    (folder / "other.yaml").write_text(STUDY.replace("{optimizer: momentum,", "{optimizer: sgd,"))
    assert figure_names(load_config("other.yaml"), "lstm_synthetic") == ["constant_step", "headline"]
    assert main(["grid", "--config=other.yaml"]) == 0
    add = "penalty has nothing to be compared with, .*benchmarks.lstm_synthetic.constant_step .*, or penalty@0, .*, at 16$"
    assert re.search(f"warning: lstm_synthetic: {add}", capsys.readouterr().err, re.MULTILINE)
    assert main(["gap", "--config=other.yaml", "--benchmark=lstm_synthetic", "--cells=cells.csv", "--out=gap.csv"]) == 1
    assert re.search(f"other.yaml: lstm_synthetic: {add}", capsys.readouterr().err, re.MULTILINE)
    assert main(["grid", "--config=config.yaml"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_the_other_figures_leave_coefficients_out(folder):
    main(["optimum", "--config=config.yaml", "--cells=cells.csv", "--out=optimum.csv"])
    tables = figures.read_tables(folder / "cells.csv", folder / "optimum.csv", "lstm_synthetic")
    drawn = figures.draw(
        "constant_step", tables, "lstm_synthetic", benchmarks.protocol("lstm_synthetic") | {"title": "a network"}, {}
    )
    assert drawn.axes[0].get_legend_handles_labels()[1] == ["best reachable, 9.00", "SGD with momentum"]


GAP = pd.DataFrame(
    [
        (f"{base}{kind}", kind, size, coefficient, value)
        for base, value in (("sgd", 1.0), ("momentum", 2.0))
        for kind, size, coefficient in (
            ("small", 4, None),
            ("large", 16, None),
            *[("coefficient", 16, c) for c in (0.1, 0.2)],
            ("best", 16, 0.15),
        )
    ],
    columns=["arm", "kind", "batch_size", "coefficient", "value"],
).assign(
    arm=["sgd", "sgd", "own", "own", "own", "momentum", "momentum", "more", "more", "more"], edge="", share=None, num_steps=64
)
GAP = GAP.assign(value_low=GAP["value"] - 0.1, value_high=GAP["value"] + 0.1)
PROTOCOL = {"metrics": {"test_loss": "min"}, "title": "a network"}


def test_a_panel_has_the_lines_of_its_own_optimizer():
    drawn = figures.draw("gap", {"gap": GAP}, "own", PROTOCOL, {})
    labels = [axes.get_legend_handles_labels()[1] for axes in drawn.axes]
    own = [[f"{base} at batch size {size}" for size in (4, 16)] for base in ("sgd", "momentum")]
    assert labels == [[*own[0], *own[1]], *own]
    lines, _ = drawn.axes[0].get_legend_handles_labels()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 4


@pytest.mark.parametrize("kinds", [[], ["small", "large", "coefficient"]])
def test_without_a_best_coefficient_a_sentence_says_what_it_takes(tmp_path, kinds):
    table = GAP[GAP["kind"].isin(kinds)].assign(benchmark="own", value_low=None, value_high=None)
    table.to_csv(tmp_path / "gap.csv", index=False)
    drawn = figures.draw("gap", figures.read_own("gap", tmp_path / "gap.csv", "own"), "own", PROTOCOL, {})
    drawn.draw_without_rendering()
    (sentence,) = drawn.axes[1].texts
    assert " ".join(sentence.get_text().split()).startswith("No best coefficient is known: that takes")


@pytest.mark.parametrize(
    ("direction", "label", "drawn"),
    [
        ("min", "loss of accuracy", "loss of accuracy"),
        ("max", "test accuracy", "test error"),
        ("max", "share read right", "1 - share read right"),
    ],
)
def test_what_is_better_the_larger_is_named_as_it_is_drawn(direction, label, drawn):
    protocol = PROTOCOL | {"metrics": {"test_one": direction}, "labels": {"test_one": label}}
    assert figures.draw("gap", {"gap": GAP}, "own", protocol, {}).axes[0].get_xlabel() == drawn
