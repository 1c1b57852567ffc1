"""Cells of one machine spread over its GPUs."""

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from collections import Counter

import pytest

from sgdnoise.machine import gpus

TAKE = "from sgdnoise.machine.gpus import least_used; print(least_used(['a', 'b']), flush=True); input()"


def test_cells_spread_over_the_gpus(tmp_path):
    """Five processes on two GPUs: two and three; the place of one that is killed is free again."""
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def take():
        return subprocess.Popen(
            [sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    processes = [take()]
    try:
        taken = [int(processes[0].stdout.readline())]
        for _ in range(4):
            processes.append(take())
            taken.append(int(processes[-1].stdout.readline()))
        assert taken == [0, 1, 0, 1, 0]
        processes[1].kill()
        processes[1].wait()
        processes.append(take())
        assert int(processes[-1].stdout.readline()) == 1
        assert Counter(taken) == {0: 3, 1: 2}
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_cell_takes_any_gpu_and_says_so(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert gpus.least_used(["a", "b"]) == os.getpid() % 2
    assert os.strerror(number) in caplog.text
    assert "set TMPDIR to a local folder" in caplog.text
