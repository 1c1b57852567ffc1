"""Damaged files: a clear line that names the file and what to do, or the values as they were; never others, never a traceback.

Fast: 200 inputs, and every part in every wrong form. `make test-slow`: 10,000.
"""

import contextlib
import io
import itertools
import json

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT, without_seal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import WRN_STUDY, made_up_wrn

from sgdnoise.cli.main import main
from sgdnoise.results.run import read_run, write_run
from sgdnoise.study import grid
from sgdnoise.study.config import validate
from sgdnoise.training import checkpoint

SHIPPED = sorted((ROOT / "results/reference/cpu_mnist").rglob("*.h5"))[0]  # written before there were seals
FUZZ = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100
)
SLOWLY = settings(FUZZ, max_examples=5_000)


def damaged(whole):
    """Describe whatever may become of a file's bytes."""
    size, some_bytes = len(whole), st.binary(max_size=600)
    changes = st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 255)), min_size=1, max_size=8)

    def flipped(places):
        content = bytearray(whole)
        for place, value in places:
            content[place] = value
        return bytes(content)

    def replaced(place, new, num_lost):
        return whole[:place] + new + whole[place + num_lost :]

    return st.one_of(
        changes.map(flipped),
        st.integers(0, size).map(lambda length: whole[:length]),
        st.builds(replaced, st.integers(0, size), some_bytes, st.integers(0, size)),
        st.integers(0, size).map(lambda length: whole[:length] + bytes(size - length)),  # a crash of a file system leaves this
        some_bytes,
        st.integers(0, size).map(lambda length: whole[:length] + SHIPPED.read_bytes()[length:]),
        st.text(max_size=600).map(str.encode),
    )


def bits(run):
    """Return all that a run holds, comparable."""
    arrays = {"step": run.step, "lr": run.lr, "seed": run.seed, **run.curves}
    return run.spec, run.status, run.provenance, {name: (str(one.dtype), one.tobytes()) for name, one in arrays.items()}


def shown(path):
    """Return the exit code and the errors of `sgdnoise show`."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["show", str(path)])
    return code, errors.getvalue()


def refused(path):
    """Tell whether a file is refused as it should be: in one line that names it, without a change of it."""
    before = path.read_bytes()
    code, errors = shown(path)
    if code:
        assert (code, len(errors.splitlines())) == (1, 1), errors
        assert errors.startswith(f"sgdnoise: error: {path} ")
        assert "train its cell again" in errors
    assert path.read_bytes() == before
    return bool(code)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A result, and what it holds."""
    path = tmp_path_factory.mktemp("fuzz") / "a.h5"
    write_run(path, made_up_wrn(grid.cells(validate(WRN_STUDY))[0]))
    return path, path.read_bytes(), bits(read_run(path))


def check_result(data, result):
    path, whole, wanted = result
    path.write_bytes(data.draw(damaged(whole)))
    if not refused(path):
        assert bits(read_run(path)) == wanted or path.read_bytes() == SHIPPED.read_bytes()


@given(st.data())
@FUZZ
def test_a_damaged_result_is_refused_or_reads_as_before(result, data):
    check_result(data, result)


@pytest.mark.slow
@given(st.data())
@SLOWLY
def test_5000_damaged_results(result, data):
    check_result(data, result)


CPU = torch.device("cpu")
CONTENT = {"finished": [], "running": [{"weights": torch.arange(100.0)}]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / ".a.h5.checkpoint"
    assert checkpoint.save(path, {"lr": "1"}, CONTENT)
    return path, path.read_bytes()


def check_checkpoint(data, saved):
    path, whole = saved
    path.write_bytes(data.draw(damaged(whole)))
    found = checkpoint.load(path, {"lr": "1"}, CPU)
    assert found is None or torch.equal(found["running"][0]["weights"], torch.arange(100.0))


@given(st.data())
@FUZZ
def test_a_damaged_checkpoint_is_not_continued_or_holds_what_it_held(saved, data):
    check_checkpoint(data, saved)


@pytest.mark.slow
@given(st.data())
@SLOWLY
def test_5000_damaged_checkpoints(saved, data):
    check_checkpoint(data, saved)


# What only another program writes: every part in every wrong form. Without a seal, which would tell before.

NOT_DATASETS = {
    "missing": None,
    "scalar": 1.0,
    "empty": np.zeros(0),
    "whole numbers": np.zeros((7, 2), int),
    "floats": np.zeros((2, 7)),
    "complex": np.zeros(3, complex),
    "text": "text",
    "texts": ["diverged", "lost", "\xf6"],
    "no text": np.void(b"\xff\x80"),
    "of four axes": np.zeros((1, 1, 1, 1)),
    "empty space": h5py.Empty("f8"),
    "group": {},
    "larger than its file": "huge",
}
NOT_ATTRIBUTES = {
    "missing": None,
    "number": 3,
    "no JSON": "{",
    "list": "[]",
    "null": "null",
    "no record": "1",
    "empty record": "{}",
    "no UTF-8": np.void(b"\xff\x80"),
    "empty space": h5py.Empty("f8"),
    "array": np.zeros(3),
    "bounds of text": json.dumps({"bounds": "x", "examples_per_second": 1}),
    "speed of text": json.dumps({"bounds": {}, "examples_per_second": "x"}),
    "deep": "[" * 100_000,
}


def test_every_part_in_every_wrong_form(result, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(result[1])
    without_seal(path)
    old, tried = path.read_bytes(), 0
    assert bits(read_run(path)) == result[2]
    for name, (kind, value) in itertools.product(
        ("step", "lr", "seed", "status", "curves/test_loss", "curves"), NOT_DATASETS.items()
    ):
        if (name, kind) in {("curves/test_loss", "missing")}:
            continue  # a benchmark has the metrics that it has
        path.write_bytes(old)
        with h5py.File(path, "a") as file:
            del file[name]
            if kind == "group":
                file.create_group(name)
            elif kind == "larger than its file":
                file.create_dataset(name, (1 << 40,), "f8")
            elif kind != "missing":
                file[name] = value
        assert refused(path), (name, kind)
        tried += 1
    for name, (kind, value) in itertools.product(("layout", "spec", "provenance"), NOT_ATTRIBUTES.items()):
        if (name, kind) == ("spec", "empty record") or (name, kind[:5]) in {("spec", "bound"), ("spec", "speed")}:
            continue  # records; `collect` compares a spec with its cell
        path.write_bytes(old)
        with h5py.File(path, "a") as file:
            del file.attrs[name]
            if kind == "deep":
                file.create_dataset("deep", data=value)  # too long for an attribute
            elif kind != "missing":
                file.attrs[name] = value
        assert refused(path), (name, kind)
        tried += 1
    assert tried > 100
