"""What is measured on a GPU in one go: the order, the time limits, going on; as far as that can be seen without one."""

import json
import subprocess
import sys
from argparse import Namespace

import measure_gpu
import pytest
import torch
from conftest import ROOT
from measure_gpu import DONE, FAILED, LIMIT, STOPPED, Step

from sgdnoise.cli.main import main
from sgdnoise.results.run import read_run
from sgdnoise.study import grid
from sgdnoise.study.config import load_config

SCRIPT = ROOT / "performance/measure_gpu.py"


def options(out, **more):
    chosen = {"out": out, "data": out / "data", "minutes": 10, "dry_run": True, "list": False, "again": False, "only": ""}
    return Namespace(**chosen | more)


def test_the_table_has_the_most_valuable_first_and_says_what_to_carry(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--list", f"--out={tmp_path}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = [line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    kinds = [name.split("/")[0] for name in names]
    assert kinds[:2] == ["engine", "rates"]
    assert kinds.index("anchors") < kinds.index("cells")
    assert sum(kind == "rates" for kind in kinds) == measure_gpu.NUM_ROWS == len({name for name in names if "rates" in name})
    cells = [name for name in names if name.startswith("cells/")]
    study = grid.cells(load_config(ROOT / "workflow/config/one_gpu.yaml"))
    decisive = {cell.path for cell in study if "constant_step" in cell.modes}
    assert set(cells[: len(decisive)]) == decisive
    assert len(cells) == len(study)
    for name in ("cifar10", "mnist", "ptb"):
        assert f"data/{name}.npz (MISSING" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_clear_error(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, f"--out={tmp_path / 'out'}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "no usable GPU here" in done.stderr
    assert not (tmp_path / "out").exists()


def python(name, code, limit=60.0, **more):
    return Step(name, ["-c", code], 1, limit, **more)


def test_every_step_has_its_own_end(tmp_path):
    assert measure_gpu.run(python("a", "print(1); print(2)"), 60) == (DONE, ["1", "2"])
    assert measure_gpu.run(python("a", "raise SystemExit('no')"), 60) == (FAILED, ["no"])
    endless = "print('begun', flush=True); import time; time.sleep(60)"
    assert measure_gpu.run(python("a", endless, limit=1), 1) == (LIMIT, ["begun"])
    assert measure_gpu.run(python("a", endless, limit=50), 1)[0] == STOPPED  # by the end of the call
    assert measure_gpu.run(python("a", endless, limit=1, makes=tmp_path / "a.h5"), 1)[0] == STOPPED  # goes on from its checkpoint


def listed(chosen, engine):
    """Three steps: one that works, one that fails, one that makes a file; and one whose data are missing."""
    out = chosen.out / "made.h5"
    make = python("make", f"open({str(out)!r}, 'w').write({engine!r})", makes=out)
    return [python("engine", ""), python("bad", "raise SystemExit(3)"), make, python("far", "", data=chosen.data / "x.npz")]


def test_a_second_call_goes_on_where_the_first_ended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure_gpu, "steps", listed)
    assert measure_gpu.main(options(tmp_path)) == 1
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(one["step"], one["status"]) for one in log] == [("engine", DONE), ("bad", FAILED), ("make", DONE)]
    assert (tmp_path / "made.h5").read_text() == "graph"
    said = capsys.readouterr().out
    assert "x.npz is missing" in said
    assert "1 steps are left, the first is far" in said
    assert measure_gpu.main(options(tmp_path)) == 0
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    assert measure_gpu.main(options(tmp_path, again=True)) == 1
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"] == "bad"


def test_some_steps_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure_gpu, "steps", listed)
    assert measure_gpu.main(options(tmp_path, only="ma")) == 0
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ["make"]
    assert "0 steps are left" in capsys.readouterr().out


def test_cells_are_trained_by_the_plain_loop_where_the_engine_fails_and_none_begins_too_late(tmp_path, monkeypatch):
    def broken(chosen, engine):
        return [python("engine", "raise SystemExit(1)"), *listed(chosen, engine)[2:3]]

    monkeypatch.setattr(measure_gpu, "steps", broken)
    measure_gpu.main(options(tmp_path, minutes=0.3))  # less than it takes to write a checkpoint
    assert not (tmp_path / "log.jsonl").exists()
    measure_gpu.main(options(tmp_path))
    assert (tmp_path / "made.h5").read_text() == "plain"


@pytest.mark.slow
def test_every_kind_of_step_runs_on_a_cpu(tmp_path, data_folder):
    """In a minute or two."""
    assert main(["prepare", "autoencoder_digits", "wrn_digits", "lstm_synthetic", f"--data={data_folder}"]) == 0
    words = [sys.executable, SCRIPT, "--dry-run", f"--out={tmp_path}", "--minutes=20"]
    done = subprocess.run([*words, f"--data={data_folder}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {one["status"] for one in log} == {DONE}
    assert {one["step"].split("/")[0] for one in log} == {"engine", "rates", "anchors", "cells"}
    assert [one["number"] for one in json.loads((tmp_path / "rates.json").read_text())["samples"]] == [0, 1]
    for path in tmp_path.rglob("*.h5"):
        assert set(read_run(path).status) == {"completed"}
