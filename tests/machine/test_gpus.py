"""Cells of one machine spread over its GPUs."""

import subprocess
import sys
from collections import Counter

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
