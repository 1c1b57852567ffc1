"""The benchmark for GPUs runs, as far as that can be seen without one."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

SCRIPT = [sys.executable, ROOT / "benchmarks/gpu.py"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_clear_error():
    done = subprocess.run(SCRIPT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("benchmarks/gpu.py: device cuda: no usable GPU here")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_every_row_and_peer_runs_on_a_cpu(tmp_path):
    """In half a minute; the peer in JAX only where that can be imported."""
    out = tmp_path / "bench.json"
    done = subprocess.run([*SCRIPT, "--dry-run", f"--out={out}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["dry_run"]
    assert len(found["samples"]) == done.stdout.count("\n| ") - 1 == 10
    for sample in found["samples"]:
        rates = sample["examples_per_second"]
        assert {*rates, *sample["missing"]} == {"ours", *sample["row"]["peers"]}
        assert set(sample["missing"]) <= {"P5"}
        assert all(len(values) == 2 and min(values) > 0 for values in rates.values())
