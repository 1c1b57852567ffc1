"""The command line as a user meets it, in processes of its own."""

import fcntl
import inspect
import os
import shlex
import struct
import subprocess
import sys
import termios

import h5py
import numpy as np
import pytest
from conftest import ROOT, curves

from sgdnoise.cli.main import KINDS, verbs_of
from sgdnoise.results.run import read_run

AUTOENCODER = ("--benchmark=autoencoder_digits", "--optimizer=momentum", "--batch-size=32", "--lr=0.08")


def test_help_lists_every_verb_under_its_kind_and_a_verb_is_short(sgdnoise):
    """The function of a verb has less than 40 lines; what it calls is elsewhere."""
    text = sgdnoise("--help").stdout
    verbs = [verb for kind in KINDS for verb in verbs_of(kind)]
    positions = [text.index(f"\n  {verb.name} ") for verb in verbs]
    titles = [text.index(f"\n{kind.__doc__.split(':')[0]}: ") for kind in KINDS]
    assert positions == sorted(positions)
    assert titles == sorted(titles)
    assert all(verb.summary[:60] in text for verb in verbs)
    assert [verb.name for verb in verbs if len(inspect.getsource(verb.run).split("\ndef ")[1].splitlines()) >= 40] == []


def test_train_repeats_bitwise_and_show_prints_it(sgdnoise, tmp_path, data_folder):
    files = [tmp_path / name for name in ("a.h5", "b.h5")]
    for file in files:
        done = sgdnoise("train", *AUTOENCODER, "--budget=steps8", "--seeds=0-1", f"--data={data_folder}", f"--out={file}")
        assert "2 runs, 0 diverged" in done.stdout
        assert done.stderr == ""  # no progress bar where nobody watches
    assert curves(files[0]) == curves(files[1])
    shown = sgdnoise("show", files[0]).stdout
    for text in ("autoencoder_digits", "seed 1: completed", "test_squared_error", "examples_per_second", '"precision', "commit"):
        assert text in shown or text.strip('"') in shown


