"""A study that is given seeds until they decide: the workflow, with training replaced by made-up results."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import changed
from made_up import made_up_run
from workflows import copy_of, copy_workflow, jobs, made_cells, run_stubbed, snakemake, stub_training

pytestmark = pytest.mark.workflow

STUDY = yaml.safe_load(
    """
evaluations: 1
decide: {claims: [16], max_seeds: 15}
benchmarks:
  autoencoder_digits:
    seeds: {num: 3, keep: 2}
    constant_epoch:
      epochs: 1
      sgd: {32: [0.64, 2.56], 64: [0.32, 5.12]}
      momentum: {32: [0.64, 2.56], 64: [0.32, 5.12]}
figures: {formats: [png], dpi: 60}
"""
)
CELL = "results/cells/autoencoder_digits/{}/epochs1/batch{}_lr{}_seeds{}.h5"
FIRST = sorted(
    CELL.format(optimizer, size, lr, "0-2")
    for optimizer in ("sgd", "momentum")
    for size in (32, 64)
    for lr in ("0.32", "0.64", "1.28", "2.56", "5.12")
    if size == 64 or lr not in ("0.32", "5.12")
)


def noisy_run(cell):
    """SGD is worse at batch size 64, by a run's noise, half the rise of the error an octave from the optimum; each seed has a noise of its own, whatever the cell it is in."""
    run = made_up_run(cell, noise=0)
    name = [ord(letter) for letter in f"{cell.optimizer}{cell.batch_size} {cell.lr}"]
    noise = np.array([np.random.default_rng([*name, int(seed)]).standard_normal() for seed in run.seed])
    for curve in run.curves.values():
        curve[:, -1] += 0.5 * noise + 0.5 * (cell.optimizer == "sgd") * (cell.batch_size == 64)
    return run


def write_config(folder, **changes):
    (folder / "config.yaml").write_text(yaml.safe_dump(changed(STUDY, changes), sort_keys=False))


def run(folder, *arguments):
    """Run the workflow; return the paths of the cells that were trained."""
    return made_cells(run_stubbed(folder, *arguments))


def looks_of(folder):
    return json.loads((folder / "results/grid.json").read_text())["looks"]


def verdict(folder):
    claims = pd.read_csv(folder / "results/claims.csv").query("role == 'sibling'").set_index("claim")
    return claims.loc["16", ["verdict", "look"]].tolist()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = copy_workflow(tmp_path_factory.mktemp("decided") / "study")
    stub_training(folder, "test_more_seeds.noisy_run")
    write_config(folder)
    assert jobs(folder)[1] == FIRST
    run(folder, "results/claims.csv")
    return folder


@pytest.fixture
def study(finished, tmp_path):
    return copy_of(finished, tmp_path)


def test_one_call_adds_seeds_where_they_decide_until_they_do(finished):
    looks = looks_of(finished)
    word, look = verdict(finished)
    assert (word, look) == ("agrees", len(looks) + 1)
    assert len(looks) >= 1
    assert {(line["optimizer"], line["batch_size"]) for added in looks for line in added} == {("sgd", 64), ("momentum", 64)}
    cells = pd.read_csv(finished / "results/cells.csv")
    counts = cells.groupby(["batch_size", "lr"]).size()
    assert counts[32].eq(2 * 3).all()
    assert counts[64].max() == 2 * (3, 7, 15)[len(looks)]
    assert jobs(finished, "results/claims.csv") == ({}, [])


def test_a_deleted_cell_that_a_look_added_is_made_again_alone(study):
    added = sorted(str(path.relative_to(study)) for path in study.glob("results/cells/**/*_seeds3-6.h5"))
    (study / added[0]).unlink()
    assert jobs(study)[1] == [added[0]]
    assert run(study, added[0]) == [added[0]]
    assert jobs(study)[1] == []


@pytest.mark.slow
def test_fewer_seeds_train_nothing_again_and_more_go_on(study):
    write_config(study, **{"decide.max_seeds": 4})
    trained = run(study, "results/claims.csv")
    assert {path.rpartition("_")[2] for path in trained} <= {"seeds3-3.h5"}
    write_config(study)
    assert run(study, "results/claims.csv") == []
    assert verdict(study)[0] == "agrees"


@pytest.mark.slow
def test_windows_are_extended_before_the_first_look(study):
    shutil.rmtree(study / "results")
    key = "benchmarks.autoencoder_digits.constant_epoch"
    narrow = {f"{key}.{optimizer}.{size}": [0.64, 1.28] for optimizer in ("sgd", "momentum") for size in (32, 64)}
    write_config(study, extend_grid=True, **narrow)
    run(study, "results/claims.csv")
    optima = pd.read_csv(study / "results/optimum.csv", keep_default_na=False)
    assert not optima["fit_edge"].any()
    assert verdict(study)[0] == "agrees"
    assert jobs(study, "results/claims.csv") == ({}, [])


def test_a_claim_that_there_is_not_is_named_before_anything_is_made(study):
    shutil.rmtree(study / "results")
    write_config(study, **{"decide.claims": ["16", "99"]})
    assert "decide.claims: there is no claim '99'; there are: 1, 2" in snakemake(study, check=False)
    assert not (study / "results").exists()
