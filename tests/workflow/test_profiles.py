"""What the profiles say, and the two that need no SLURM at work."""

import itertools
import os
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT
from workflows import snakemake

from sgdnoise import benchmarks
from sgdnoise.results.run import read_run
from sgdnoise.study import grid
from sgdnoise.study.config import load_config

PROFILES = ROOT / "workflow/profiles"
STUDY = """
evaluations: 1
benchmarks:
  autoencoder_digits:
    seeds: {num: 1, keep: 1}
    constant_epoch: {epochs: 1, sgd: {256: [0.08, 0.16], 512: [0.08, 0.16]}}
"""
# A training that finds two GPUs: which one it takes is written down, then it trains on the CPU.
TWO_GPUS = f"""#!{sys.executable}
import os, sys, time
if sys.argv[1:4] == ["-m", "sgdnoise", "check-study"]:
    sys.exit()
if sys.argv[1:4] != ["-m", "sgdnoise", "train"]:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
import torch
from types import SimpleNamespace
from sgdnoise.training import cell as training_cell
from sgdnoise.cli.main import main
torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2
torch.cuda.get_device_properties = lambda index: SimpleNamespace(uuid=f"GPU-{{index}}")
choose = training_cell.use_device
def use_device(name, threads):
    with open(f"taken.{{os.getpid()}}", "w") as file:
        print(time.time(), choose(name, threads), file=file, flush=True)
    return torch.device("cpu")
training_cell.use_device = use_device
code = main(sys.argv[3:])
time.sleep(1)
with open(f"taken.{{os.getpid()}}", "a") as file:
    print(time.time(), file=file)
sys.exit(code)
"""


def read(name):
    return yaml.safe_load((PROFILES / name / "profile.yaml").read_text())


def asked(profile, cell, attempt=1):
    """Evaluate what a profile asks for a cell, as Snakemake does."""
    wildcards = SimpleNamespace(**{key: str(value) for key, value in vars(cell).items()})
    entries = profile["set-resources"]["train"]
    return {
        key: eval(str(value), {"wildcards": wildcards, "attempt": attempt}) if isinstance(value, str) else value
        for key, value in entries.items()
    }


def test_what_a_cell_asks_of_a_cluster():
    """For every cell of the paper: more memory at the next attempt, a day at most; shards ask for the same but for the GPU."""
    slurm, shards = read("slurm"), read("slurm-shards")
    cells = grid.trained(load_config(str(ROOT / "workflow/config/paper.yaml")))
    for cell in cells:
        first, second = asked(slurm, cell), asked(slurm, cell, attempt=2)
        assert 2000 <= first["mem_mb"] < second["mem_mb"]
        assert 30 <= first["runtime"] == second["runtime"] <= 24 * 60
        assert asked(shards, cell).items() >= {key: first[key] for key in ("mem_mb", "runtime", "slurm_partition")}.items()
    kinds = {(cell.benchmark, cell.batch_size > 256): asked(shards, cell)["gres"] for cell in cells}
    assert kinds["lstm_ptb", False] == kinds["autoencoder_mnist", False] == "shard:1"
    assert kinds["wrn_cifar10", False] == kinds["autoencoder_mnist", True] == "gpu:1"
    assert kinds["wrn_plain_cifar10", False] == kinds["wrn_scalar_cifar10", False] == "gpu:1"  # variants too
    named = str(slurm["set-resources"]["train"]).replace("=", " ").replace("(", " ").split()
    data = {name.split("_")[-1] for name in benchmarks.names() if "sibling_of" not in benchmarks.protocol(name)}
    assert data <= set(named)


def test_no_profile_holds_an_account_or_a_secret():
    for file in PROFILES.rglob("*"):
        if file.is_file():
            text = file.read_text().lower()
            assert not [word for word in ("password", "secret", "token", "sudo", "su -c", "api_key") if word in text], file
    assert read("slurm")["default-resources"]["slurm_account"] == "''"


@pytest.fixture
def study(workflow_folder):
    (workflow_folder / "config.yaml").write_text(STUDY)
    return workflow_folder


