"""A cell that is interrupted goes on from its checkpoint and ends bitwise where the uninterrupted one ends."""

import pickle
import resource
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import OFFLINE

from sgdnoise.machine import parallel
from sgdnoise.results.run import read_run
from sgdnoise.study.cell import make_cell
from sgdnoise.study.progress import checkpoint_of
from sgdnoise.training import checkpoint
from sgdnoise.training.cell import train_cell, use_device
from sgdnoise.training.packed import autoencoder

CPU = use_device("cpu", threads=1)
AUTOENCODER = ("--benchmark=autoencoder_digits", "--optimizer=momentum", "--batch-size=32", "--lr=0.08")


def cell_of(name, lr=0.5, optimizer="momentum", settings="{}"):
    return make_cell(name, optimizer, "steps40", 32, lr, "0-1", settings, 4, None)


def stop_after(updates):
    """Return a function that says yes, once, when it is asked for the `updates`-th time."""
    calls = iter(range(1, 1_000_000))
    return lambda: next(calls) == updates


def train_with_interruptions(cell, data_folder, path, pieces, engine="auto"):
    """Train a cell that is stopped after each number of updates in `pieces`, and continued each time."""
    for updates in pieces:
        with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
            train_cell(cell, data_folder, CPU, checkpoint_path=path, asked_to_stop=stop_after(updates), engine=engine)
        torch.rand(3)  # whatever else runs in this process
    return train_cell(cell, data_folder, CPU, checkpoint_path=path, engine=engine)


def assert_same_curves(one, other):
    assert one.curves.keys() == other.curves.keys()
    for metric, curve in other.curves.items():
        np.testing.assert_array_equal(one.curves[metric], curve)


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum_warmup"])
def test_an_interrupted_cell_ends_where_the_uninterrupted_one_ends(data_folder, tmp_path, name, optimizer):
    """Stopped in the first epoch, right before an evaluation, right after one, and in the second seed."""
    settings = '{"micro_batch": 16}' if name == "lstm_synthetic" else "{}"
    cell = cell_of(name, optimizer=optimizer, settings=settings)
    whole = train_cell(cell, data_folder, CPU, engine="plain")
    pieces = train_with_interruptions(cell, data_folder, tmp_path / "checkpoint", [3, 6, 1, 35, 20], "plain")
    assert_same_curves(pieces, whole)
    places = [(part["seed"], part["step"]) for part in pieces.provenance["continued"]]
    assert places == [(0, 3), (0, 9), (0, 10), (1, 5), (1, 25)]
    assert pieces.provenance["steps_done"] == [40, 40]


@pytest.mark.parametrize("together", [2, 1])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum_warmup"])
def test_an_interrupted_pack_ends_where_the_uninterrupted_one_ends(data_folder, tmp_path, monkeypatch, optimizer, together):
    """Both seeds together, or each alone."""
    monkeypatch.setattr(autoencoder, "TOGETHER", together * 40_000)  # weights and units of a seed: 39,204
    cell = cell_of("autoencoder_digits", optimizer=optimizer)
    whole = train_cell(cell, data_folder, CPU)
    pieces = train_with_interruptions(cell, data_folder, tmp_path / "checkpoint", [3, 6, 1, *[35, 20] * (together == 1)])
    assert_same_curves(pieces, whole)
    places = [(part["seed"], part["step"]) for part in pieces.provenance["continued"]]
    assert places == [(0, 3), (0, 9), (0, 10), *[(1, 5), (1, 25)] * (together == 1)]
    assert pieces.provenance["engine"] == "packed"


def test_a_checkpoint_of_the_other_engine_is_not_continued(data_folder, tmp_path, caplog):
    path, cell = tmp_path / "checkpoint", cell_of("autoencoder_digits")
    with pytest.raises(KeyboardInterrupt, match="after update 3 of seed 0, 1; the same command goes on"):
        train_cell(cell, data_folder, CPU, checkpoint_path=path, asked_to_stop=stop_after(3))
    plain = train_cell(cell, data_folder, CPU, checkpoint_path=path, engine="plain")
    assert "made with other settings" in caplog.text
    assert_same_curves(plain, train_cell(cell, data_folder, CPU, engine="plain"))


