"""Snakemake's own job list: what a change of the config re-runs, and what bad input does."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT, changed
from workflows import copy_workflow, jobs, snakemake

pytestmark = pytest.mark.workflow

STUDY = yaml.safe_load(
    """
evaluations: 1
benchmarks:
  autoencoder_digits:
    seeds: {num: 2, keep: 1}
    constant_epoch:
      epochs: 1
      sgd: {128: [0.04, 0.08], 256: [0.08, 0.08]}
      momentum: {128: [0.08, 0.16]}
    unlimited:
      batch_size: 128
      momentum: {1: [0.08, 0.08], 2: [0.08, 0.08]}
  lstm_synthetic:
    seeds: {num: 2, keep: 1}
    constant_epoch:
      epochs: 1
      sgd: {64: [1, 1]}
figures:
  formats: [png]
  dpi: 60
"""
)
CELL = "results/cells/autoencoder_digits/{}/epochs1/batch{}_lr{}_seeds0-1.h5"
AFTER_CELLS = {"collect": 1, "optimum": 1, "regimes": 1, "claims": 1, "draw_claims": 1, "figure": 5, "figures/all": 1}


def write_config(folder, **changes):
    (folder / "config.yaml").write_text(yaml.safe_dump(changed(STUDY, changes), sort_keys=False))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that Snakemake has run to figures/all."""
    folder = copy_workflow(tmp_path_factory.mktemp("finished") / "study")
    write_config(folder)
    first, _ = jobs(folder)
    assert first == {"prepare": 2, "train": 7, "freeze": 1, "schedule": 1, **AFTER_CELLS}
    snakemake(folder)
    return folder


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study, with its times and Snakemake's records."""
    folder = tmp_path / "study"
    subprocess.run(["cp", "-a", finished, folder], check=True)
    return folder


def test_everything_is_there_and_nothing_to_do(finished):
    assert jobs(finished) == ({}, [])
    assert jobs(finished, "figures/all") == ({}, [])
    for path in (
        "results/cells.csv",
        "results/optimum.csv",
        "results/claims.csv",
        "figures/claims.png",
        "figures/schedule.png",
        "figures/autoencoder_digits/unlimited.png",
    ):
        assert (finished / path).stat().st_size > 100


def test_adding_a_learning_rate_runs_the_new_cell_and_what_depends_on_it(study):
    write_config(study, **{"benchmarks.autoencoder_digits.constant_epoch.sgd.256": [0.08, 0.16]})
    counts, trained = jobs(study)
    assert trained == [CELL.format("sgd", 256, "0.16")]
    assert counts == {"train": 1, "freeze": 1, **AFTER_CELLS}


def test_changing_the_seeds_of_one_cell_runs_that_cell(study):
    override = {"benchmark": "autoencoder_digits", "optimizer": "sgd", "batch_size": 256, "seeds": {"num": 3, "keep": 2}}
    write_config(study, overrides=[override])
    counts, trained = jobs(study)
    assert trained == [CELL.format("sgd", 256, "0.08").replace("0-1", "0-2")]
    assert counts == {"train": 1, "freeze": 1, **AFTER_CELLS}


def test_adding_seeds_runs_these_alone(study):
    override = {"benchmark": "autoencoder_digits", "optimizer": "sgd", "batch_size": 256, "add_seeds": 2}
    write_config(study, overrides=[override])
    added = CELL.format("sgd", 256, "0.08").replace("0-1", "2-3")
    counts, trained = jobs(study)
    assert trained == [added]
    assert counts == {"train": 1, "freeze": 1, **AFTER_CELLS}
    snakemake(study, "results/cells.csv")
    cells = pd.read_csv(study / "results/cells.csv").query("optimizer == 'sgd' and batch_size == 256")
    assert cells["seed"].tolist() == [0, 1, 2, 3]


def test_changing_the_style_draws_and_does_not_train(study):
    write_config(study, **{"figures.dpi": 90})
    assert jobs(study) == ({"figure": 5, "schedule": 1, "draw_claims": 1, "figures/all": 1}, [])