@pytest.mark.workflow
def test_the_default_profile_is_found_by_its_link(study):
    assert "Using workflow specific profile profiles/default" in snakemake(study, "-n", "--quiet")
    assert yaml.safe_load((study / "profiles/default/profile.yaml").read_text()) == {"scheduler": "greedy", "logger": "sgdnoise"}


@pytest.mark.workflow
def test_cells_of_one_workstation_are_spread_over_its_gpus(study):
    """With `--resources gpu=2` two cells run at once, never more, and those that do have different GPUs."""
    (study / "shim").mkdir()
    (study / "shim/python").write_text(TWO_GPUS)
    (study / "shim/python").chmod(0o755)
    command = ("--profile", "workflow/profiles/local-gpu", "--cores", "4", "--resources", "gpu=2", "--config", "device=cuda")
    snakemake(study, *command, "--", "results/cells.csv", TMPDIR=str(study))
    taken = []
    for file in study.glob("taken.*"):
        begin, gpu, end = file.read_text().split()
        taken.append((float(begin), float(end), gpu))
    assert len(taken) == 4
    together = [(a, b) for a, b in itertools.combinations(taken, 2) if max(a[0], b[0]) < min(a[1], b[1])]
    assert together
    assert all(a[2] != b[2] for a, b in together)
    assert {gpu for _, _, gpu in taken} == {"cuda:0", "cuda:1"}


needs_tsp = pytest.mark.skipif(not shutil.which("tsp"), reason="task-spooler is not installed: apt-get install task-spooler")


@pytest.fixture
def queue(tmp_path):
    """Return the environment of a task-spooler of our own."""
    environment = os.environ | {"TS_SOCKET": str(tmp_path / "socket"), "TMPDIR": str(tmp_path)}
    yield environment
    subprocess.run(["tsp", "-K"], env=environment, check=True)


@needs_tsp
def test_scripts_of_task_spooler(queue, tmp_path):
    """A job that succeeds, one that fails, one that runs and one that waits; the last two are cancelled."""

    def call(name, *words):
        command = [PROFILES / f"task-spooler/{name}.sh", *words]
        return subprocess.run(command, env=queue, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    jobs = []
    for code in ("exit 0", "exit 3", "sleep 1000", "exit 0"):
        (tmp_path / f"job{len(jobs)}.sh").write_text(code)
        jobs.append(call("submit", f"job{len(jobs)}.sh"))
    subprocess.run(["tsp", "-w", jobs[1]], env=queue)
    assert [call("status", job) for job in jobs] == ["success", "failed", "running", "running"]
    call("cancel", *reversed(jobs[2:]))
    subprocess.run(["tsp", "-w", jobs[2]], env=queue)
    assert [call("status", job) for job in jobs[2:]] == ["failed", "failed"]


@pytest.mark.workflow
@needs_tsp
def test_a_study_through_task_spooler(study, queue, sgdnoise):
    """Every job of it goes through the queue; a cell is the one that is trained by hand."""
    pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="make cluster installs its plugin")
    command = ("--profile", "workflow/profiles/task-spooler", "--seconds-between-status-checks", "1")
    log = snakemake(study, *command, "--", "results/optimum.csv", cores=None, **queue)
    jobs = subprocess.run(["tsp"], capture_output=True, text=True, env=queue).stdout.splitlines()[1:]
    assert len(jobs) == log.count("with external jobid") == 7  # data, four cells, two tables
    assert all("finished" in line and "[sgdnoise]" in line for line in jobs)
    cell = grid.cells(load_config(str(study / "config.yaml")))[0]
    sgdnoise("train", *shlex.split(cell.arguments), f"--data={study / 'data'}", f"--out={study / 'by_hand.h5'}")
    by_hand, ours = read_run(study / "by_hand.h5"), read_run(study / "results" / cell.path)
    assert {name: curve.tobytes() for name, curve in by_hand.curves.items()} == {
        name: curve.tobytes() for name, curve in ours.curves.items()
    }