def test_a_cell_needs_neither_torchvision_nor_scikit_learn(tmp_path, data_folder, sgdnoise):
    sgdnoise("prepare", "wrn_digits", f"--data={data_folder}")
    code = (
        "import sys; from sgdnoise.cli.main import main\n"
        "for name in ('sgd', 'adam', 'kfac'):\n"
        "    main([*sys.argv[1:], f'--optimizer={name}', f'--out={name}.h5'])\n"
        "    print([m for m in ('torchvision', 'sklearn', 'torch._dynamo', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    arguments = ["train", "--benchmark=wrn_digits", "--budget=steps1", "--batch-size=32", "--lr=1"]
    arguments += ["--evaluations=1", f"--data={data_folder}"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[1::2] == ["[]"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--benchmark=mlp",), "unknown benchmark 'mlp'; known: autoencoder_digits"),
        (("--optimizer=adamm",), "unknown optimizer 'adamm'; known: sgd, momentum"),
        (("--budget=days3",), "write epochsN or stepsN"),
        (("--lr=-1",), "lr -1.0 is not a positive number"),
        (("--lr=nan",), "lr nan is not a positive number"),
        (("--seeds=3",), "write first-last, for example 0-2"),
        (("--settings={l2}",), "are not JSON"),
        (('--settings={"l3": 1}',), "unknown setting 'l3'; known: l2_scope, l2_convention, micro_batch"),
        (("--file=missing.py",), "there is no file missing.py"),
    ],
)
def test_bad_arguments_are_one_line(sgdnoise, tmp_path, arguments, message):
    out = tmp_path / "a.h5"
    done = sgdnoise("train", *AUTOENCODER, "--budget=steps1", f"--out={out}", *arguments, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()


def test_bad_data_folders_are_one_line(sgdnoise, tmp_path):
    (tmp_path / "file").write_text("")
    unwritable = sgdnoise("prepare", "wrn_digits", f"--data={tmp_path / 'file'}", check=False)
    assert (unwritable.returncode, len(unwritable.stderr.splitlines())) == (1, 1)
    assert "a part of it is a file; choose another place" in unwritable.stderr
    (tmp_path / "digits.npz").write_bytes(b"PK damaged")
    corrupt = sgdnoise("train", *AUTOENCODER, "--budget=steps1", f"--data={tmp_path}", f"--out={tmp_path / 'a.h5'}", check=False)
    assert (corrupt.returncode, len(corrupt.stderr.splitlines())) == (1, 1)
    assert "digits.npz is corrupt" in corrupt.stderr
    assert not (tmp_path / "a.h5").exists()


def test_corrupt_mnist_is_one_line(sgdnoise, tmp_path):
    """Files in torchvision's layout that are not MNIST's: read by torchvision, refused by their content."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 4), ("t10k", 2)):
        images = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28)) + bytes(count * 784)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(count))
    done = sgdnoise("prepare", "autoencoder_mnist", f"--data={tmp_path}", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "are not MNIST's, or corrupt; delete them" in done.stderr
    (raw / "t10k-images-idx3-ubyte").write_bytes(images[:1000])
    done = sgdnoise("prepare", "autoencoder_mnist", f"--data={tmp_path}", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "delete what is there and prepare again" in done.stderr
    assert not (tmp_path / "mnist.npz").exists()


def test_a_full_disk_is_one_line(tmp_path, data_folder, sgdnoise):
    """A limit on the size of files stands for the full disk."""
    sgdnoise("prepare", "autoencoder_digits", f"--data={data_folder}")
    words = ["train", *AUTOENCODER, "--budget=steps2", "--seeds=0-9", f"--data={data_folder}", f"--out={tmp_path / 'cells/a.h5'}"]
    command = shlex.join([sys.executable, "-m", "sgdnoise", *words])
    done = subprocess.run(["bash", "-c", f"ulimit -f 8; {command}"], capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "a.h5: " in done.stderr
    assert "free the space" in done.stderr
    assert list((tmp_path / "cells").iterdir()) == []


def test_a_diverged_cell_exits_with_0(sgdnoise, tmp_path, data_folder):
    out = tmp_path / "a.h5"
    done = sgdnoise("train", *AUTOENCODER, "--lr=1e30", "--budget=steps8", "--seeds=0-1", f"--data={data_folder}", f"--out={out}")
    assert "2 runs, 2 diverged" in done.stdout
    assert read_run(out).status == ["diverged", "diverged"]


@pytest.mark.slow
def test_processes_that_share_batches_compute_the_same(sgdnoise, tmp_path, data_folder):
    """Two processes with four ghost batches each; equal but for the order of the sums."""
    words = ["train", "--benchmark=wrn_digits", "--optimizer=momentum", "--budget=steps6", "--batch-size=64", "--lr=0.5"]
    words += ["--device=cpu", f"--data={data_folder}", "--evaluations=2"]
    for processes in (1, 2):
        done = sgdnoise(*words, f"--processes={processes}", f"--out={tmp_path / f'{processes}.h5'}")
        assert "1 runs, 0 diverged" in done.stdout
    alone, shared = (read_run(tmp_path / f"{processes}.h5") for processes in (1, 2))
    for metric, curve in alone.curves.items():
        np.testing.assert_allclose(shared.curves[metric], curve, rtol=1e-5)
    assert shared.provenance["processes"] == 2
    done = sgdnoise(*words, "--batch-size=65", "--processes=2", f"--out={tmp_path / 'no.h5'}", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "batch size 65 cannot be shared equally by 2 processes" in done.stderr
    assert not (tmp_path / "no.h5").exists()


def test_calibrate_makes_the_table_that_plan_reads(sgdnoise, tmp_path, data_folder):
    (tmp_path / "config.yaml").write_text(
        f"data: {data_folder}\nbenchmarks: {{autoencoder_digits: {{seeds: {{num: 2, keep: 1}}, constant_epoch:"
        " {epochs: 1, sgd: {64: [0.08, 0.08], 128: [0.08, 0.16]}}}}"
    )
    sgdnoise("calibrate", "--seconds=0.1", cwd=tmp_path)
    lines = sgdnoise("plan", "--throughput=throughput.csv", cwd=tmp_path).stdout.splitlines()
    assert lines[1].split()[:6] == ["autoencoder_digits", "constant_epoch", "3", "6", "64", "6"]
    assert lines[2].startswith("total")
    assert lines[3].startswith("hours: of CPU")


@pytest.mark.parametrize("module", ["sgdnoise", "sgdnoise.cli.warm"])
def test_a_progress_bar_for_a_person(tmp_path, data_folder, module):
    """On a terminal stderr shows a bar."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [
        sys.executable,
        "-m",
        module,
        "train",
        *AUTOENCODER,
        "--budget=steps4",
        "--device=cpu",
        f"--data={data_folder}",
        f"--out={tmp_path / 'a.h5'}",
    ]
    subprocess.run(command, stderr=slave, stdout=subprocess.DEVNULL, check=True)
    os.close(slave)
    assert b"update/s" in os.read(master, 10_000)


def test_results_of_other_programs_are_refused_by_show(sgdnoise, tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    done = sgdnoise("show", tmp_path / "foreign.h5", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "not a result of this version of sgdnoise" in done.stderr


def test_a_benchmark_of_ones_own(sgdnoise, tmp_path, data_folder):
    """One file: a variant of a shipped benchmark, named in the config by file:."""
    shipped = (ROOT / "src/sgdnoise/benchmarks/autoencoder_digits.py").read_text()
    (tmp_path / "mine.py").write_text(shipped.replace("[64, 100, 50, 25, 8]", "[64, 20, 4]"))
    (tmp_path / "config.yaml").write_text(
        "benchmarks: {my_net: {file: mine.py, seeds: {num: 1, keep: 1}, constant_epoch: {epochs: 1, sgd: {64: [0.08, 0.08]}}}}"
    )
    (command,) = sgdnoise("grid", "--commands", cwd=tmp_path).stdout.splitlines()
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, cwd=tmp_path, check=True, capture_output=True)
    sgdnoise("collect", "--config=config.yaml", "--out=results/cells.csv", cwd=tmp_path)
    assert "my_net,sgd,epochs1,64,0.08" in (tmp_path / "results/cells.csv").read_text()
