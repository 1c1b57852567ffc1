"""HDF5 files and the table of all runs, on made-up results."""

import errno
import fcntl
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import curves, without_seal
from made_up import made_up_wrn

from sgdnoise.cli.main import main
from sgdnoise.results.collect import cell_rows, collect_cells
from sgdnoise.results.run import read_run, write_run
from sgdnoise.results.tables import COLUMNS, MAY_BE_EMPTY, POINT, VERBS, read_study, read_table
from sgdnoise.study import grid, looks, windows
from sgdnoise.study.config import load_config
from sgdnoise.training import checkpoint


def one_cell(config, index=0):
    cell = grid.cells(config)[index]
    return cell, Path(config["results"]) / cell.path


# HDF5


def test_a_run_is_read_as_it_was_written(study):
    cell, path = one_cell(study)
    wanted, found = made_up_wrn(cell), read_run(path)
    assert (found.spec, found.status, found.provenance) == (wanted.spec, wanted.status, wanted.provenance)
    for metric, curve in wanted.curves.items():
        np.testing.assert_array_equal(found.curves[metric], curve)
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_a_failed_write_leaves_the_old_result_and_no_rest(study, monkeypatch):
    cell, path = one_cell(study)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ValueError, match="No space left on device; free the space"):
        write_run(path, made_up_wrn(cell))
    assert path.read_bytes() == before
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def replace_by_text(path):
    path.write_text("no HDF5")


def replace_by_foreign_hdf5(path):
    with h5py.File(path, "w") as file:
        file["weights"] = [1, 2]


def another_layout(path):
    without_seal(path)
    with h5py.File(path, "a") as file:
        file.attrs["layout"] = 2


def remove_curves(path):
    with h5py.File(path, "a") as file:
        del file["curves"]


def change_a_digit(path):
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


