"""What a result depends on besides the config: one call of Snakemake makes again what has changed, all of it, and nothing else.

Training is replaced by made-up results; data files are really made.
"""

import re

import pytest
import yaml
from conftest import changed
from own_net import write_own
from workflows import copy_of, copy_workflow, jobs, run_stubbed, snakemake, stub_training

from sgdnoise.machine import datasets

pytestmark = pytest.mark.workflow

STUDY = yaml.safe_load(
    """
evaluations: 1
benchmarks:
  my_net:
    file: my_net.py
    seeds: {num: 2, keep: 1}
    constant_epoch:
      epochs: 1
      sgd: {64: [0.08, 0.16]}
  autoencoder_digits:
    seeds: {num: 2, keep: 1}
    constant_epoch:
      epochs: 1
      sgd: {64: [0.08, 0.08]}
figures: {formats: [png], dpi: 60}
"""
)
CELL = "results/cells/{}/sgd/epochs1/batch64_lr{}_seeds0-1.h5"
MINE, OTHER = [CELL.format("my_net", lr) for lr in ("0.08", "0.16")], CELL.format("autoencoder_digits", "0.08")
WIDER = {"benchmarks.autoencoder_digits.constant_epoch.sgd.64": [0.08, 0.16]}
NEW = CELL.format("autoencoder_digits", "0.16")
TABLE = "results/cells.csv"


def write_config(folder, name="config.yaml", study=STUDY, **changes):
    (folder / name).write_text(yaml.safe_dump(changed(study, changes), sort_keys=False))


def run_output(folder, *arguments):
    """Run the workflow, up to the table of all cells; return what it says."""
    return run_stubbed(folder, *(arguments or [TABLE]))


def outputs(said):
    """Return the data files and cells of the jobs that ran."""
    return sorted(re.findall(r"^    output: ((?:data|results/\S*cells)/\S+)", said, re.MULTILINE))


def run(folder, *arguments):
    return outputs(run_output(folder, *arguments))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = copy_workflow(tmp_path_factory.mktemp("identity") / "study")
    stub_training(folder)
    write_own(folder)
    write_config(folder)
    assert run(folder) == ["data/digits.npz", "data/table.npz", OTHER, *MINE]
    return folder


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study, with its times and Snakemake's records."""
    return copy_of(finished, tmp_path)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# A data file hides nothing of the plan.


def test_a_config_that_reads_the_data_of_another_is_trained_in_one_call(study):
    """As smoke.yaml and precision_digits.yaml: the same files, asked for by benchmarks of other names and files."""
    (study / "her_net.py").write_text((study / "my_net.py").read_text().replace("Mine", "Hers"))
    files = {"her_net": "her_net.py", "variant": "src/sgdnoise/benchmarks/autoencoder_digits.py"}
    entries = {name: STUDY["benchmarks"]["autoencoder_digits"] | {"file": file} for name, file in files.items()}
    write_config(study, "other.yaml", STUDY | {"benchmarks": entries, "results": "results/other"})
    trained = [CELL.replace("results", "results/other").format(name, "0.08") for name in files]
    made = run(study, "results/other/cells.csv", "--configfile=other.yaml")
    assert made == ["data/digits.npz", "data/table.npz", *trained]
    assert datasets.recipes(study / "data/digits.npz")[0] == "1"
    assert jobs(study, TABLE) == ({}, [])  # and from now on the files are known to be made by both


def test_an_edit_of_the_rule_hides_nothing(study):
    edit(study / "workflow/rules/data.smk", "2>&1", " 2>&1")
    write_config(study, **WIDER)
    assert jobs(study, TABLE)[1] == [NEW]
    (study / "data/digits.npz").unlink()  # nor is that a reason to train the other cells again
    assert run(study) == ["data/digits.npz", NEW]


def test_another_order_of_the_benchmarks_and_a_deleted_cell(study):
    entries = dict(reversed(STUDY["benchmarks"].items()))
    write_config(study, study=STUDY | {"benchmarks": entries})
    (study / OTHER).unlink()
    assert jobs(study)[1] == [OTHER]
    assert run(study, OTHER, TABLE) == [OTHER]


def test_a_study_that_begins_to_extend_its_grid_and_ends_it(study):
    """The optimum of the made-up results is at 1.28; also where the data has to be made again meanwhile."""
    write_config(study, extend_grid=True, extend_limit=1)
    edit(study / "scale.csv", "3", "4")
    wider = [CELL.format("autoencoder_digits", "0.04"), NEW, CELL.format("my_net", "0.32")]
    assert run(study) == sorted(["data/table.npz", *MINE, *wider])
    assert jobs(study, TABLE) == ({}, [])
    write_config(study)
    assert run(study) == []
    assert "extend_grid" not in (study / "results/grid.json").read_text()


# What a user's own benchmark depends on.


@pytest.mark.parametrize(
    ("name", "old", "new"), [("shape.py", "20", "30"), pytest.param("scale.csv", "3", "4", marks=pytest.mark.slow)]
)
def test_a_change_of_an_own_file_trains_its_cells_again(study, name, old, new):
    edit(study / name, old, new)
    said = run_output(study)
    assert outputs(said) == ["data/table.npz", *MINE]
    reasons = re.findall(r"^    reason: Params have changed .*before: (.*) now: (.*)", said, re.MULTILINE)
    assert len(reasons) == 3
    for reason in reasons:
        before, now = (dict(pair.split(":") for pair in text.strip(" []'").split()) for text in reason)
        assert {one for one in now if now[one] != before[one]} == {name}
    assert jobs(study, TABLE) == ({}, [])


@pytest.mark.slow
def test_comments_docstrings_and_layout_train_nothing(study):
    edit(study / "my_net.py", '"""My network."""', "# Mine")
    edit(study / "shape.py", "[64, 20, 8]", "[\n    64,  # pixels\n    20,\n    8,\n]")
    assert jobs(study, TABLE) == ({}, [])


@pytest.mark.slow
def test_results_of_an_older_file_are_refused_even_without_snakemakes_records(study):
    edit(study / "shape.py", "20", "30")
    (study / "results/cells.csv").unlink()
    output = snakemake(study, "--rerun-triggers=mtime", TABLE, check=False)
    assert re.search(
        r"my_net\S+_lr0.08_seeds0-1.h5 was trained with another version of shape.py than there is now \(shape.py: ", output
    )
    assert "to rebuild this cell: snakemake --cores 1 --force " in output


def test_an_own_file_that_cannot_be_parsed_is_named(study):
    (study / "shape.py").write_text("WIDTHS = [64\n")
    output = snakemake(study, check=False)
    assert re.search(r"config: benchmarks.my_net: \S+shape.py, line 1: '\[' was never closed", output)
    assert "Traceback" not in output


# The package's own benchmarks after an upgrade.


@pytest.mark.slow
def test_another_version_of_a_benchmark_trains_its_cells_again(study):
    """Here the benchmark that the user's file builds on, too."""
    name = study / "src/sgdnoise/benchmarks/autoencoder_digits.py"
    edit(name, '"version": 1', '"version": 2')
    output = snakemake(study, "-n", TABLE, PYTHONPATH=str(study / "src"))
    assert "now: ['autoencoder_digits:2']" in output
    assert re.search(r"now: \['autoencoder_digits:2 my_net.py:\w+ scale.csv:\w+ shape.py:\w+'\]", output)
    assert len(re.findall("^rule train", output, re.MULTILINE)) == 3