def test_changing_the_code_of_a_figure_draws_that_figure(study):
    with open(study / "src/sgdnoise/figures/unlimited.py", "a") as file:
        file.write("# changed\n")
    assert jobs(study) == ({"figure": 1, "figures/all": 1}, [])


@pytest.mark.parametrize("file", ["__init__.py", "_axes.py", "_sweeps.py"])
def test_changing_what_figures_share_draws_them_and_derives_no_table_again(study, file):
    with open(study / "src/sgdnoise/figures" / file, "a") as code:
        code.write("# changed\n")
    assert jobs(study) == ({"figure": 5, "schedule": 1, "draw_claims": 1, "figures/all": 1}, [])


@pytest.mark.parametrize(
    "file", ["analysis/estimate.py", "benchmarks/__init__.py", "claims/arms.py", "results/collect.py", "study/grid.py"]
)
def test_changing_the_code_of_the_analysis_derives_the_tables_again_and_does_not_train(study, file):
    with open(study / "src/sgdnoise" / file, "a") as code:
        code.write("# changed\n")
    assert jobs(study) == (AFTER_CELLS | {"schedule": 1}, [])


def test_changing_settings_runs_that_benchmarks_cells(study):
    write_config(study, **{"benchmarks.autoencoder_digits.settings": {"l2_scope": "weights"}})
    counts, trained = jobs(study)
    assert counts == {"train": 6, "freeze": 1, **AFTER_CELLS}
    assert all("autoencoder_digits" in path for path in trained)


def test_a_deleted_cell_is_rebuilt_alone(study):
    deleted = CELL.format("sgd", 128, "0.04")
    before = {path: path.stat().st_mtime_ns for path in (study / "results/cells").rglob("*.h5")}
    (study / deleted).unlink()
    assert jobs(study)[1] == [deleted]
    snakemake(study)
    after = {path: path.stat().st_mtime_ns for path in (study / "results/cells").rglob("*.h5")}
    assert {str(path.relative_to(study)) for path in after if after[path] != before[path]} == {deleted}
    assert jobs(study) == ({}, [])


def test_reordered_and_touched_configs_change_nothing(study):
    config = yaml.safe_load((study / "config.yaml").read_text())
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=True))
    (study / "Snakefile").touch()
    assert jobs(study) == ({}, [])


def test_removed_data_does_not_retrain(study):
    shutil.rmtree(study / "data")
    assert jobs(study)[1] == []


def test_another_config_replaces_the_default_grid(study):
    other = yaml.safe_dump({"results": "results/other", "benchmarks": {"lstm_synthetic": STUDY["benchmarks"]["lstm_synthetic"]}})
    (study / "other.yaml").write_text(other)
    counts, trained = jobs(study, "--configfile", "other.yaml")
    assert trained == ["results/other/cells/lstm_synthetic/sgd/epochs1/batch64_lr1_seeds0-1.h5"]
    assert counts["train"] == 1


def test_a_damaged_cell_is_named_and_its_command_rebuilds_it(study):
    damaged, other = CELL.format("sgd", 128, "0.04"), study / CELL.format("sgd", 128, "0.08")
    kept = other.read_bytes()
    (study / damaged).write_bytes((study / damaged).read_bytes()[:3000])
    (study / "results/cells.csv").unlink()
    output = snakemake(study, check=False)
    assert f"{damaged} is truncated, corrupt or not a result of sgdnoise" in output
    command = re.search(r"to rebuild this cell: snakemake --cores 1 (--force \S+)", output)[1]
    assert command == f"--force {damaged}"
    snakemake(study, *command.split())
    snakemake(study)
    assert jobs(study) == ({}, [])
    assert other.read_bytes() == kept


