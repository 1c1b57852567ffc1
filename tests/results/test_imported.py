"""Runs that were made elsewhere: tables as other tools export them, what is refused, and the study that comes of them."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import sgdnoise
from sgdnoise.analysis.optimum import lr_statistics
from sgdnoise.cli.main import main
from sgdnoise.results.exports import read_export
from sgdnoise.results.imported import as_study
from sgdnoise.study.config import load_config

SIZES, LRS = (16, 256), [0.025 * 2**step for step in range(6)]
BEST = {16: 0.1, 256: 0.2}  # linear scaling would be 0.1, 1.6


@pytest.fixture
def runs():
    """A sweep whose optima are known: three seeds each, and a parabola in log2 of the learning rate."""
    random = np.random.default_rng(0)
    rows = [
        {
            "batch_size": size,
            "lr": lr,
            "seed": seed,
            "accuracy": 0.9 - 0.02 * np.log2(lr / BEST[size]) ** 2 - 0.05 * (size == 256) + random.normal(0, 0.002),
            "loss": 0.3 + 0.02 * np.log2(lr / BEST[size]) ** 2 + random.normal(0, 0.002),
        }
        for size in SIZES
        for lr in LRS
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


def exported(runs, tool):
    """A table as a tool writes it: with its own columns, the names that it gives to others, and its words for how a run ended."""
    settings = {"batch_size": runs["batch_size"], "lr": runs["lr"], "seed": runs["seed"]}
    if tool == "wandb":
        own = {"Name": "run", "State": "finished", "Notes": "-", "Runtime": 60.0}
        return runs.assign(**own).rename(columns={"accuracy": "val/acc"})
    if tool == "optuna":
        own = {"number": range(len(runs)), "value": runs["accuracy"], "duration": "0 days 00:01:00.0", "state": "COMPLETE"}
        names = {name: f"params_{name}" for name in ("batch_size", "lr")} | {"seed": "user_attrs_seed"}
        return pd.DataFrame(own | {names[name]: column for name, column in settings.items()})
    own = {"run_id": "a1", "status": "FINISHED", "Duration": "1.0min", "metrics.val_acc": runs["accuracy"]}
    return pd.DataFrame(own | {f"params.{name}": column for name, column in settings.items()})


@pytest.mark.parametrize(
    ("tool", "columns"),
    [("wandb", {"test_accuracy": "val/acc"}), ("optuna", {}), ("mlflow", {"test_accuracy": "metrics.val_acc"})],
)
def test_what_a_tool_exports_is_found_by_its_usual_names(runs, tmp_path, tool, columns):
    exported(runs, tool).to_csv(tmp_path / "runs.csv", index=False)
    found = read_export(tmp_path / "runs.csv", columns, tool)
    metric = next(iter(columns), "test_metric")
    assert {"lr", "batch_size", "seed", "status", "seconds", metric} == set(found)
    assert found["seconds"].tolist() == [60.0] * len(runs)
    study = as_study(found, "mine", "out", 1000, 5, [metric])
    assert study.cells["test_accuracy" if columns else "test_metric"].tolist() == pytest.approx(runs["accuracy"].tolist())
    assert study.cells["num_steps"].iloc[0] == 5 * 1000 // 16
    assert (study.cells.eval("num_steps * batch_size / num_epochs").round(6) == 1000).all()  # examples of an epoch: all alike
    assert study.cells["examples_per_second"].iloc[0] == pytest.approx(5 * 1000 / 60)


@pytest.mark.parametrize("tool", ["wandb", "mlflow", "optuna"])
def test_a_setting_is_not_read_where_a_measurement_of_its_name_was_logged(runs, tmp_path, caplog, tool):
    """The learning rate, for example, at the end of a run; and it is said which columns were taken."""
    tools = {"wandb": ("config.", "summary."), "mlflow": ("params.", "metrics."), "optuna": ("params_", "user_attrs_")}
    before, measured = tools[tool]
    names = {"lr": f"{before}learning_rate", "batch_size": f"{before}batch_size", "loss": f"{measured}loss"}
    table = runs.rename(columns=names).assign(**{f"{measured}lr": 1e-4, f"{measured}batch_size": 1})
    table.to_csv(tmp_path / "runs.csv", index=False)
    found = read_export(tmp_path / "runs.csv", {"test_loss": names["loss"]}, tool)
    assert found["lr"].tolist() == runs["lr"].tolist()
    assert found["batch_size"].tolist() == runs["batch_size"].tolist()
    assert f"columns: lr is '{before}learning_rate', batch_size is '{before}batch_size'" in caplog.text


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (60, 60),
        ("60.0", 60),
        ("1m 20s", 80),
        ("0:01:00", 60),
        ("1 day, 0:00:01", 86401),
        ("n.v.", "'n.v.', which is neither a number nor a time"),
        ("1:00", "'1:00', which is neither a number nor a time"),
    ],
)
def test_a_time_among_seconds_changes_no_other(runs, tmp_path, said, seconds):
    table = runs.assign(seconds=60).astype({"seconds": object})
    table.loc[3, "seconds"] = said
    table.loc[4, "seconds"] = np.nan
    table.to_csv(tmp_path / "runs.csv", index=False)
    columns = {name: name for name in ("lr", "batch_size", "seconds")}
    if isinstance(seconds, str):
        with pytest.raises(ValueError, match=seconds):
            read_export(tmp_path / "runs.csv", columns)
        return
    found = read_export(tmp_path / "runs.csv", columns)["seconds"].tolist()
    assert (found[2], found[3], found[5]) == (60, seconds, 60)
    assert np.isnan(found[4])


def test_a_folder_keeps_to_one_study(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs.to_csv("runs.csv", index=False)
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported/grid.json").write_text(study_of(runs).grid)
    words = [
        "import",
        "runs.csv",
        "--columns",
        "lr=lr",
        "batch_size=batch_size",
        "test_loss=loss",
        "--num-train=1000",
        "--epochs=5",
    ]
    assert main([*words, "--name=other"]) == 1
    assert "imported has imported runs of 'mine'; give --name=mine, or another --out" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "imported").iterdir()] == ["grid.json"]


def test_from_a_table_to_the_advice(runs, tmp_path, monkeypatch, capsys):
    """Tables, figures and page are written, and the optima that were put in come out; what is missing is said."""
    monkeypatch.chdir(tmp_path)
    runs.loc[4, "accuracy"] = np.nan
    runs.to_csv("runs.csv", index=False)
    columns = ["lr=lr", "batch_size=batch_size", "seed=seed", "test_accuracy=accuracy", "train_loss=loss"]
    assert main(["import", "runs.csv", "--columns", *columns, "--num-train=1000", "--epochs=5", "--name=mine", "--out=mine"]) == 0
    said = capsys.readouterr()
    assert "mine: test accuracy after 5 epochs, at every batch size" in said.out
    assert re.search(r"\n256 +0.2[^\n]* costs 4\.\d to 6\.\d points\n", said.out)
    assert "1 runs that ended have no test_accuracy: they count as diverged" in said.err
    assert "times: no column of seconds" in said.err
    assert "batch sizes: 2, and it takes three to tell where the learning rate stops growing" in said.err
    optimum = pd.read_csv("mine/optimum.csv").query("metric == 'test_accuracy'").set_index("batch_size")
    for size in SIZES:
        assert optimum.loc[size, "lr"] == BEST[size]
        assert optimum.loc[size, "fit_lr_low"] < BEST[size] < optimum.loc[size, "fit_lr_high"]
    assert (tmp_path / "mine/figures/mine/constant_epoch.png").stat().st_size > 10_000
    assert "mine, imported runs" in (tmp_path / "mine/report.html").read_text()
    assert load_config("mine/grid.json")["benchmarks"]["mine"]["constant_epoch"]["sgd"]["256"] == [0.025, 0.8]


def test_learning_rates_become_effective_ones_and_seeds_are_numbered(runs):
    some = runs.rename(columns={"accuracy": "test_accuracy"}).drop(columns=["seed", "loss"]).assign(optimizer="Momentum")
    cells = as_study(some, "mine", "out", 1000, 5, []).cells
    assert sorted(cells["lr"].unique()) == pytest.approx([lr * 10 for lr in LRS])
    assert cells.groupby(["batch_size", "lr"])["seed"].apply(list).tolist() == [[0, 1, 2]] * 12
    assert (cells["optimizer"] == "momentum").all()


@pytest.mark.parametrize("name", ["AdamW", "Adam", "KFAC"])  # of the package's own the last two have the names
def test_learning_rates_of_another_optimizer_stay_torchs_own(runs, name):
    some = runs.rename(columns={"accuracy": "test_accuracy"}).drop(columns="loss").assign(optimizer=name)
    study = as_study(some, "mine", "out", 1000, 5, [])
    assert sorted(study.cells["lr"].unique()) == pytest.approx(LRS)
    assert json.loads(study.grid)["optimizers"] == {name.lower(): {"class": name}}


def test_a_random_search_is_rounded_where_that_is_asked_for(runs):
    """Every learning rate is another: no seeds, which is said; on a grid those that fall together are seeds."""
    random = np.random.default_rng(1)
    some = pd.DataFrame({"batch_size": runs["batch_size"], "lr": runs["lr"] * 2 ** random.uniform(-0.5, 0.5, len(runs))})
    some["test_loss"] = runs["loss"]
    notes = as_study(some, "mine", "out", 1000, 5, []).notes
    assert any(note.startswith("seeds: one run at each learning rate") for note in notes)
    assert any("--round-lr 1.5" in note for note in notes)
    rounded = as_study(some, "mine", "out", 1000, 5, [], ratio=2)
    assert not any(note.startswith("learning rates of a random search") for note in rounded.notes)
    assert rounded.cells.groupby(["batch_size", "lr"]).size().max() > 1
    steps = np.diff(np.log2(sorted(rounded.cells["lr"].unique())))
    assert steps == pytest.approx([1] * len(steps), abs=1e-3)


def test_runs_that_did_not_end_are_left_out(runs, tmp_path):
    table = exported(runs, "wandb")
    table.loc[:3, "State"] = ["crashed", "running", "crashed", np.nan]
    table.to_csv(tmp_path / "runs.csv", index=False)
    study = as_study(read_export(tmp_path / "runs.csv", {"test_accuracy": "val/acc"}, "wandb"), "mine", "out", 1000, 5, [])
    assert len(study.cells) == len(runs) - 4
    assert study.notes[0] == "2 runs are left out, which are crashed"
    assert set(study.notes[1:3]) == {f"1 runs are left out, which are {word}" for word in ("running", "without a status")}


def study_of(runs, metric="test_loss", num_epochs=5, minimize=(), **columns):
    """The runs as a study by their loss, with columns besides."""
    some = runs.rename(columns={"loss": metric}).drop(columns="accuracy").assign(**columns)
    return as_study(some, "mine", "out", 1000, num_epochs, [], minimize=minimize)


@pytest.mark.parametrize(
    ("word", "loss", "said"),
    [
        (" Diverged", 0.1, None),
        ("finished", np.inf, "an infinite metric"),
        ("finished", -np.inf, "an infinite metric"),
        ("finished", np.nan, "no test_loss"),
    ],
)
def test_a_run_that_diverged_has_no_metrics_however_it_is_said(runs, word, loss, said):
    top = runs["lr"] == LRS[-1]
    study = study_of(runs.assign(loss=runs["loss"].mask(top, loss)), status=np.where(top, word, "FINISHED"), train_loss=1)
    top = study.cells["lr"] == LRS[-1]
    assert ((study.cells["status"] == "diverged") == top).all()
    assert (study.cells[["test_loss", "train_loss"]].isna().all(axis=1) == top).all()
    notes = [note for note in study.notes if "diverged" in note]
    assert notes == ([f"6 runs that ended have {said}: they count as diverged"] if said else [])


def test_an_infinite_train_metric_is_of_a_run_that_diverged(runs):
    study = study_of(runs, train_loss=np.where(runs.index == 0, np.inf, 0.1))
    assert study.cells["status"].value_counts().to_dict() == {"completed": len(runs) - 1, "diverged": 1}


@pytest.mark.parametrize("num", [6, 7])
def test_one_run_that_fails_takes_no_learning_rate_away(runs, num):
    """Of 6 or 7 runs 5 count, as in the paper."""
    many = pd.concat([runs[runs["seed"] == 0].assign(seed=seed) for seed in range(num)], ignore_index=True)
    best = (many["lr"] == BEST[256]) & (many["batch_size"] == 256)
    study = study_of(many.assign(loss=many["loss"].mask(best & (many["seed"] == 1))))
    assert json.loads(study.grid)["benchmarks"]["mine"]["seeds"] == {"num": num, "keep": 5}
    table = lr_statistics(study.cells, "test_loss", "min", "test_loss").query("batch_size == 256").set_index("lr")
    assert table.loc[BEST[256], "num_diverged"] == 1
    assert table["mean"].idxmin() == BEST[256]


def test_accuracies_in_percent_are_fractions_afterwards(runs):
    """Each column by itself, but for rounding; what diverged says nothing of the unit."""
    some = runs.drop(columns="loss").assign(train_accuracy=0.9, status="finished").rename(columns={"accuracy": "test_accuracy"})
    some.loc[0, ["status", "test_accuracy"]] = ["diverged", 1e6]
    percent = some.assign(**some[["test_accuracy", "train_accuracy"]] * 100)
    studies = [as_study(one, "mine", "out", 1000, 5, []) for one in (some, percent)]
    pd.testing.assert_frame_equal(*(study.cells for study in studies))
    assert [sum("taken as percent" in note for note in study.notes) for study in studies] == [0, 2]
    mixed = as_study(percent.assign(train_accuracy=1.0000001), "mine", "out", 1000, 5, []).cells
    assert (mixed["test_accuracy"].max(), mixed["train_accuracy"].max()) == (studies[0].cells["test_accuracy"].max(), 1.0000001)
    for bad in (-0.1, 101.0):
        with pytest.raises(ValueError, match="test_accuracy: accuracies are from 0 to 1, or in percent"):
            as_study(some.assign(test_accuracy=some["test_accuracy"].where(some.index != 5, bad)), "mine", "out", 1000, 5, [])


def test_epochs_are_those_of_the_column_where_it_has_them(runs):
    some = np.where(runs["batch_size"] == 16, 10, np.nan)
    for said, epochs in ((10, None), (10, 10), (some, 10)):
        assert set(study_of(runs, num_epochs=epochs, epochs=said).cells["budget"]) == {"epochs10"}


def test_a_name_of_an_optimizer_may_have_any_characters(runs):
    study = study_of(runs, optimizer=np.where(runs["seed"] == 0, "AdamW (b2=0.95)", "sgd_1"))
    assert study.cells["optimizer"].value_counts().to_dict() == {"adamw_b": 12, "sgd": 24}
    assert json.loads(study.grid)["optimizers"] == {"adamw_b": {"class": "AdamW_b"}}


@pytest.mark.parametrize(
    ("metric", "way"),
    [
        ("test_acc", "max"),
        ("test_roc_auc", "max"),
        ("test_F1", "max"),
        ("test_bleu", "max"),
        ("test_top1accuracy", "max"),
        ("test_r2", "max"),
        ("test_loss", "min"),
        ("test_top1_error", "min"),
        ("test_mape", "min"),
        ("test_accent", "min"),
    ],
)
def test_well_known_metrics_are_better_where_larger_and_it_is_said_of_each(runs, metric, way):
    study = study_of(runs, metric, train_loss=1)
    assert f"'metrics': {{'{metric}': '{way}', 'train_loss': 'min'}}" in study.file
    larger = "larger" if way == "max" else "smaller"
    assert any(f"{metric} is better where {larger}, train_loss is better where smaller; or say" in note for note in study.notes)
    assert f"'{metric}': 'min'" in study_of(runs, metric, minimize=[metric]).file


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"epochs": 30}, [], "--epochs 10: the column of epochs says 30; leave --epochs out, or the column"),
        ({"epochs": [10] * 18 + [30] * 18}, [], "runs of 10, 30 epochs: batch sizes compare under one"),
        ({"epochs": [30] * 18 + [np.nan] * 18}, [], "runs of 10, 30 epochs: batch sizes compare under one"),
        (
            {"optimizer": ["sgd-0", "sgd-0.9"] * 18},
            [],
            "optimizer: 'sgd-0' and 'sgd-0.9' would both be called sgd; give them names that differ",
        ),
        ({"optimizer": ["Adam", "adam"] * 18}, [], "optimizer: 'Adam' and 'adam' would both be called adam"),
        ({"optimizer": ["Adam", "--"] * 18}, [], "optimizer: '--' is no name; write letters and _"),
        ({"optimizer": 0.9}, [], "optimizer: '0.9' is no name"),
        ({"optimizer": ["Adam", None] * 18}, [], "optimizer: 18 runs have none, others 'Adam'; write one in every row"),
        ({"seed": 1e19}, [], "seed: 1e+19 is not a whole number from 0 below 2^63"),
        ({"study": "a"}, [], "--columns study: it tells curves of steps_to_target apart"),
        ({"lr": np.inf}, [], "lr: inf is not a positive number"),
        ({"seconds": 0}, [], "seconds: 0 is not a positive number"),
        ({"seed": 0.5}, [], "seed: 0.5 is not a whole number from 0"),
        ({"seed": [0] + [np.nan] * 35}, [], "seed: nan is not a whole number from 0"),
        ({"seed": 0}, ["--round-lr=2"], "36 runs are there twice, the first with sgd"),
        ({"status": "diverged"}, [], "all runs diverged, so that no learning rate can be the best"),
        ({}, ["--minimize=test_los"], "--minimize test_los: no such metric; there are: test_loss"),
        ({}, ["--minimize=test_loss", "--maximize=test_loss"], "test_loss is to --maximize and to --minimize; say one"),
    ],
)
def test_columns_that_say_what_cannot_be_are_refused(runs, tmp_path, monkeypatch, capsys, columns, arguments, message):
    monkeypatch.chdir(tmp_path)
    table = runs.assign(**columns)
    table.to_csv("runs.csv", index=False)
    roles = [f"{name}={name}" for name in table if name not in ("accuracy", "loss")]
    words = ["--columns", *roles, "test_loss=loss", "--num-train=1000", "--epochs=10", *arguments]
    assert main(["import", "runs.csv", *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ["batch_size=batch_size"], "which column of runs.csv is the lr? Write --columns lr=NAME"),
        ({}, ["lr=rate", "batch_size=batch_size"], "runs.csv has no column 'rate'; it has: batch_size, lr, seed, accuracy, loss"),
        ({}, ["lr=lr", "batch_size=batch_size", "loss=loss"], "--columns loss: a column is one of lr, batch_size, seed"),
        ({}, ["lr=lr", "batch_size=batch_size"], "no metric: write --columns test_accuracy=NAME"),
        ({}, ["lr=lr", "batch_size=batch_size", "train_loss=loss"], "no test metric: learning rates are selected by one"),
        (
            {"lr": "high"},
            ["lr=lr", "batch_size=batch_size", "test_loss=loss"],
            "the column 'lr', lr, has 'high', which is not a number",
        ),
        (
            {"batch_size": 1.5},
            ["lr=lr", "batch_size=batch_size", "test_loss=loss"],
            "batch_size: 1.5 is not a whole number from 1",
        ),
        ({"lr": 0.0}, ["lr=lr", "batch_size=batch_size", "test_loss=loss"], "lr: 0.0 is not a positive number"),
        ({"lr": 0.1}, ["lr=lr", "batch_size=batch_size", "test_loss=loss"], "all runs have one learning rate"),
        (
            {"seed": 0},
            ["lr=lr", "batch_size=batch_size", "test_loss=loss", "seed=seed"],
            "36 runs are there twice, the first with sgd",
        ),
    ],
)
def test_what_is_refused(runs, tmp_path, monkeypatch, capsys, change, arguments, message):
    monkeypatch.chdir(tmp_path)
    runs.assign(**change).to_csv("runs.csv", index=False)
    assert main(["import", "runs.csv", "--columns", *arguments, "--num-train=1000", "--epochs=5"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["lr,bs,loss"], "runs.csv has no rows"),
        (
            ["lr,bs,loss", "0.1,16,0.3,", "0.2,16,0.4,"],
            "runs.csv is not a table in CSV (Error tokenizing data. C error: Expected 3 fields",
        ),
        (["lr,bs,loss", "run1,0.1,16,0.3"], "Expected 3 fields in line 2, saw 4"),
        (["lr,lr,bs,loss", "0.1,0.2,16,0.3"], "two columns are called 'lr'; rename one"),
        (None, "runs.csv is missing; name a table of runs"),
    ],
)
def test_a_table_that_cannot_be_read_as_it_was_meant(tmp_path, monkeypatch, capsys, lines, message):
    """Neither by shifted columns nor by the first of two."""
    monkeypatch.chdir(tmp_path)
    if lines:
        (tmp_path / "runs.csv").write_text("\n".join([*lines, ""]))
    assert (
        main(["import", "runs.csv", "--columns", "lr=lr", "batch_size=bs", "test_loss=loss", "--num-train=9", "--epochs=5"]) == 1
    )
    assert message in capsys.readouterr().err


def test_a_column_that_is_named_twice(runs, tmp_path, capsys):
    runs.to_csv(tmp_path / "runs.csv", index=False)
    words = ["lr=lr", "batch_size=batch_size", "test_loss=loss", "test_loss=accuracy"]
    assert main(["import", str(tmp_path / "runs.csv"), "--columns", *words]) == 1
    assert "--columns test_loss: loss, accuracy; name one" in capsys.readouterr().err


def test_no_name_of_an_optimizer_is_a_missing_value(runs, tmp_path):
    table = runs.assign(optimizer=np.where(runs["seed"] == 0, "NA", "None"))
    table.to_csv(tmp_path / "runs.csv", index=False)
    found = read_export(tmp_path / "runs.csv", {name: name for name in ("lr", "batch_size", "optimizer")})
    assert found["optimizer"].tolist() == table["optimizer"].tolist()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_that_no_comma_separates_are_said(runs, tmp_path, separator):
    runs.to_csv(tmp_path / "runs.csv", index=False, sep=separator, decimal=",")
    with pytest.raises(ValueError, match=re.escape(f"its columns are separated by {separator!r}; write it with commas")):
        read_export(tmp_path / "runs.csv", {"lr": "lr"})


def test_what_was_not_imported_is_not_spoken_of(runs, tmp_path, monkeypatch, capsys):
    """A second metric, a config to edit: there is none. What is missing is said once, of the learning rates as they are."""
    monkeypatch.chdir(tmp_path)
    runs[(runs["batch_size"] == 16) | (runs["lr"] < 0.15)].to_csv("runs.csv", index=False)
    columns = ["lr=lr", "batch_size=batch_size", "seed=seed", "test_loss=loss"]
    assert main(["import", "runs.csv", "--columns", *columns, "--num-train=1000", "--epochs=5"]) == 0
    said = "".join(capsys.readouterr())
    assert "_again" not in said
    assert "in the config" not in said
    assert "benchmarks." not in said
    assert said.count("make runs at learning rates above 0.1 at batch size 256") == 1
    assert "of the config to widen" not in (tmp_path / "imported/report.html").read_text()
    assert sgdnoise.optimum(sgdnoise.read_cells("imported"))["metric"].tolist() == ["test_loss"] * 2


def test_the_config_is_one_that_can_be_read(runs):
    some = runs.rename(columns={"accuracy": "test_accuracy"}).drop(columns="loss")
    config = json.loads(as_study(some, "mine", "out", 1000, 5, []).grid)
    assert config["frozen"]
    assert config["benchmarks"]["mine"]["seeds"] == {"keep": 3, "num": 3}
