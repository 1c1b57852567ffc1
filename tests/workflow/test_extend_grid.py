"""The grid that finds its optimum: the workflow, with training replaced by made-up results."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import changed, lrs
from made_up import EXTENDED as STUDY
from made_up import KEY
from workflows import copy_of, copy_workflow, jobs, made_cells, run_stubbed, stub_training

WIDER = {f"{KEY}.64": [0.08, 2.56], f"{KEY}.128": [0.64, 2.56]}  # what a person would end with
CELL = "results/cells/autoencoder_digits/sgd/epochs1/batch{}_lr{}_seeds0-3.h5"
FIRST_PLAN = {"prepare": 1, "train": 5, "study": 1, "extend": 2, "freeze": 1}


def write_config(folder, **changes):
    study = changed(STUDY, {f"{KEY}.128": [0.64, 2.56]} | changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def run(folder, *arguments):
    """Run the workflow; return the paths of the cells that were trained."""
    return made_cells(run_stubbed(folder, *arguments))


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A study before anything is run."""
    folder = copy_workflow(tmp_path_factory.mktemp("extended") / "study")
    stub_training(folder)
    write_config(folder)
    return folder


@pytest.fixture(scope="module")
def finished(planned):
    trained = run(planned)
    ladder = ("0.08", "0.16", "0.32", "0.64", "1.28", "2.56")
    assert trained == sorted([CELL.format(64, lr) for lr in ladder] + [CELL.format(128, lr) for lr in ladder[3:]])
    return planned


@pytest.fixture
def study(finished, tmp_path):
    return copy_of(finished, tmp_path)


def optima(folder):
    return pd.read_csv(folder / "results/optimum.csv").set_index(["batch_size", "metric"])


@pytest.mark.workflow
def test_the_longest_cells_are_trained_first_and_windows_move_on_at_once(tmp_path):
    """So that no core is idle beside the longest at the end."""
    folder = copy_workflow(tmp_path / "study")
    stub_training(folder)
    short, long = "sgd/epochs1/batch64_lr", "sgd/epochs4/batch64_lr"
    write_config(folder, **{"benchmarks.autoencoder_digits.unlimited": {"batch_size": 64, "sgd": {"4": [0.64, 2.56]}}})
    said = run_stubbed(folder, "results/optimum.csv", "--cores=1")
    made = [line.split()[-1] for line in said.splitlines() if line.startswith("    output: results/")]
    order = [path.removeprefix("results/cells/autoencoder_digits/") for path in made if "/cells/" in path]
    assert [path.startswith(long) for path in order] == [True] * 3 + [False] * (len(order) - 3)
    assert sum(path.startswith(short) for path in order) == 6
    last_start = max(index for index, path in enumerate(made) if "/cells/" in path)
    assert sum("/windows/" in path for path in made[:last_start]) >= 4


def test_the_first_plan_has_the_windows_of_the_config(planned):
    counts, trained = jobs(planned)
    assert counts | FIRST_PLAN == counts
    assert trained == sorted(
        [CELL.format(64, lr) for lr in ("0.08", "0.16")] + [CELL.format(128, lr) for lr in (0.64, 1.28, 2.56)]
    )


@pytest.mark.slow
def test_one_call_ends_with_enclosed_optima_and_leaves_nothing_to_do(finished):
    assert not optima(finished)["at_edge"].any()
    assert set(optima(finished)["lr"]) == {1.28}
    assert jobs(finished) == ({}, [])


@pytest.mark.slow
def test_the_study_extended_by_hand_is_the_same_and_trains_nothing(study):
    tables = {name: (study / "results" / name).read_bytes() for name in ("cells.csv", "optimum.csv")}
    write_config(study, extend_grid=False, **WIDER)
    assert run(study, "results/optimum.csv") == []
    assert {name: (study / "results" / name).read_bytes() for name in tables} == tables
    assert "extend_grid" not in (study / "results/grid.json").read_text()


@pytest.mark.slow
def test_a_lower_limit_shrinks_the_grid_again_and_trains_nothing(study):
    write_config(study, extend_limit=1)
    assert run(study, "results/optimum.csv") == []
    table = optima(study)
    assert table.loc[64, "lr_grid_high"].tolist() == [0.32] * 3
    assert table.loc[64, "at_edge"].all()
    assert not table.loc[128, "at_edge"].any()


@pytest.mark.slow
def test_a_change_at_one_point_leaves_the_others_alone(study):
    write_config(study, **{f"{KEY}.128": [0.32, 2.56]})
    counts, trained = jobs(study)
    assert trained == [CELL.format(128, "0.32")]
    assert counts["extend"] == 1
    assert run(study, "results/optimum.csv") == trained
    assert optima(study).loc[128, "lr_grid_low"].tolist() == [0.32] * 3


@pytest.mark.slow
def test_a_deleted_cell_of_an_extended_window_is_rebuilt_alone(study):
    deleted = CELL.format(64, "1.28")
    (study / deleted).unlink()
    assert jobs(study)[1] == [deleted]
    assert run(study) == [deleted]
    assert jobs(study) == ({}, [])


@pytest.mark.slow
def test_brackets_train_no_seed_twice_and_end_with_the_same_optima(study):
    before = optima(study)
    shutil.rmtree(study / "results")
    write_config(study, bracket_seeds=2)
    trained = run(study, "results/optimum.csv")
    assert lrs([path for path in trained if "batch64" in path], "2-3") == ["0.32", "0.64", "1.28", "2.56"]
    assert len(trained) == len(set(trained)) == 6 + 3 + 4 + 3
    columns = ["lr", "mean", "sd", "lr_low", "lr_high", "at_edge"]
    assert optima(study)[columns].equals(before[columns])
    assert jobs(study, "results/optimum.csv") == ({}, [])


@pytest.mark.slow
def test_lint_finds_nothing(planned):
    done = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=planned, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
