"""What a real SLURM does to a study (make test-slurm): no result is lost or corrupted, and the end is the undisturbed one."""

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, curves
from workflows import copy_workflow

from sgdnoise.results.run import read_run
from sgdnoise.study import grid
from sgdnoise.study.config import validate
from sgdnoise.study.progress import checkpoint_of

pytestmark = pytest.mark.slurm

CLUSTER = Path(__file__).parent / "cluster.sh"
CANNOT = 3  # the exit code of cluster.sh where this machine cannot have a cluster
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"}
QUICK = ("--slurm-init-seconds-before-status-checks", "1")  # the profile's own patience is for clusters with many users
STEPS = 50_000  # ten seconds of training and more, so that what is done to a cell finds it running
SMOKE = yaml.safe_load((ROOT / "workflow/config/smoke.yaml").read_text()) | {"two_rates": {}}
SMOKE["benchmarks"] = {name: SMOKE["benchmarks"][name] for name in ("wrn_digits", "lstm_synthetic")}  # the others are alike
SMOKE["figures"] = {name: value for name, value in SMOKE["figures"].items() if name not in ("curves", "variants", "ablation")}


def run(*command, cwd=None, check=True):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT)
    assert not check or done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    """A cluster of our own, unless this machine cannot have one; it is taken away whatever happens."""
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        pytest.skip("snakemake's plugin for SLURM is not installed: make cluster")
    if not shutil.which("apt-get"):
        pytest.skip("SLURM is installed from Debian's packages, and this machine has no apt-get")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a time-out of the tests takes it away, too
    try:
        started = subprocess.run([CLUSTER, "start"], capture_output=True, text=True)
        if started.returncode == CANNOT:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        yield
    finally:
        run(CLUSTER, "stop")


@pytest.fixture
def folder(tmp_path, digits):
    """A copy of the workflow; when the test is over no snakemake and no job of it is left."""
    copy_workflow(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(digits, tmp_path / "data")
    yield tmp_path
    while STARTED:
        kill(STARTED[-1])
    run("scancel", "--user=root")
    wait_for(lambda: not queue())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return the data of the cells, so that these need no job of theirs before."""
    folder = tmp_path_factory.mktemp("data")
    run(sys.executable, "-m", "sgdnoise", "prepare", "autoencoder_digits", f"--data={folder}")
    return folder / "digits.npz"


@pytest.fixture(scope="module")
def undisturbed(digits, tmp_path_factory):
    """Return a function that trains a cell without Snakemake and SLURM and returns its curves; two cells at a time."""

    def train(*cells):
        folder = tmp_path_factory.mktemp("undisturbed")
        for cell in cells:
            words = shlex.split(cell.arguments)
            run(sys.executable, "-m", "sgdnoise", "train", *words, f"--data={digits.parent}", f"--out={folder / cell.path}")
        return {cell.path: curves(folder / cell.path) for cell in cells}

    return train


STARTED = []


def start(folder, config, *arguments):
    """Start snakemake on the profile, as a user does, but in the background."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with open(folder / "snakemake.log", "a") as log:
        command = ["snakemake", "--profile", "slurm", *QUICK, *arguments]
        STARTED.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=ENVIRONMENT))
    return STARTED[-1]


def kill(process):
    STARTED.remove(process)
    process.kill()
    process.wait()


def finish(process, folder):
    """Wait until snakemake is done, without an error; return what it has said."""
    code = process.wait(600)
    log = (folder / "snakemake.log").read_text()
    assert code == 0, log[-6000:]
    return log


def wait_for(condition, seconds=180):
    for _ in range(int(seconds / 0.5)):
        if found := condition():
            return found
        assert not any(process.poll() for process in STARTED), "snakemake has failed"
        time.sleep(0.5)
    raise AssertionError(f"not after {seconds} s")


def queue(state="all", format="%A"):
    """List the ids of the jobs, or what else, in a state such as RUNNING or queued at all."""
    states = [] if state == "all" else [f"--states={state}"]
    return run("squeue", "--noheader", f"--format={format}", *states).split()


