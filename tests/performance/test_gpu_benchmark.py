"""The benchmark for GPUs runs, as far as that can be seen without one."""

import json
import re
import runpy
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

SCRIPT = [sys.executable, ROOT / "performance/gpu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_clear_error():
    done = subprocess.run(SCRIPT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("performance/gpu: device cuda: no usable GPU here")
    assert len(done.stderr.splitlines()) == 1


def test_the_cost_of_sweeps_follows_from_the_rates():
    """Ours is ten times P1 everywhere; P2, known at one batch size, is as fast as ours."""
    samples = [
        {
            "row": {"title": "WRN-16-4", "precision": "bfloat16", "batch_size": size, "seeds": 2},
            "examples_per_second": {"ours": [1e5, 1e5], "P1": [1e4, 1e4]} | ({"P2": [1e5]} if size == 64 else {}),
            "starts": {"ours": 10.0},
        }
        for size in (16, 64, 1024)
    ]
    lines = runpy.run_path(str(SCRIPT[1]))["summary"](samples).splitlines()
    for line, mode in zip(lines, ("constant_epoch", "constant_step"), strict=False):
        found = re.search(r"runs: ([\d.]+) GPU-hours; P1 ([\d.]+); the best peer of every cell ([\d.]+) ", line)
        hours = [float(number) for number in found.groups()]
        assert line.startswith(mode)
        assert hours[1] == pytest.approx(10 * hours[0], rel=0.01)
        assert hours[2] == hours[0]
    assert [line.count("missed") for line in lines] == [1, 1, 0, 1, 1, 1]
    assert lines[2] == "rate at batch size 16 / at 1024: 1.00 (0.5: met)"
    assert lines[3] == "start at batch size 16: 10.0 s, 5.0% of 2 run(s) (2%: missed)"


@pytest.mark.slow
def test_every_row_and_peer_runs_on_a_cpu(tmp_path):
    """In half a minute; the peer in JAX only where that can be imported."""
    out = tmp_path / "bench.json"
    done = subprocess.run([*SCRIPT, "--dry-run", f"--out={out}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["dry_run"]
    assert len(found["samples"]) == done.stdout.count("\n| ") - 1 == 11
    assert "constant_step, " in done.stdout
    for sample in found["samples"]:
        rates = sample["examples_per_second"]
        assert {*rates, *sample["missing"]} == {"ours", *sample["row"]["peers"]}
        assert set(sample["missing"]) <= {"P5"}
        assert all(len(values) == 2 and min(values) > 0 for values in rates.values())
