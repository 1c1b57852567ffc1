"""The README's own commands, in a fresh clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SMALL = """
evaluations: 1
benchmarks:
  wrn_digits:
    seeds: {num: 1, keep: 1}
    constant_epoch:
      epochs: 1
      sgd: {32: [0.25, 0.5], 64: [0.5, 1], 128: [1, 2]}
      momentum: {32: [0.25, 0.5], 64: [0.5, 1], 128: [1, 2]}
figures: {formats: [png]}
"""
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) for line in block.splitlines()
]


def clone(folder):
    """Clone the last commit and lay this checkout's tracked and new files over it."""
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    files = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(
        ["tar", "-cf", folder / "now.tar", "--null", "--ignore-failed-read", "-T", "-"], cwd=ROOT, input=files, check=True
    )
    subprocess.run(["tar", "-xf", "now.tar"], cwd=folder, check=True)
    return folder


def run_readme(folder, commands):
    script = "\n".join(["set -euo pipefail", *commands])
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "VIRTUAL_ENV", "VENV", "MAKE"))
    }
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_there_are_commands():
    assert {"make figures", "make test", "snakemake -n", "snakemake --cores 8 figures/all"} <= set(COMMANDS)


@pytest.mark.workflow
def test_commands_on_a_small_study(tmp_path):
    """All but `make test`; the environment is this one, and config.yaml a study of twelve cells."""
    folder = clone(tmp_path / "clone")
    (folder / "config.yaml").write_text(SMALL)
    (folder / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    (folder / ".venv/.ready").touch()
    for file in ("envs/requirements.lock", "pyproject.toml"):
        os.utime(folder / file, (0, 0))
    output = run_readme(folder, [command for command in COMMANDS if command != "make test"])
    assert "3 runs, 0 diverged" in output
    assert (folder / "figures/wrn_digits/constant_epoch.png").stat().st_size > 10_000
    assert (folder / "figures/smoke/wrn_digits/constant_epoch.png").stat().st_size > 10_000


@pytest.mark.readme
def test_commands_as_a_new_user(tmp_path):
    """Every command, with a fresh environment and the default study; about 20 minutes."""
    folder = clone(tmp_path / "clone")
    run_readme(folder, COMMANDS)
    assert len(list((folder / "results/cells").rglob("*.h5"))) >= 70