@pytest.mark.parametrize(("device", "processes", "goes_on"), [("cpu", 1, True), ("meta", 1, False), ("cpu", 2, False)])
def test_a_checkpoint_of_another_device_or_number_of_processes_is_not_continued(
    data_folder, tmp_path, monkeypatch, device, processes, goes_on
):
    """Their sums round otherwise: what went on would be neither the one nor the other."""
    path, cell, found, load = tmp_path / "checkpoint", cell_of("autoencoder_digits"), [], checkpoint.load
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        train_cell(cell, data_folder, CPU, checkpoint_path=path, asked_to_stop=stop_after(3), engine="plain")

    def load_only(*words):
        found.append(load(*words))
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "load", load_only)
    monkeypatch.setattr(parallel, "size", lambda: processes)
    with pytest.raises(KeyboardInterrupt):
        train_cell(cell, data_folder, torch.device(device), checkpoint_path=path, engine="plain")
    assert [one is not None for one in found] == [goes_on]


def test_a_diverged_seed_stays_diverged(data_folder, tmp_path):
    cell = cell_of("lstm_synthetic", lr=1e30)
    run = train_cell(cell, data_folder, CPU, checkpoint_path=tmp_path / "checkpoint", checkpoint_seconds=0)
    assert run.status == ["diverged", "diverged"]


def command_of(data_folder, out, *more):
    words = ("train", *AUTOENCODER, "--budget=steps2500", "--seeds=0-1", f"--data={data_folder}", f"--out={out}", *more)
    return [sys.executable, "-m", "sgdnoise", *words]


@pytest.fixture(scope="module")
def whole(data_folder, tmp_path_factory):
    """The curves of the cell of `command_of`, uninterrupted."""
    out = tmp_path_factory.mktemp("whole") / "a.h5"
    subprocess.run(command_of(data_folder, out), check=True, capture_output=True)
    return {metric: curve.tobytes() for metric, curve in read_run(out).curves.items()}


@pytest.mark.parametrize(
    "kill",
    [signal.SIGKILL, signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))],
)
def test_a_killed_process_leaves_no_result_and_the_next_goes_on(data_folder, tmp_path, whole, kill):
    out = tmp_path / "cells" / "a.h5"
    command = command_of(data_folder, out, "--checkpoint-seconds=0.05")
    # A test run in the background of a shell ignores SIGINT, and so would its children.
    listen = partial(signal.signal, signal.SIGINT if kill != signal.SIGHUP else signal.SIGHUP, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        try:
            for _ in range(1200):
                if checkpoint_of(out).exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
            assert process.poll() is None
            process.send_signal(kill)
            if kill == signal.SIGHUP:  # as the kernel does after the shell
                process.send_signal(kill)
            _, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == (-kill if kill == signal.SIGKILL else 130)
    assert ("; the same command goes on from there" in stderr) == (kill != signal.SIGKILL)
    assert not out.exists()
    assert checkpoint_of(out).exists()
    subprocess.run(command, check=True, capture_output=True)
    run = read_run(out)
    assert len(run.provenance["continued"]) == 1
    assert {metric: curve.tobytes() for metric, curve in run.curves.items()} == whole
    assert not checkpoint_of(out).exists()


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_a_closed_terminal_is_heard_unless_it_is_to_be_ignored(data_folder, tmp_path, processes):
    """With `nohup`, which ignores SIGHUP, a cell trains to its end; also in processes that share batches."""
    words = ["--benchmark=wrn_digits", "--batch-size=64", "--budget=steps60", f"--processes={processes}", "--device=cpu"]
    for nohup in (False, True)[processes == 1 :]:
        out = tmp_path / f"{nohup}.h5"
        command = command_of(data_folder, out, "--checkpoint-seconds=0.05", *words)
        ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=ignore) as process:
            while not checkpoint_of(out).exists() and process.poll() is None:
                time.sleep(0.02)
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            _, stderr = process.communicate(timeout=100)
        assert out.exists() == (process.returncode == 0) == nohup
        assert checkpoint_of(out).exists() == ("the same command goes on from there" in stderr) == (not nohup)


