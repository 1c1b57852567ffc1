"""How far a study is, read from the files that its cells write."""

import json
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import snakemake_logger_plugin_sgdnoise as logger
from sgdnoise.study import progress
from sgdnoise.study.config import validate

STUDY = {
    "benchmarks": {
        "autoencoder_digits": {
            "seeds": {"num": 2, "keep": 2},
            "constant_epoch": {"epochs": 4, "sgd": {64: [0.08, 0.16], 128: [0.08, 0.16]}},
        }
    }
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A config of four cells, and functions that write what each of them would."""
    monkeypatch.chdir(tmp_path)
    config = validate(STUDY)
    cells = progress.known_cells(config)

    class Files:
        logs = tmp_path / "logs/results"

        @staticmethod
        def log(cell, text):
            path = Files.logs / f"{cell.path}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        @staticmethod
        def done(cell, seconds):
            out = tmp_path / "results" / cell.path
            out.parent.mkdir(parents=True, exist_ok=True)
            out.touch()
            Files.log(cell, f"{out}: 2 runs, 0 diverged, 5,000 examples/s on CPU, {seconds:.1f} s\n")

        @staticmethod
        def running(cell, pid=None, host=None, **numbers):
            out = tmp_path / "results" / cell.path
            out.parent.mkdir(parents=True, exist_ok=True)
            note = numbers | {"host": host or socket.gethostname(), "pid": pid or os.getpid()}
            progress.path_of(out).write_text(json.dumps(note))

    return config, cells, Files


def waiting(found):
    return [cell for cell in found.cells if cell not in found.done and cell.path not in {*found.running, *found.failed}]


def test_done_running_failed_and_the_time_left(study):
    """Cells of a batch size are taken to be as fast as those that were measured, whose logs are read once."""
    config, (small, other, large, last), files = study
    assert progress.words(progress.look(config, files.logs)) == "0 of 4 cells done; ETA after the first seconds of training"
    files.done(small, 10)
    files.running(large, done=30, first=10, total=2 * large.num_steps, seconds=4.0)  # 5 updates a second
    files.log(last, "sgdnoise: warning: something\nsgdnoise: error: out of luck\n")
    seen = {}
    found = progress.look(config, files.logs, seen)
    assert (found.done, list(found.running), found.failed) == ([small], [large.path], {last.path: "out of luck"})
    assert waiting(found) == [other]
    assert found.seconds_left == pytest.approx(10 + (2 * large.num_steps - 30) / 5)
    assert progress.words(found) == f"1 of 4 cells done, 1 running, 1 failed; ETA {progress.clock(found.seconds_left)}"
    files.log(small, "gone\n")
    assert progress.look(config, files.logs, seen).seconds_left == found.seconds_left
    assert progress.look(config, files.logs, seen, at_once=2).seconds_left == pytest.approx(
        max(10, found.seconds_left - 10, found.seconds_left / 2)
    )
    assert other not in found.done
    again = progress.look(config, files.logs, seen, since=time.time() + 60)  # what failed before is trained again
    assert (again.failed, waiting(again)) == ({}, [other, last])


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Traceback (most recent call last):\n  ...\nRuntimeError: sensor fell off\n", "RuntimeError: sensor fell off"),
        ("Traceback (most recent call last):\n  ...\nKeyboardInterrupt\n", None),
        ("sgdnoise: interrupted after update 3 of seed 0; the same command goes on from there\n", None),
        ("sgdnoise: warning: something\n", None),
    ],
)
def test_a_cell_has_failed_if_python_says_so_not_if_it_was_interrupted(study, log, reason):
    config, (cell, *_), files = study
    files.log(cell, log)
    assert progress.look(config, files.logs).failed == ({cell.path: reason} if reason else {})


@pytest.mark.parametrize(
    ("changes", "more"),
    [({}, ""), ({"extend_grid": True}, "; cells may be added"), ({"decide": {"max_seeds": 5}}, "; cells may be added")],
)
def test_the_line_of_progress_says_whether_cells_may_be_added(study, monkeypatch, changes, more):
    monkeypatch.setattr(progress, "watched", [progress.Watched(validate(STUDY | changes), study[2].logs)])
    handler = SimpleNamespace(seen={}, at_once=1, started=0.0, jobs=(2, 9), terminal=True)
    assert logger.LogHandler.words(handler) == f"0 of 4 cells done; ETA after the first seconds of training{more}; 2 of 9 jobs"


QUIET = """
import os
from types import SimpleNamespace

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_sgdnoise import LogHandler, LogHandlerSettings

logger.setLevel("INFO")  # as Snakemake does
for screen in ("all", "progress"):
    LogHandler(SimpleNamespace(dryrun=False, verbose=False), LogHandlerSettings(screen=screen))
    os.write(1, f"{screen}: plan; ".encode())
    logger.info("Job stats", extra={"event": LogEvent.RUN_INFO})
    os.write(1, f"{screen}: job; ".encode())
"""


def test_no_word_of_the_first_job_is_shown_however_late_the_display_is_told():
    """Snakemake hands a display what it says in another thread: here, never."""
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=True)
    assert done.stdout == "all: plan; all: job; progress: plan; "


def test_a_job_that_ends_without_a_word_says_whether_a_checkpoint_is_kept(tmp_path):
    """After Ctrl-C, for example."""
    out, log = tmp_path / "cell.h5", tmp_path / "cell.log"
    job = {"output": [str(out)], "rule_name": "train", "log": [str(log)]}
    for said in ("", "sgdnoise: warning: something\n"):
        log.write_text(said)
        assert logger.failed(job) == f"failed: {out}: its process ended ({log})"
    progress.checkpoint_of(out).touch()
    kept = f"failed: {out}: its process ended; a checkpoint is kept, from which the same command goes on ({log})"
    assert logger.failed(job) == kept
    log.write_text("RuntimeError: sensor fell off\n")
    assert logger.failed(job) == f"failed: {out}: RuntimeError: sensor fell off ({log})"


def test_a_process_that_is_gone_is_not_running(study):
    """On this machine by its id, on another if nothing is heard of it for long."""
    config, (one, two, *_), files = study
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    numbers = {"done": 2, "first": 1, "total": 10, "seconds": 1.0}
    files.running(one, pid=ended.pid, **numbers)
    files.running(two, host="elsewhere", pid=ended.pid, **numbers)
    assert list(progress.look(config, files.logs).running) == [two.path]
    note = progress.path_of(files.logs.parents[1] / "results" / two.path)
    os.utime(note, (time.time() - 2 * progress.SILENT,) * 2)
    assert not progress.look(config, files.logs).running
    note.write_text("{")
    assert not progress.look(config, files.logs).running


def test_a_cell_notes_how_far_it_is_and_takes_the_note_away(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SOON", 0.0)
    out = tmp_path / "a/cell.h5"
    with progress.noted(out, 100) as tell:
        tell(11)
        assert progress.read_note(out) == progress.Note(11, 10, 100, pytest.approx(0, abs=5), socket.gethostname(), os.getpid())
        tell(12)
        assert progress.read_note(out).done == 11  # not yet again
    assert list(out.parent.iterdir()) == []


def test_a_study_that_extends_its_windows_has_the_cells_that_it_is_known_to_have(tmp_path, monkeypatch):
    """Those of the windows as far as files say, and the seeds that looks have added."""
    monkeypatch.chdir(tmp_path)
    seeds = {"seeds": {"num": 3, "keep": 3}, "constant_epoch": {"epochs": 4, "sgd": {64: [0.08, 0.16]}}}
    config = validate({"benchmarks": {"autoencoder_digits": seeds}, "extend_grid": True, "bracket_seeds": 1})
    assert [cell.seeds for cell in progress.known_cells(config)] == ["0-0", "0-0"]
    (start,) = progress.windows.starts(config)
    path = tmp_path / "results" / start.path
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(vars(start) | {"high": "0.32", "stage": "full"}))
    extended = {(cell.lr, cell.seeds) for cell in progress.known_cells(config)}
    assert extended == {(lr, block) for lr in ("0.08", "0.16", "0.32") for block in ("0-0", "1-2")}
    looked = tmp_path / "results/looks/1.json"
    looked.parent.mkdir()
    looked.write_text(json.dumps([{"benchmark": "autoencoder_digits", "batch_size": 64, "add_seeds": 2}]))
    with_looks = validate({"benchmarks": {"autoencoder_digits": seeds}, "decide": {"max_seeds": 7}})
    assert {cell.seeds for cell in progress.known_cells(with_looks)} == {"0-2", "3-4"}


@pytest.mark.parametrize("first", ["[]", None])
def test_a_look_after_one_that_adds_nothing_or_is_not_there_counts_for_nothing(study, tmp_path, first):
    """It is left over from before."""
    config, cells, _ = study
    (tmp_path / "results/looks").mkdir(parents=True)
    (tmp_path / "results/looks/2.json").write_text(json.dumps([{"benchmark": "autoencoder_digits", "add_seeds": 2}]))
    config |= {"decide": {"max_seeds": 11}}
    if first:
        (tmp_path / "results/looks/1.json").write_text(first)
    assert progress.known_cells(config) == cells
    (tmp_path / "results/looks/1.json").write_text(json.dumps([{"benchmark": "autoencoder_digits", "add_seeds": 1}]))
    assert len(progress.known_cells(config)) == 12
