"""The workflow without the repository: from a wheel, by `sgdnoise run`, as a module from git, deployed by snakedeploy."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, curves
from workflows import copy_workflow

pytestmark = pytest.mark.workflow

STUDY = """
evaluations: 1
benchmarks:
  autoencoder_digits:
    seeds: {num: 2, keep: 2}
    constant_epoch: {epochs: 1, sgd: {256: [0.08, 0.16], 512: [0.16, 0.16]}}
figures: {formats: [png], dpi: 60}
"""


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "-q", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built as `pip install` builds it; the backend comes from the registry where it is not installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(
        "wheel",
        "--no-deps",
        f"--wheel-dir={folder}",
        *["--no-build-isolation"] * bool(importlib.util.find_spec("hatchling")),
        ROOT,
    )
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel):
    """The folder into which the wheel is installed: whatever else it needs is there."""
    pip("install", "--no-deps", f"--target={wheel.parent / 'site'}", wheel)
    return wheel.parent / "site"


@pytest.fixture
def elsewhere(tmp_path, data_folder, sgdnoise):
    """A folder outside the repository with a study and its data."""
    if not (data_folder / "digits.npz").exists():
        sgdnoise("prepare", "autoencoder_digits", f"--data={data_folder}")
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "data").symlink_to(data_folder)
    return tmp_path


def run(folder, *command, site=ROOT / "src", check=True, stdin=None, **variables):
    """Run a command in a folder, with the package that lies in `site`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}", "PATH": path} | variables
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, stdin=stdin, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_wheel_holds_the_package_and_the_workflow_and_nothing_else(wheel):
    """Every file of both, where rules look for it; no tests, no results."""
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    files = subprocess.run(["git", "ls-files", "src", "workflow", "envs"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [Path(line) for line in files.stdout.splitlines() if (ROOT / line).exists()]
    wanted = {str(path.relative_to("src") if path.parts[0] == "src" else "sgdnoise" / path) for path in paths}
    assert held == wanted | {"sgdnoise/config.yaml"}


def test_run_from_any_folder(elsewhere, installed, tmp_path_factory):
    """From an installed wheel: it trains, draws and ends with the advice, as Snakemake by the repository's Snakefile does."""
    command = [sys.executable, "-m", "sgdnoise", "run", "study.yaml", "--cores=2"]
    planned = run(elsewhere, *command, "--", "-n", "--quiet", site=installed)
    assert not (elsewhere / "results/cells").exists()
    assert "advice" not in planned.stdout.lower()
    done = run(elsewhere, *command, site=installed)
    assert done.stdout.startswith("autoencoder_digits: test squared error after 1 epochs")
    assert done.stdout.endswith("The page: results/report.html. The figures: figures\n")
    assert (elsewhere / "figures/autoencoder_digits/constant_epoch.png").exists()
    assert "study.yaml: 3 cells, 6 runs\n" in done.stderr
    assert "3 of 3 cells done; 1" in done.stderr
    assert "rule train" not in done.stderr
    assert len(done.stderr.splitlines()) < 12
    (log,) = (elsewhere / ".snakemake/log").iterdir()
    assert "rule train" in log.read_text()
    for snakefile in (ROOT / "Snakefile", installed / "sgdnoise/workflow/Snakefile"):
        plan = ("snakemake", "-n", f"--snakefile={snakefile}", "--configfile=study.yaml")
        assert "Nothing to be done" in run(elsewhere, *plan, site=installed).stdout
        figure = elsewhere / "figures/schedule.png"
        figure.rename(elsewhere / "aside.png")
        assert re.search(r"^schedule +1\nfigures/all +1\n", run(elsewhere, *plan, site=installed).stdout, re.MULTILINE)
        (elsewhere / "aside.png").rename(figure)

    other = tmp_path_factory.mktemp("other")
    (other / "data").symlink_to(elsewhere / "data")
    on_a_terminal(other, installed / "sgdnoise/workflow/Snakefile", elsewhere / "study.yaml")
    cells = sorted((elsewhere / "results/cells").rglob("*.h5"))
    assert [curves(path) for path in sorted((other / "results/cells").rglob("*.h5"))] == list(map(curves, cells))


def on_a_terminal(folder, snakefile, study):
    """Run plain Snakemake where a person is watching: a line by the profile beside the Snakefile; --verbose brings back what it says."""
    terminal = [sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))", "snakemake", "--cores=2"]
    words = [*terminal, "results/cells.csv", f"--snakefile={snakefile}", f"--configfile={study}"]
    shown = run(folder, *words, site=snakefile.parents[2], stdin=subprocess.DEVNULL).stdout
    assert "3 of 3 cells done; 5 of 5 jobs" in shown
    assert not re.search("rule train|examples/s|Job stats", shown)
    (folder / "results/cells.csv").unlink()
    shown = run(folder, *words, "--verbose", site=snakefile.parents[2], stdin=subprocess.DEVNULL).stdout
    assert "rule collect:" in shown
    assert "cells done" not in shown


def test_a_cell_that_fails_is_said_in_a_line(elsewhere):
    """With the reason and the log; the exit code is Snakemake's, and there is no advice."""
    cannot = STUDY.replace("autoencoder_digits", "wrn_digits").replace("[0.08, 0.16]", "[1, 1]").replace("[0.16, 0.16]", "[1, 1]")
    (elsewhere / "study.yaml").write_text(cannot)
    (elsewhere / "data").unlink()
    (elsewhere / "data").mkdir()
    (elsewhere / "data/digits.npz").write_bytes(b"no data")
    done = run(elsewhere, sys.executable, "-m", "sgdnoise", "run", "study.yaml", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    line = next(line for line in done.stderr.splitlines() if line.startswith("failed: results/cells/wrn_digits/sgd/"))
    assert ".h5: sgdnoise: error: data/digits.npz " in line
    assert line.endswith(".h5.log)")
    said = run(elsewhere, sys.executable, "-m", "sgdnoise", "status", "--config=study.yaml").stdout
    assert " failed; ETA after " in said or " failed\n" in said
    assert "  failed   cells/wrn_digits/sgd/epochs1/batch" in said


def test_deployed_by_snakedeploy(elsewhere, tmp_path_factory):
    """The way of the workflow catalog: a module of a tagged repository, its config and profiles copied beside it.

    Git takes a local repository in place of the one on GitHub.
    """
    if importlib.util.find_spec("snakedeploy") is None:
        pytest.skip("snakedeploy is not installed; envs/requirements.lock has it")
    hub = tmp_path_factory.mktemp("hub") / "github.com"
    hub.mkdir()
    (hub / "somebody").mkdir()
    repository = copy_workflow(hub / "somebody/sgdnoise")
    for name in ("config.yaml", "config", "LICENSE"):
        subprocess.run(["cp", "-a", ROOT / name, repository], check=True)
    git = ["git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "everything"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=repository, check=True)
    local = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{hub}/.insteadOf", "GIT_CONFIG_VALUE_0": "https://github.com/"}
    local |= {"XDG_CACHE_HOME": str(hub / "cache")}
    place = elsewhere / "deployed"
    address = "https://github.com/somebody/sgdnoise"
    program = [sys.executable, "-c", "from snakedeploy.client import main; main()"]
    run(elsewhere, *program, "deploy-workflow", address, place, "--tag=v1", **local)
    assert (place / "config/config.yaml").read_text() == (ROOT / "config.yaml").read_text()
    assert "config.yaml" in (place / "config/README.md").read_text()
    (place / "config/config.yaml").write_text(STUDY)
    (place / "data").symlink_to(elsewhere / "data")
    said = run(place, "snakemake", "--cores=2", "results/cells.csv", **local).stderr
    assert "profiles/default" in said
    assert len(list((place / "results/cells").rglob("*.h5"))) == 3
    planned = run(place, "snakemake", "-n", **local).stdout  # a call without targets goes on to the figures
    assert re.search("^figures/all +1$", planned, re.MULTILINE)
    assert "rule train:" not in planned