def test_results_of_other_settings_are_refused_even_without_snakemakes_records(study):
    write_config(study, **{"benchmarks.lstm_synthetic.settings": {"micro_batch": 32}})
    shutil.rmtree(study / ".snakemake")  # as when only the cells were copied from elsewhere
    for table in ("grid.json", "cells.csv"):
        (study / "results" / table).unlink()
    output = snakemake(study, "results/cells.csv", check=False)
    assert "lstm_synthetic/sgd/epochs1/batch64_lr1_seeds0-1.h5 was trained with settings" in output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": {}}, "unknown key 'benchmark'; did you mean 'benchmarks'?"),
        ({"benchmarks.lstm_synthetic.constant_epoch.sgd.64": ["1e-1", 1]}, "the versions of YAML read 1e-1 differently"),
        ({"benchmarks.lstm_synthetic.seeds.keep": 5}, "keep 5 is more than num 2"),
        ({"benchmarks.mlp": STUDY["benchmarks"]["lstm_synthetic"]}, "unknown benchmark 'mlp'"),
    ],
)
def test_a_bad_config_stops_before_anything_runs(study, changes, message):
    write_config(study, **changes)
    output = snakemake(study, check=False)
    assert message in output
    assert "Traceback" not in output
    assert "rule train" not in output


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("device", "data").encode(), "data is there twice, in lines 1 and 2; keep one of them"),
        (lambda text: text.replace("128:", "0200:").encode(), "the versions of YAML read 0200 differently"),
        (lambda text: f"# größer\n{text}".encode("latin-1"), "cannot read the config config.yaml: it is not text in UTF-8"),
    ],
)
def test_a_config_that_is_misread_elsewhere_stops_before_anything_runs(workflow_folder, damage, message):
    """Snakemake's own reader would take the last of two keys, and 0200 for 128."""
    text = f"data: data\ndevice: cpu\n{yaml.safe_dump(STUDY)}"
    (workflow_folder / "config.yaml").write_bytes(damage(text))
    output = snakemake(workflow_folder, "-n", check=False)
    assert message in output
    assert "Traceback" not in output


def test_paths_and_numbers_mean_the_same_to_snakemake_and_the_cells(workflow_folder):
    """A file beside the config that names it, ~, a nested number of --config, names that look like missing values."""
    studies = workflow_folder / "größer"
    studies.mkdir()
    (studies / "net.py").write_bytes((ROOT / "src/sgdnoise/benchmarks/autoencoder_digits.py").read_bytes())
    entry = {"file": "net.py", "seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {512: [0.08, 0.08]}}}
    study = {"results": "~/out", "evaluations": 1, "benchmarks": {"nan": entry, "null": entry}, "figures": {"formats": ["png"]}}
    (studies / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    words = ("--configfile=größer/study.yaml", "--config", "figures={dpi: 60}")
    snakemake(workflow_folder, "figures/nan/constant_epoch.png", *words, HOME=str(workflow_folder))
    table = (workflow_folder / "out/optimum.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in table} == {"benchmark", "nan", "null"}
    assert not (workflow_folder / "~").exists()
    again = snakemake(workflow_folder, "-n", "figures/nan/constant_epoch.png", *words, HOME=str(workflow_folder))
    assert "Nothing to be done" in again


def test_a_killed_run_continues(study):
    """kill -9 of a cell while it publishes its result: no half-written file; the next run trains it and finishes."""
    write_config(study, **{"benchmarks.autoencoder_digits.constant_epoch.momentum.256": [0.08, 0.08]})
    wanted = CELL.format("momentum", 256, "0.08")
    (study / "dies").mkdir()
    (study / "dies/sitecustomize.py").write_text(
        "import os, sys\nif 'train' in sys.orig_argv: os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"
    )
    output = snakemake(study, check=False, PYTHONPATH=f"{study / 'dies'}:{study / 'src'}")
    assert "Killed" in output
    assert not (study / wanted).exists()
    assert jobs(study)[1] == [wanted]
    snakemake(study)
    assert (study / wanted).exists()
    assert jobs(study) == ({}, [])


def test_both_reports(study):
    assert jobs(study, "report") == ({"report": 1}, [])
    snakemake(study, "report")
    assert (study / "results/report.html").read_text().count("data:image/png") == 7
    assert jobs(study, "figures/all", "report") == ({}, [])
    snakemake(study, "figures/all", "--report", "report.html")
    page = (study / "report.html").read_text()
    for text in (
        "autoencoder_digits",
        "which generalises best, the longer one trains",
        "claims.csv",
        "after Smith, Elsen and De",
    ):
        assert text in page


def test_lint_finds_nothing():
    done = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