def other_settings(path):
    run = read_run(path)
    write_run(path, replace(run, spec=run.spec | {"settings": {"l2_scope": "weights"}}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated, corrupt or not a result"),
        (replace_by_text, "truncated, corrupt or not a result"),
        (replace_by_foreign_hdf5, "has layout None, not 1"),
        (another_layout, "has layout 2, not 1"),
        (remove_curves, "truncated, corrupt or not a result"),
        (change_a_digit, "its bytes are not those that were written"),
        (other_settings, "was trained with settings"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_damaged_result_is_named_with_the_command_that_rebuilds_it(study, damage, message):
    _, path = one_cell(study, 3)
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        collect_cells(study)
    assert str(path) in str(caught.value)
    assert f"snakemake --cores 1 --force {path}" in str(caught.value)


def test_an_accuracy_in_percent_is_refused(study):
    """Before training it may have been below 1 %, so that `check` let it pass."""
    cell, path = one_cell(study, 3)
    run = read_run(path)
    for accuracy, refused in ((1.0, False), (0.0, False), (np.nan, False), (96.5, True), (-1.0, True)):
        curve = np.full_like(next(iter(run.curves.values())), accuracy)
        rows = partial(cell_rows, cell, replace(run, curves=run.curves | {"test_accuracy": curve}))
        if refused:
            with pytest.raises(ValueError, match=rf"{cell.path}: test_accuracy is {accuracy:g}, but accuracies are fractions"):
                rows()
        else:
            assert len(rows()) == len(run.seed)


def test_without_a_workflow_in_the_folder_remedies_name_the_command_that_works_there(study, tmp_path, monkeypatch):
    _, path = one_cell(study, 3)
    truncate(path)
    monkeypatch.chdir(tmp_path)
    for call, remedy in (
        (lambda: collect_cells(study), f"to rebuild this cell: sgdnoise run CONFIG -- {path} --force"),
        (lambda: collect_cells(study | {"allow_missing": True}, ["none"]), "make them with: sgdnoise run CONFIG"),
        (lambda: read_table(Path("a b.csv")), "make it with: sgdnoise run CONFIG -- 'a b.csv'"),
        (lambda: windows.read("w.json"), "make it with: sgdnoise run CONFIG -- w.json --force"),
        (lambda: looks.read("l.json"), "make it with: sgdnoise run CONFIG -- l.json --force"),
    ):
        with pytest.raises(ValueError, match=f"{re.escape(remedy)}$"):
            call()
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").touch()
    with pytest.raises(ValueError, match=f"to rebuild this cell: snakemake --cores 1 --force {path}$"):
        collect_cells(study)


def test_a_cell_that_none_of_several_folders_has_is_named_with_all_of_them(study):
    cell, path = one_cell(study, 3)
    path.unlink()
    with pytest.raises(ValueError, match=f"{cell.path} is missing in each of {study['results']}, other; train it, or add"):
        collect_cells(study, [study["results"], "other"])


def test_where_a_study_trains_no_cells_the_workflow_is_no_remedy(study):
    _, path = one_cell(study, 3)
    for root in ("other", path):
        with pytest.raises(ValueError, match=f"{grid.cells(study)[0].path} is missing in {root}; train it, or add"):
            collect_cells(study, [str(root)])
    truncate(path)
    with pytest.raises(ValueError, match="to rebuild this cell: snakemake"):
        collect_cells(study, [study["results"]])


def test_show_says_what_it_reads(study, capsys):
    _, path = one_cell(study)
    replace_by_text(path)
    for one, message in (
        (path.parent, "is a folder; name the HDF5 file"),
        (path, "name the file of a cell, or train its cell again"),
    ):
        assert main(["show", str(one)]) == 1
        assert message in capsys.readouterr().err


def test_a_merged_study_is_one_that_the_other_commands_find(study, tmp_path, monkeypatch, capsys):
    """By the commands of docs/scaling.md."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(json.dumps(study | {"results": "results"}))
    for number, cell in enumerate(grid.cells(study)):
        place = Path(f"machine{number % 2 + 1}/results", cell.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        (Path(study["results"]) / cell.path).rename(place)
    text = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    commands = text.split("merge them:")[1].split("```")[1].splitlines()[1:]
    assert len(commands) == 4
    for line in commands:
        assert main(line.split()[1:]) == 0, capsys.readouterr().err
    assert "SGD" in capsys.readouterr().out


# Locks, and what else keeps a good file from being read


@pytest.fixture
def locked(tmp_path, study):
    """A result on which another process holds both kinds of lock."""
    _, path = one_cell(study)
    code = f"import fcntl; file = open({str(path)!r}, 'r+'); fcntl.flock(file, 2); fcntl.lockf(file, 2); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(BlockingIOError), open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield path
        process.communicate(b"\n")


@pytest.mark.parametrize("variable", [None, "TRUE", "BEST_EFFORT"])
def test_a_lock_keeps_no_result_from_being_read_or_written(study, locked, sgdnoise, monkeypatch, variable):
    """Whatever HDF5_USE_FILE_LOCKING says, in a process of its own: HDF5 reads it only once."""
    if variable:
        monkeypatch.setenv("HDF5_USE_FILE_LOCKING", variable)
    assert "seed 0: completed" in sgdnoise("show", locked).stdout
    write_run(locked, read_run(locked))
    assert len(collect_cells(study)) == 3 * len(grid.cells(study))


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOLCK, "No locks available, a lock"),
        (errno.EAGAIN, "Resource temporarily unavailable, a lock"),
        (errno.EACCES, "Permission denied"),
        (errno.EIO, "Input/output error"),
        (errno.ESTALE, "Stale file handle"),
        (errno.EISDIR, "Is a directory"),
    ],
)
@pytest.mark.parametrize("read", [read_run, lambda path: checkpoint.load(path, {}, "cpu")])
def test_what_cannot_be_read_is_not_called_corrupt(study, monkeypatch, number, word, read):
    """Nor is there the advice to train it again, from `collect`, or a new start over a checkpoint."""
    _, path = one_cell(study)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for attempt in (lambda: read(path), lambda: collect_cells(study)):
        with pytest.raises(OSError, match=re.escape(f"cannot read {path} ({word}): mend its folder or file system")) as caught:
            attempt()
        assert "corrupt" not in str(caught.value)
        assert "--force" not in str(caught.value)


def test_results_written_before_there_were_digests_are_read(study):
    cell, path = one_cell(study)
    new = curves(path)
    without_seal(path)
    assert path.read_bytes().startswith(b"\x89HDF")
    assert curves(path) == new
    assert read_run(path).spec == cell.spec


def test_other_programs_read_a_result_as_before(study):
    cell, path = one_cell(study)
    with h5py.File(path, "r", locking=False) as file:
        assert (file.attrs["layout"], json.loads(file.attrs["spec"])) == (1, cell.spec)
    assert path.read_bytes().startswith(b"sgdnoise: sha256 of all that follows these 512 bytes: ")


# Tables


def test_cells_table_has_a_row_per_seed(study):
    table = collect_cells(study)
    cells = grid.cells(study)
    assert len(table) == 3 * len(cells)
    row = table.query("optimizer == 'sgd' and batch_size == 64 and lr == 0.5 and seed == 2").iloc[0]
    assert row["test_accuracy"] == pytest.approx(0.802)
    assert (row["num_steps"], row["num_epochs"], row["modes"], row["status"]) == (64, 4, "constant_epoch", "completed")
    assert table.query("lr == 4 and seed > 0")["test_accuracy"].isna().all()
    assert (row["device"], row["started"]) == ("unknown", "")  # of a result that does not say who made it


def test_stale_files_do_not_join_in(study):
    _, path = one_cell(study)
    path.with_name("batch9_lr9_seeds0-2.h5").write_text("stale")
    assert len(collect_cells(study)) == 3 * len(grid.cells(study))


@pytest.mark.parametrize("name", ["nan", "null", "none", "na", "inf", "infinity", "true", "e1"])
def test_no_name_is_a_missing_value_or_a_number(tmp_path, name):
    path = tmp_path / "a.csv"
    pd.DataFrame({"benchmark": [name, name], "metric": ["nan", "NA"], "lr": [1.0, np.nan], "decide": ["", "more"]}).to_csv(path)
    table = read_table(path)
    assert table["benchmark"].tolist() == [name, name]
    assert table["metric"].tolist() == ["nan", "NA"]
    assert table["lr"].isna().tolist() == table["decide"].isna()[::-1].tolist() == [False, True]


@pytest.mark.parametrize("kind", COLUMNS)
def test_another_table_is_refused_and_it_is_said_what_makes_one(tmp_path, monkeypatch, kind):
    """One of each other kind, one with `;` between its fields, a foreign one, and one without rows; by its usual name, how to mend it."""
    monkeypatch.chdir(tmp_path)
    verb = VERBS.get(kind, kind)
    tables = {name: pd.DataFrame({column: [1] for column in columns}) for name, columns in COLUMNS.items() if name != kind}
    tables["rows"] = pd.DataFrame(columns=COLUMNS[kind])
    lines = {name: table.to_csv(index=False) for name, table in tables.items()} | {"a": "a,b\n1,2\n", "text": ""}
    lines["semicolons"] = pd.DataFrame({column: [1] for column in COLUMNS[kind]}).to_csv(index=False, sep=";")
    for name, text in lines.items():
        Path(f"{name}.csv").write_text(text)
        if name == "rows" and kind in MAY_BE_EMPTY:
            assert read_table(Path("rows.csv"), kind).empty
            continue
        with pytest.raises(ValueError, match=rf"{name}.csv is not the table of `{verb}` .*; make one with: sgdnoise {verb}$"):
            read_table(Path(f"{name}.csv"), kind)
    Path(kind).mkdir()
    for path in (Path(f"{kind}.csv"), Path(f"{kind}/wrn_digits.csv")):
        path.write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match=f"; make it with: sgdnoise run CONFIG -- {path} --force$"):
            read_table(path, kind)


def test_a_row_with_more_fields_than_the_header_shifts_no_column(tmp_path):
    (tmp_path / "a.csv").write_text("lr,seed\n1,2,\n3,4,\n")
    with pytest.raises(ValueError, match="a.csv is not a table of results .* Expected 2 fields in line 2, saw 3"):
        read_table(tmp_path / "a.csv")


@pytest.fixture
def two_studies(tmp_path, monkeypatch):
    """Tables of a study, and in another folder those of the same without a batch size."""
    monkeypatch.chdir(tmp_path)
    for folder, sizes in (("whole", {64: [0.5, 1], 128: [0.5, 1]}), ("less", {64: [0.5, 1]})):
        Path(folder).mkdir()
        entry = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 4, "sgd": sizes}}
        Path(f"{folder}/study.json").write_text(json.dumps({"benchmarks": {"wrn_digits": entry}}))
        for kind in ("cells", "optimum"):
            points = [("wrn_digits", "sgd", size, 4096 // size) for size in sizes]
            table = pd.DataFrame(points, columns=POINT).assign(**{name: 1 for name in COLUMNS[kind] if name not in POINT})
            table.to_csv(f"{folder}/{kind}.csv", index=False)


@pytest.mark.parametrize("config", ["whole", "less"])
@pytest.mark.parametrize(
    "words",
    [
        ["optimum", "--cells", "--out=x.csv"],
        ["recommend", "--cells"],
        ["gap", "--benchmark=wrn_digits", "--cells", "--out=x.csv"],
        ["time-to-target", "--benchmark=wrn_digits", "--target=0.5", "--cells", "--out=x.csv"],
        ["claims", "--cells", "--optimum", "--out=x.csv"],
        ["claims", "--cells=own", "--optimum", "--out=x.csv"],
        ["report", "--cells", "--optimum", "--claims=none.csv", "--out=x.html"],
        ["report", "--cells=own", "--optimum", "--claims=none.csv", "--out=x.html"],
    ],
)
def test_tables_of_another_study_are_refused(two_studies, capsys, monkeypatch, words, config):
    """Whether they have more points or fewer."""
    monkeypatch.setattr("sgdnoise.study.arms.lacking", lambda *_: [])
    monkeypatch.setattr("sgdnoise.cli.decide.figure_names", lambda *_: ["gap"])
    other = {"whole": "less", "less": "whole"}[config]
    tables = {"--cells": f"{other}/cells.csv", "--optimum": f"{other}/optimum.csv", "--cells=own": f"{config}/cells.csv"}
    words = [f"{word.removesuffix('=own')}={tables[word]}" if word in tables else word for word in words]
    assert main([*words, f"--config={config}/study.json"]) == 1
    said = capsys.readouterr().err
    assert re.search(
        rf"{other}/\w+.csv and {config}/study.json are of two studies, or one is older: wrn_digits, sgd, batch size 128, 32", said
    )
    assert re.search(r"32 updates is in whole/\w+.(csv|json) alone; give tables and config of one study$", said.strip())


def test_a_figure_draws_tables_of_one_study(two_studies, capsys):
    words = ["figure", "constant_epoch", "--benchmark=wrn_digits", "--out=x.png", "--cells=whole/cells.csv"]
    assert main([*words, "--optimum=less/optimum.csv"]) == 1
    assert "whole/cells.csv and less/optimum.csv are of two studies" in capsys.readouterr().err


@pytest.mark.parametrize("folder", sorted(Path(__file__).parents[2].glob("results/reference/*")), ids=lambda folder: folder.name)
def test_the_points_of_a_shipped_study_are_those_of_its_tables(folder):
    config = load_config(folder / "grid.json")
    cells = grid.whole_cells(config)
    assert grid.points(config) == {(cell.benchmark, cell.optimizer, cell.batch_size, cell.num_steps) for cell in cells}
    cells, optimum = read_study(config, folder / "grid.json", cells=folder / "cells.csv", optimum=folder / "optimum.csv")
    assert len(cells) > len(optimum) > 0


# Data files