def test_a_full_disk_loses_neither_the_training_nor_the_checkpoint_before(data_folder, tmp_path, whole):
    """A limit on the size of files stands for the full disk: checkpoints are too large for it, the result is not."""
    out = tmp_path / "a.h5"
    command = shlex.join(command_of(data_folder, out, "--checkpoint-seconds=0.05"))
    done = subprocess.run(["bash", "-c", f"ulimit -f 100; {command}"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning: cannot write a checkpoint" in done.stderr
    assert "training goes on" in done.stderr
    assert {metric: curve.tobytes() for metric, curve in read_run(out).curves.items()} == whole
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_failed_write_keeps_the_checkpoint_before(tmp_path):
    path, limit = tmp_path / "checkpoint", resource.getrlimit(resource.RLIMIT_FSIZE)
    assert checkpoint.save(path, {"lr": "1"}, {"step": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        assert not checkpoint.save(path, {"lr": "1"}, {"weights": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert checkpoint.load(path, {"lr": "1"}, CPU) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is corrupt"),
        (pickle.dumps(Payload()), "is corrupt"),
        (pickle.dumps({"layout": 1}), "is corrupt"),
        (None, "made with other settings or on another kind of device"),
    ],
)
def test_what_is_not_this_cells_checkpoint_starts_anew(tmp_path, monkeypatch, caplog, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint"
    if content is None:
        checkpoint.save(path, {"lr": "2"}, {})
    else:
        path.write_bytes(content)
    assert checkpoint.load(path, {"lr": "1"}, CPU) is None
    assert message in caplog.text
    assert "starting anew" in caplog.text
    assert not Path("executed").exists()


def test_a_checkpoint_of_another_layout_starts_anew(tmp_path, monkeypatch, caplog):
    path = tmp_path / "checkpoint"
    for behind, found in ((0, {"step": 1}), (1, None)):
        with monkeypatch.context() as then:
            then.setattr(checkpoint, "LAYOUT", checkpoint.LAYOUT - behind)
            checkpoint.save(path, {}, {"step": 1})
        assert checkpoint.load(path, {}, CPU) == found
        assert ("starting anew" in caplog.text) == (found is None)


def test_one_bit_of_a_weight_that_flips_on_the_disk_makes_a_checkpoint_corrupt(tmp_path, caplog):
    """What torch itself would read without a word."""
    path, weights = tmp_path / "checkpoint", torch.arange(1000.0)
    checkpoint.save(path, {}, {"weights": weights})
    whole = bytearray(path.read_bytes())
    whole[whole.index(weights.numpy().tobytes()) + 2002] ^= 1
    path.write_bytes(whole)
    assert checkpoint.load(path, {}, CPU) is None
    assert "is corrupt (its bytes are not those that were written); starting anew" in caplog.text


def test_checkpoints_take_at_most_a_hundredth_of_the_time(tmp_path, monkeypatch):
    """One that takes 10 s to write is followed by the next after 1,000 s, although 300 s are asked for."""
    now, written = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def slow_save(path, identity, content):
        now[0] += 10
        written.append(now[0])
        return True

    monkeypatch.setattr(checkpoint, "save", slow_save)
    offer = checkpoint.saver(tmp_path / "checkpoint", {}, 300)
    while now[0] < 2500:
        now[0] += 1
        offer(dict, False)
    assert written == [310, 1320, 2330]
    assert offer(dict, True)