def job(number):
    return run("scontrol", "show", "job", number)


def trainings(folder, path):
    """Return the processes that train a cell."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, place = (process / "cmdline").read_text().split("\0"), (process / "cwd").resolve()
        except OSError:
            continue  # it has ended
        if f"--out={path}" in words and place == folder:
            found.append(int(process.name))
    return found


def trained(folder, path):
    """Wait until a cell trains and has a checkpoint; return its process and its job."""
    wait_for(lambda: checkpoint_of(folder / path).exists() and trainings(folder, path))
    process = trainings(folder, path)[0]
    environment = Path(f"/proc/{process}/environ").read_text()
    return process, re.search("SLURM_JOB_ID=([0-9]+)", environment)[1]


def study(batch_sizes=(32,), **more):
    """Return a study of one cell per batch size, all of one learning rate."""
    windows = {str(size): [0.08, 0.08] for size in batch_sizes}
    entry = {"seeds": {"num": 1, "keep": 1}, "constant_step": {"steps": STEPS, "momentum": windows}}
    return {"evaluations": 2, "checkpoint_seconds": 1, "benchmarks": {"autoencoder_digits": entry}} | more


def cells(config):
    """Return the cells of a study by their batch sizes."""
    return {cell.batch_size: cell for cell in grid.cells(validate(config))}


def profile(folder, name, **content):
    """Write a further profile, as a site's; return its folder."""
    (folder / name).mkdir()
    (folder / name / "profile.yaml").write_text(yaml.safe_dump(content))
    return name


def node(state):
    name = run("sinfo", "--noheader", "--format=%n").strip()
    run("scontrol", "update", f"nodename={name}", f"state={state}", *["reason=test"] * (state == "drain"))


def test_the_smoke_study_on_a_cluster_with_troubles(folder, undisturbed):
    """`snakemake --profile slurm` makes every figure, though the node drains and the controller restarts meanwhile."""
    process = start(folder, SMOKE)
    wait_for(lambda: len(queue("RUNNING")) == 2 and len(queue("PENDING")) >= 10)
    assert "cannot be locked" in run("snakemake", "--profile", "slurm", cwd=folder, check=False)  # a second one, meanwhile
    node("drain")
    running, waiting = queue("RUNNING"), queue("PENDING")
    run(CLUSTER, "restart")
    assert set(waiting) <= set(queue("PENDING"))
    wait_for(lambda: all("JobState=COMPLETED" in job(number) for number in running))
    assert not queue("RUNNING")
    assert all(re.search(rf"UserId=\S+\({os.getuid()}\)", job(number)) for number in running + waiting)  # as nobody else
    node("resume")
    log = finish(process, folder)
    assert len(list((folder / "figures/smoke").rglob("*.png"))) >= 8
    assert len(re.findall("has been submitted with SLURM jobid", log)) >= 25
    assert "Trying to restart job" not in log
    assert not list((folder / "logs/slurm").rglob("*.log"))  # those of jobs that succeeded are taken away
    some = grid.cells(validate(SMOKE))[::7]
    assert {cell.path: curves(folder / SMOKE["results"] / cell.path) for cell in some} == undisturbed(*some)
    assert "Nothing to be done" in run("snakemake", "--profile", "slurm", "-n", cwd=folder)


