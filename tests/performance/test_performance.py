"""The benches that compare: what they run is what the workflow runs, and what they compare is guarded."""

import json
import shlex
from dataclasses import asdict

import numpy as np
import pandas as pd
import precision
import pytest
import sweep_tools
import yaml
from conftest import ROOT

from sgdnoise.results.run import read_run, write_run
from sgdnoise.study import grid
from sgdnoise.study.cell import make_cell
from sgdnoise.study.config import load_config, validate


def test_a_sample_is_spread_over_the_study_and_one_cell_is_added_to_it():
    config = validate(yaml.safe_load((ROOT / "config.yaml").read_text()))
    cells = grid.cells(config)
    cheap = [cell for cell in cells if cell.benchmark == sweep_tools.CHEAP]
    sample = sweep_tools.drawn(cells, 12)
    assert sweep_tools.drawn(cells, None) == cells
    assert len(set(sample)) == 12
    assert [sample[0], sample[-1]] == [cheap[0], cheap[-1]]
    assert sample == sorted(sample, key=cheap.index)
    with pytest.raises(SystemExit, match=f"choose from 2 to {len(cheap)}"):
        sweep_tools.drawn(cells, len(cheap) + 1)
    wider, extra = sweep_tools.widened(config)
    assert set(grid.cells(wider)) - set(cells) == {extra}
    assert grid.cells(config) == cells


def test_tools_write_the_results_of_the_workflow_and_other_curves_are_refused(sgdnoise, data_folder, tmp_path):
    cell = make_cell("autoencoder_digits", "momentum", "steps20", 32, 0.08, "0-1", "{}", 2, None)
    (tmp_path / "cells.json").write_text(json.dumps({cell.path: asdict(cell)}))
    (tmp_path / "data").symlink_to(data_folder)
    assert sweep_tools.train_one(cell.path, tmp_path) == 2
    workflow = tmp_path / "workflow"
    out = workflow / cell.path
    sgdnoise("train", *shlex.split(cell.arguments), f"--data={data_folder}", "--device=cpu", f"--out={out}")
    sweep_tools.check_same([workflow, tmp_path / "results"], [cell.path])

    result = read_run(out)
    result.curves["test_squared_error"][1, 1] = np.nextafter(result.curves["test_squared_error"][1, 1], 1)
    write_run(out, result)
    with pytest.raises(SystemExit, match=f"{cell.path} differs from .* in test_squared_error: "):
        sweep_tools.check_same([workflow, tmp_path / "results"], [cell.path])


@pytest.mark.parametrize(
    ("difference", "sd", "lr", "bar", "verdict"),
    [
        (0.0, 0.01, 1.0, (1.0, 1.0), "same"),
        (0.002, 0.01, 2.0, (1.0, 2.0), "undecided"),  # its rate is outside of the bar of float32
        (0.006, 0.01, 1.0, (1.0, 1.0), "undecided"),
        (0.05, 0.01, 1.0, (1.0, 1.0), "differs"),
        (0.0, 0.01, 2.0, (2.0, 2.0), "differs"),
        (0.0, 0.1, 1.0, (1.0, 1.0), "undecided"),  # too noisy to tell
    ],
)
def test_a_precision_is_the_same_only_within_the_noise_of_float32(difference, sd, lr, bar, verdict):
    """Twelve runs count; the interval of two means with s.d. 0.01 is 0.007, so 0.006 is neither surely within nor beyond."""
    shared = {"mode": "constant_epoch", "optimizer": "momentum", "budget": "epochs4", "batch_size": 64, "num_kept": 12}
    float32 = {"benchmark": "wrn", "metric": "test_accuracy", "mean": 0.9, "sd": 0.01, "lr": 1.0, "lr_low": 1.0, "lr_high": 1.0}
    other = {"benchmark": "wrn_tf32", "mean": 0.9 + difference, "sd": sd, "lr": lr, "lr_low": bar[0], "lr_high": bar[1]}
    train = {"metric": "train_loss", "mean": 7.0}
    table = pd.DataFrame([shared | float32 | more | extra for more in ({}, other) for extra in ({}, train)])
    (line,) = precision.lines(table)
    assert line.startswith("| wrn | tf32 | momentum | 64 | test_accuracy | 1 |")
    assert line.endswith(f" {verdict} |")
    with pytest.raises(SystemExit, match="wrn_tf32 has no float32 counterpart wrn at constant_epoch"):
        precision.lines(table[table["benchmark"] != "wrn"])


@pytest.mark.parametrize("arguments", [[], ["one.csv", "two.csv"]])
def test_without_a_table_the_comparison_of_precisions_says_how_it_is_called(arguments):
    with pytest.raises(SystemExit, match=r"^usage: python performance/precision.py results/precision/optimum.csv$"):
        precision.main(arguments)


@pytest.mark.parametrize("name", ["precision", "precision_digits"])
def test_the_precision_studies_differ_in_precision_only(name):
    cells = grid.cells(load_config(ROOT / f"workflow/config/{name}.yaml"))
    found = {}
    for cell in cells:
        settings = dict(cell.spec["settings"])
        found.setdefault(cell.benchmark, (settings.pop("precision", "float32"), []))[1].append(
            (cell.optimizer, cell.budget, cell.batch_size, cell.lr, cell.seeds, settings)
        )
    precisions, grids = zip(*found.values(), strict=True)
    assert precisions in (("float32", "tf32", "bfloat16"), ("float32", "bfloat16"))
    assert all(one == grids[0] for one in grids)
