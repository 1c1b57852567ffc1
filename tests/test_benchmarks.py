"""The benches that compare: what they run is what the workflow runs, and what they compare is guarded."""

import json
import shlex
import sys
from dataclasses import asdict
from importlib import util

import numpy as np
import pytest
import yaml
from conftest import ROOT

from sgdnoise import grid
from sgdnoise.config import validate
from sgdnoise.run import read_run, write_run


@pytest.fixture(scope="module")
def sweep_tools():
    spec = util.spec_from_file_location("sweep_tools", ROOT / "benchmarks/sweep_tools.py")
    module = sys.modules["sweep_tools"] = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_sample_is_spread_over_the_study_and_one_cell_is_added_to_it(sweep_tools):
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


def test_tools_write_the_results_of_the_workflow_and_other_curves_are_refused(sweep_tools, sgdnoise, data_folder, tmp_path):
    cell = grid.cell("autoencoder_digits", "momentum", "steps20", 32, 0.08, "0-1", "{}", 2, None)
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