def test_jobs_that_are_cancelled_or_over_their_memory_or_time(folder, undisturbed):
    """One cell each; further attempts end where the undisturbed ones do, two of them from the checkpoint."""
    config = study((16, 32, 64))
    slow, cancelled, fat = cells(config).values()
    paths = {cell.path: f"results/{cell.path}" for cell in (cancelled, fat, slow)}
    asked = {
        "gpu": "1 if wildcards.batch_size == '32' else 0",
        "gpu_model": "'fake' if wildcards.batch_size == '32' else ''",
        "mem_mb": "500 if wildcards.batch_size == '64' and attempt == 1 else 2000",
        "runtime": "1 if wildcards.batch_size == '16' and attempt == 1 else 30",
    }
    site = profile(folder, "site", **{"set-resources": {"train": asked}})
    process = start(folder, config, "--profile", site, "--", *paths.values())
    stopped, _ = trained(folder, paths[slow.path])
    os.kill(stopped, signal.SIGSTOP)  # it hangs; when its minute is over SLURM wakes it and asks it to end
    _, number = trained(folder, paths[cancelled.path])
    assert "gpu:fake:1" in job(number)
    run("scancel", number)
    log = finish(process, folder)
    assert len(re.findall("Trying to restart job", log)) >= 3
    assert "TIMEOUT" in log
    assert "CANCELLED" in log
    assert any("memory" in file.read_text() for file in (folder / "logs/slurm").rglob("*.log"))  # kept, for a person to read
    assert {path: curves(folder / result) for path, result in paths.items()} == undisturbed(cancelled, fat, slow)
    assert read_run(folder / paths[cancelled.path]).provenance["continued"]
    assert read_run(folder / paths[slow.path]).provenance["continued"]
    assert not [file for file in (folder / "results").rglob(".*") if file.is_file()]


def test_a_preempted_job_is_queued_again_and_goes_on(folder, undisturbed):
    config = study()
    cell = cells(config)[32]
    process = start(folder, config, "--", f"results/{cell.path}")
    _, number = trained(folder, f"results/{cell.path}")
    run("scontrol", "requeue", number)  # what a partition that preempts does
    wait_for(lambda: "JobState=PENDING" in job(number))
    run("scontrol", "update", f"JobId={number}", "StartTime=now")  # SLURM would wait for two minutes
    assert "Trying to restart job" not in finish(process, folder)  # the same job, so it costs no attempt
    assert {cell.path: curves(folder / "results" / cell.path)} == undisturbed(cell)
    assert read_run(folder / "results" / cell.path).provenance["continued"]


def test_a_killed_snakemake_and_two_writers_of_one_cell(folder, undisturbed):
    """The old job goes on while the restarted snakemake's trains the cell too: both share a GPU by shards, and publish the
    same, whole. The folder's name is shell code: no shell on the way runs it."""
    config = study(results="results $(touch pwned)`touch pwned`;touch pwned")
    cell = cells(config)[32]
    target = f"{config['results']}/{cell.path}"
    command = ("--profile", "workflow/profiles/slurm-shards", "--", target)
    process = start(folder, config, *command)
    old, _ = trained(folder, target)
    os.kill(old, signal.SIGSTOP)  # so that the new job surely catches up
    kill(process)
    run("snakemake", "--unlock", "--cores", "1", cwd=folder)
    again = start(folder, config, *command)
    wait_for(lambda: len(trainings(folder, target)) == 2)
    assert all(re.search("gres[/:]shard[=:]1", job(number)) for number in queue("RUNNING"))
    os.kill(old, signal.SIGCONT)
    finish(again, folder)
    wait_for(lambda: not queue())
    assert {cell.path: curves(folder / target)} == undisturbed(cell)
    assert [file.name for file in (folder / target).parent.iterdir()] == [Path(target).name]
    assert not list(folder.rglob("pwned"))


def test_a_thousand_jobs_are_queued_within_three_minutes(folder, record_property):
    """On a drained node, so that they only queue; measured from the start of snakemake."""
    config = study()
    config["benchmarks"]["autoencoder_digits"]["constant_step"]["momentum"] = {size: [0.00008, 0.08] for size in range(1, 101)}
    node("drain")
    try:
        started = time.monotonic()
        start(folder, config, "--jobs", "1000")
        wait_for(lambda: len(queue()) >= 1000)
        seconds = time.monotonic() - started
        print(f"1,000 jobs queued {seconds:.0f} s after the start of snakemake")
        assert seconds <= 180
        assert set(queue(format="%P_%l_%m")) == {"main_30:00_2000M"}
    finally:
        node("resume")
