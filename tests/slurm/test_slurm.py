"""What a real SLURM does to a study (make test-slurm): no result is lost or corrupted, and the end is the undisturbed one."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from sgdnoise.checkpoint import path_of
from sgdnoise.run import read_run

pytestmark = pytest.mark.slurm

CLUSTER = Path(__file__).parent / "cluster.sh"
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"}
QUICK = ("--slurm-init-seconds-before-status-checks", "3")  # the profile's own patience is for clusters with many users
CELL = "results/cells/autoencoder_digits/momentum/{}/batch32_lr0.08_seeds0-0.h5"
STEPS = 50_000  # about half a minute


def run(*command, cwd=None, check=True):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT)
    assert not check or done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    """A cluster of our own, unless this machine cannot have one."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("SLURM is installed and started by root from Debian's packages; this is not root on Debian")
    run(CLUSTER, "start")
    yield
    run(CLUSTER, "stop")


@pytest.fixture
def folder(tmp_path):
    """A copy of the workflow; when the test is over no job of it is left."""
    for name in ("Snakefile", "slurm", "workflow", "src", "envs"):
        source = ROOT / name
        if source.is_symlink():
            (tmp_path / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    yield tmp_path
    run("scancel", "--user=root")
    wait_for(lambda: not queue())


def study(steps=(STEPS,), **more):
    """Return a config whose cells are one per number of updates."""
    modes = {"seeds": {"num": 1, "keep": 1}, "constant_step": {"steps": steps[0], "momentum": {32: [0.08, 0.08]}}}
    return {"evaluations": 2, "checkpoint_seconds": 1, "benchmarks": {"autoencoder_digits": modes}} | more


def start(folder, config, target, *arguments):
    """Start snakemake on the profile, as a user does, but in the background."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["snakemake", "--profile", "slurm", *QUICK, *arguments, "--", target]
    with open(folder / "snakemake.log", "a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=ENVIRONMENT)


def finish(process, folder, timeout=420):
    code = process.wait(timeout)
    return code, (folder / "snakemake.log").read_text()


def wait_for(condition, seconds=120):
    for _ in range(int(seconds / 0.5)):
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not after {seconds} s")


def queue(state=""):
    """List the ids of our jobs, of a state such as RUNNING or of all."""
    return run("squeue", "--noheader", "--format=%A", *([f"--states={state}"] if state else [])).split()


def training(folder, steps=STEPS):
    """Wait until the cell trains and has a checkpoint; return its job."""
    checkpoint = path_of(folder / CELL.format(f"steps{steps}"))
    wait_for(lambda: checkpoint.exists() and queue("RUNNING"))
    return queue("RUNNING")[0]


def curves(path):
    return {metric: curve.tobytes() for metric, curve in read_run(path).curves.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the curves of the cell of so many updates, trained without Snakemake or SLURM."""
    folder, known = tmp_path_factory.mktemp("undisturbed"), {}

    def get(steps=STEPS):
        if steps not in known:
            words = (
                f"--benchmark autoencoder_digits --optimizer momentum --budget steps{steps} --batch-size 32 --lr 0.08 --seeds 0-0"
            )
            out = folder / f"{steps}.h5"
            run(
                sys.executable,
                "-m",
                "sgdnoise",
                "train",
                *shlex.split(words),
                "--evaluations=2",
                f"--data={folder}",
                f"--out={out}",
            )
            known[steps] = curves(out)
        return known[steps]

    return get


def check(folder, undisturbed, continued=True, steps=STEPS):
    """The result is the undisturbed one, nothing else is left, and it was continued or not."""
    path = folder / CELL.format(f"steps{steps}")
    assert curves(path) == undisturbed(steps)
    assert bool(read_run(path).provenance["continued"]) == continued
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_smoke_study_to_its_figures(folder):
    """Exactly `snakemake --profile slurm` makes every figure, and a second call has nothing to do."""
    config = yaml.safe_load((ROOT / "workflow/config/smoke.yaml").read_text())
    process = start(folder, config, "figures/all")
    code, log = finish(process, folder)
    assert code == 0, log[-6000:]
    assert len(list((folder / "figures/smoke").rglob("*.png"))) >= 8
    assert len(re.findall("has been submitted with SLURM jobid", log)) >= 25
    assert "Nothing to be done" in run("snakemake", "--profile", "slurm", "-n", cwd=folder)
    assert not list((folder / "logs/slurm").rglob("*.log"))  # those of jobs that succeeded are taken away


def test_a_cancelled_job_goes_on(folder, undisturbed):
    process = start(folder, study(), CELL.format(f"steps{STEPS}"))
    run("scancel", training(folder))
    code, log = finish(process, folder)
    assert code == 0, log[-6000:]
    assert "Trying to restart job" in log
    check(folder, undisturbed)


def test_a_job_over_its_memory_is_started_again_with_more(folder, undisturbed):
    """250 MB are too little for the first attempt; a further profile says so, as a site's would."""
    (folder / "tight").mkdir()
    profile = {"set-resources": {"train": {"mem_mb": "250 if attempt == 1 else 3000"}}}
    (folder / "tight/profile.yaml").write_text(yaml.safe_dump(profile))
    process = start(folder, study(), CELL.format(f"steps{STEPS}"), "--profile", "slurm", "tight")
    code, log = finish(process, folder)
    assert code == 0, log[-6000:]
    assert "Trying to restart job" in log
    assert curves(folder / CELL.format(f"steps{STEPS}")) == undisturbed()


def test_a_job_over_its_time_goes_on_from_its_checkpoint(folder, undisturbed):
    """SLURM ends it after one to two minutes of its limit of one; the next attempts go on."""
    (folder / "short").mkdir()
    (folder / "short/profile.yaml").write_text(yaml.safe_dump({"set-resources": {"train": {"runtime": 1, "mem_mb": 2000}}}))
    steps = 6 * STEPS
    process = start(folder, study((steps,)), CELL.format(f"steps{steps}"), "--profile", "slurm", "short")
    code, log = finish(process, folder)
    assert code == 0, log[-6000:]
    assert "Trying to restart job" in log
    check(folder, undisturbed, steps=steps)


def test_killed_snakemake_and_two_writers_of_one_cell(folder, undisturbed):
    """The old job goes on while the restarted snakemake submits the cell again: both publish the same, whole."""
    target = CELL.format(f"steps{STEPS}")
    process = start(folder, study(), target)
    training(folder)
    process.kill()
    process.wait()
    run("snakemake", "--unlock", "--cores", "1", cwd=folder)
    again = start(folder, study(), target)
    wait_for(lambda: len(queue("RUNNING")) == 2)
    code, log = finish(again, folder)
    assert code == 0, log[-6000:]
    wait_for(lambda: not queue())
    assert curves(folder / target) == undisturbed()
    assert [file.name for file in (folder / target).parent.iterdir()] == [Path(target).name]


def test_drained_node_and_restarted_controller(folder, undisturbed):
    """A running job goes on through both; the one that waits for the node starts when it is back."""
    node = run("sinfo", "--noheader", "--format=%n").strip()
    config = study()
    config["benchmarks"]["autoencoder_digits"]["constant_step"]["momentum"] |= {64: [0.08, 0.08], 16: [0.08, 0.08]}
    process = start(folder, config, "results/optimum.csv")
    training(folder)
    run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    run(CLUSTER, "restart")
    time.sleep(5)
    assert queue("RUNNING")
    assert queue("PENDING")
    run("scontrol", "update", f"nodename={node}", "state=resume")
    code, log = finish(process, folder)
    assert code == 0, log[-6000:]
    assert curves(folder / CELL.format(f"steps{STEPS}")) == undisturbed()
    assert (folder / "results/optimum.csv").exists()


def test_two_snakemakes_on_one_folder(folder, undisturbed):
    """The second says that the folder is in use; the first is not disturbed."""
    target = CELL.format(f"steps{STEPS}")
    process = start(folder, study(), target)
    training(folder)
    refused = run("snakemake", "--profile", "slurm", target, cwd=folder, check=False)
    assert "cannot be locked" in refused
    code, log = finish(process, folder)
    assert code == 0, log[-6000:]
    check(folder, undisturbed, continued=False)


def test_small_cells_share_a_gpu_by_shards(folder):
    """Two cells run at once on the one GPU, each with a shard of it."""
    config = study(device="auto")
    config["benchmarks"]["autoencoder_digits"]["constant_step"]["momentum"] |= {64: [0.08, 0.08]}
    process = start(folder, config, "results/optimum.csv", "--profile", "slurm", "workflow/profiles/slurm-shards")
    wait_for(lambda: len(queue("RUNNING")) == 2)
    for job in queue("RUNNING"):
        assert re.search(r"gres[/:]shard[=:]1", run("scontrol", "show", "job", job))
    process.terminate()
    run("scancel", "--user=root")
    process.wait(180)


def test_a_thousand_jobs_are_queued_within_three_minutes(folder):
    """On a drained node, so that they only queue."""
    node = run("sinfo", "--noheader", "--format=%n").strip()
    (folder / "many").mkdir()
    (folder / "many/profile.yaml").write_text(yaml.safe_dump({"jobs": 1000}))
    window = {size: [0.00008, 0.08] for size in range(1, 101)}  # 11 learning rates each
    config = study()
    config["benchmarks"]["autoencoder_digits"]["constant_step"]["momentum"] = window
    run(sys.executable, "-m", "sgdnoise", "prepare", "autoencoder_digits", f"--data={folder / 'data'}")
    run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    try:
        process = start(folder, config, "results/cells.csv", "--profile", "slurm", "many")
        wait_for(lambda: len(queue()) >= 1, 60)
        started = time.monotonic()
        wait_for(lambda: len(queue()) >= 1000, 180)
        print(f"1,000 jobs queued in {time.monotonic() - started:.0f} s")
    finally:
        process.kill()
        run("scancel", "--user=root")
        run("scontrol", "update", f"nodename={node}", "state=resume")
