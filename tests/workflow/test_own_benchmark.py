"""A benchmark of one's own is checked before its first cell is trained, and the check is in nobody's way."""

import pytest
import yaml
from conftest import changed, own_benchmark
from workflows import copy_workflow, jobs, snakemake

pytestmark = pytest.mark.workflow

STUDY = yaml.safe_load(
    """
evaluations: 1
device: cpu
benchmarks:
  own:
    file: own.py
    seeds: {num: 1, keep: 1}
    constant_epoch:
      epochs: 1
      sgd: {64: [0.0078125, 0.015625], 128: [0.015625, 0.015625]}
"""
)
NOISE = {"own": {"optimizer": "sgd", "budget": "epochs1", "batch_size": 64, "lr": 0.015625, "num_batches": 8}}
MEAN = ('reduction="sum"', 'reduction="mean"')


def write(folder, *changes, **config):
    own_benchmark(folder, *changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(changed(STUDY, config), sort_keys=False))


def made(folder):
    """Return when each cell was made, and the records of checks."""
    cells = {path.name: path.stat().st_mtime_ns for path in (folder / "results/cells").rglob("*.h5")}
    return cells, {path.name for path in (folder / "results/checked").glob("*")}


def test_before_the_first_cell_and_after_a_change(tmp_path):
    folder = copy_workflow(tmp_path / "study")
    for hopeless, message in (
        ("own.py/figures", "own.py is a file"),
        ("/proc/figures", "cannot write the file /proc/figures/claims"),
    ):
        write(folder, figures={"folder": hopeless})
        output = snakemake(folder, check=False)
        assert message in output
        assert "Traceback" not in output
    assert made(folder) == ({}, set())

    write(folder, MEAN)
    output = snakemake(folder, "results/cells.csv", check=False)
    assert "sum: `loss` returns a mean over the examples; return their sum (reduction='sum')" in output
    assert "nothing was trained: mend own as said above" in output
    assert "Traceback" not in output
    assert made(folder) == ({}, set())

    write(folder)
    assert "own can be trained: checked in" in snakemake(folder, "results/cells.csv")
    cells, first = made(folder)
    assert (len(cells), len(first)) == (3, 1)
    assert jobs(folder, "results/cells.csv") == ({}, [])

    write(folder, **{"benchmarks.own.constant_epoch.kfac": {64: [0.015625, 0.015625]}})
    output = snakemake(folder, "results/cells.csv", check=False)
    assert "own: kfac at batch size 64: K-FAC: this benchmark has no sampled_loss" in output
    assert "nothing was trained: mend the study as said above" in output
    assert made(folder) == (cells, first)

    # What is checked changes, and a cell is added: one call checks, trains that cell, and leaves the others.
    write(folder, **{"noise_scale": NOISE, "benchmarks.own.constant_epoch.sgd.128": [0.015625, 0.03125]})
    assert "own can be trained" in snakemake(folder, "results/cells.csv", "results/noise_scale/own.csv")
    again, second = made(folder)
    assert (len(again), len(second)) == (4, 2)
    assert cells.items() <= again.items()
    assert first < second
    (folder / "results/cells.csv").unlink()  # no cell is to be trained: nothing is checked, whatever has become of the benchmark
    (folder / "results/checked" / min(second)).unlink()
    (folder / "results/checked" / max(second)).unlink()
    assert "can be trained" not in snakemake(folder, "results/cells.csv")


@pytest.mark.slow
def test_with_a_grid_that_extends_itself(tmp_path):
    folder = copy_workflow(tmp_path / "study")
    write(folder, extend_grid=True, extend_limit=0)
    assert snakemake(folder, "results/cells.csv").count("own can be trained") == 1
    assert [len(some) for some in made(folder)] == [3, 1]
