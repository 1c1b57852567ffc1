"""The functions for notebooks, and the notebook in docs/ that calls them."""

import ast
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.figure import Figure

import sgdnoise

SHIPPED = ROOT / "results/reference/cpu_mnist"


def test_the_notebook_runs(monkeypatch):
    """Every code cell in its order, from the folder docs; what a reader sees are the values of the last lines."""
    monkeypatch.chdir(ROOT / "docs")
    names, shown = {}, []
    for cell in nbformat.read("notebook.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            *before, last = ast.parse(cell.source).body
            exec(compile(ast.Module(before, []), "notebook", "exec"), names)
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
    table, optima, advice, words, regimes, sweep = shown
    assert len(table) == 5
    assert optima["batch_size"].tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert optima["at_edge"].dtype == bool
    assert repr(advice).startswith("autoencoder_mnist: test squared error after 10 epochs")
    assert {word for word, _, _ in words.values()} == {"not decided", "costs"}
    assert isinstance(regimes, Figure)
    assert [axes.get_title() for axes in sweep.axes][:2] == ["batch size 2", "batch size 64"]


def test_a_study_by_its_config_is_the_same(study, tmp_path):
    """From the files of its cells, and from the tables that were made of them."""
    import json

    from sgdnoise.cli.main import main

    (tmp_path / "study.json").write_text(json.dumps(study))
    cells = sgdnoise.read_cells(tmp_path / "study.json")
    (tmp_path / "results/grid.json").write_text(json.dumps(study))
    assert main(["collect", f"--config={tmp_path / 'study.json'}", f"--out={tmp_path / 'results/cells.csv'}"]) == 0
    again = sgdnoise.read_cells(str(tmp_path / "results"))
    assert again.attrs["study"]["benchmarks"] == cells.attrs["study"]["benchmarks"]
    assert (again["test_accuracy"] - cells["test_accuracy"]).abs().max() < 1e-12
    assert sgdnoise.optimum(again)["lr"].tolist() == sgdnoise.optimum(cells)["lr"].tolist()


def test_what_cannot_be_answered_is_said():
    runs = sgdnoise.read_cells(SHIPPED)
    with pytest.raises(ValueError, match="figure 'claims': from runs alone these can be drawn: constant_epoch"):
        sgdnoise.figure(runs, "claims")
    with pytest.raises(ValueError, match="'wrn' is not in this study; it has: autoencoder_mnist"):
        sgdnoise.figure(runs, "regimes", benchmark="wrn")
    with pytest.raises(ValueError, match="no runs of autoencoder_mnist under unlimited"):
        sgdnoise.figure(runs[runs["modes"] == "constant_epoch"], "unlimited")
    with pytest.raises(ValueError, match="read them with read_cells"):
        sgdnoise.optimum(type(runs)(runs.to_dict("list")))
    with pytest.raises(ValueError, match="cannot read the config nowhere, nor is there a results folder of that name"):
        sgdnoise.read_cells("nowhere")


@pytest.mark.parametrize("call", [sgdnoise.optimum, sgdnoise.recommend, sgdnoise.figure])
def test_runs_that_are_none_or_twice_there_are_refused(call):
    runs = sgdnoise.read_cells(SHIPPED)
    with pytest.raises(ValueError, match="there are no runs: the table has no rows"):
        call(runs[runs["lr"] > 1e9])
    with pytest.raises(ValueError, match="2 runs are there twice, with one seed at one learning rate; keep one of each"):
        call(pd.concat([runs, runs.iloc[:2]]))


@pytest.mark.parametrize("size", ["48", 48.5, -1, 0])
def test_a_batch_size_is_a_whole_number(size):
    with pytest.raises(ValueError, match=f"batch size {size!r}: give a positive whole number"):
        sgdnoise.recommend(sgdnoise.read_cells(SHIPPED), batch_size=size)


def test_importing_the_package_is_light():
    code = "import sys, sgdnoise; print([name for name in ('pandas', 'numpy', 'torch', 'matplotlib') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert set(sgdnoise.API) < set(dir(sgdnoise))
    with pytest.raises(AttributeError):
        _ = sgdnoise.nothing
