"""What machines do to a study, without a cluster: nothing is lost or corrupted, and the end is that of an undisturbed one."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import curves
from workflows import snakemake

from sgdnoise.results.collect import collect_cells
from sgdnoise.study.config import load_config

pytestmark = pytest.mark.faults

CELL = "results/cells/{}/sgd/epochs1/batch{}_lr0.08_seeds0-1.h5"
STUDY = """
evaluations: 1
benchmarks:
  autoencoder_digits:
    seeds: {num: 2, keep: 1}
    constant_epoch: {epochs: 1, sgd: {256: [0.08, 0.08], 512: [0.08, 0.08]}}
figures: {formats: [png], dpi: 60}
"""


@pytest.fixture
def study(workflow_folder):
    (workflow_folder / "config.yaml").write_text(STUDY)
    return workflow_folder


def run(folder, *arguments, check=True, shim=""):
    """Run snakemake; with a `shim` every training is this shell code, in which "$@" is the command and $out its result."""
    shutil.rmtree(folder / "shim", ignore_errors=True)
    if shim:
        (folder / "shim").mkdir()
        (folder / "shim/python").write_text(
            f'#!/bin/bash\nset -- {sys.executable} "$@"\n[[ $4 = train ]] || exec "$@"\nfor out; do :; done; out=${{out#--out=}}\n{shim}\n'
        )
        (folder / "shim/python").chmod(0o755)
    return snakemake(folder, *arguments, check=check)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_folder):
    """The curves of the study's cells, trained by hand."""
    out = {}
    for batch_size in (256, 512):
        file = tmp_path_factory.mktemp("undisturbed") / "a.h5"
        words = ["train", "--benchmark=autoencoder_digits", "--optimizer=sgd", "--budget=epochs1", f"--batch-size={batch_size}"]
        words += ["--lr=0.08", "--seeds=0-1", "--evaluations=1", f"--data={data_folder}", f"--out={file}"]
        subprocess.run([sys.executable, "-m", "sgdnoise", *words], check=True, capture_output=True)
        out[batch_size] = curves(file)
    return out


def check(study, undisturbed):
    for batch_size, expected in undisturbed.items():
        assert curves(study / CELL.format("autoencoder_digits", batch_size)) == expected


def test_results_that_appear_late(study, undisturbed):
    """A file system that shows a file two seconds after it was written: with `latency-wait` snakemake waits for it."""
    late = '"${@/--out=*/--out=$PWD/unseen/$$.h5}"; code=$?; (sleep 2; mkdir -p "$(dirname "$out")"; mv unseen/$$.h5 "$out") &>/dev/null & exit $code'
    target = "results/optimum.csv"
    assert "Missing files after 0 seconds" in run(study, "--latency-wait", "0", target, shim=late, check=False)
    run(study, "--latency-wait", "10", "--rerun-incomplete", target, shim=late)
    check(study, undisturbed)


@pytest.mark.parametrize("when", ["1 day ago", "1 day"])
def test_a_worker_whose_clock_is_off_by_a_day(study, undisturbed, when):
    """Its results are dated yesterday or tomorrow; nothing is trained again for that."""
    run(study, "results/optimum.csv", shim=f'"$@" && touch -d "{when}" "$out"')
    check(study, undisturbed)
    assert "rule train" not in run(study, "-n", "results/optimum.csv")


def test_a_corrupted_result_is_named_with_its_remedy(study, undisturbed):
    run(study, "results/optimum.csv")
    path = CELL.format("autoencoder_digits", 256)
    (study / path).write_bytes((study / path).read_bytes()[:3000])
    output = run(study, "results/optimum.csv", check=False)
    remedy = f"snakemake --cores 1 --force {path}"
    assert f"{path} is truncated, corrupt" in output
    assert f"to rebuild this cell: {remedy}" in output
    run(study, "--force", path)
    run(study, "results/optimum.csv")
    check(study, undisturbed)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk")
def test_a_full_disk(study, undisturbed, tmp_path):
    """A disk of 64 kB with 60 used: one clear line, no partial file, and the cell is trained when there is space again."""
    disk = study / "results"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount")
    try:
        (disk / "filler").write_bytes(bytes(60_000))
        output = run(study, "--keep-going", "results/cells.csv", check=False)
        assert "No space left on device; free the space or mend the folder, then run the cell again" in " ".join(output.split())
        assert not list(disk.rglob("*.h5*"))
        (disk / "filler").unlink()
        run(study, CELL.format("autoencoder_digits", 256), CELL.format("autoencoder_digits", 512))
        check(study, undisturbed)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_cell_that_always_fails(study, undisturbed):
    """The others go on, the summary names it; tables and figures can be made without it, and say so."""
    fails = '[[ $out = *batch512* ]] && { echo "no luck" >&2; exit 1; }; "$@"'
    output = run(study, "--keep-going", shim=fails, check=False)
    failed = CELL.format("autoencoder_digits", 512)
    assert "Error in rule train" in output
    assert failed in output
    assert curves(study / CELL.format("autoencoder_digits", 256)) == undisturbed[256]
    assert not (study / "results/cells.csv").exists()
    assert "figures/all" in run(study, "-n")
    output = run(study, "--config", "allow_missing=True", shim=fails)
    assert "rule train" not in output
    assert "2 of 4 runs are missing; the tables and figures say where" in output
    cells = pd.read_csv(study / "results/cells.csv")
    assert cells.groupby("batch_size")["status"].first().to_dict() == {256: "completed", 512: "missing"}
    optimum = pd.read_csv(study / "results/optimum.csv").query("metric == 'test_squared_error'").set_index("batch_size")
    assert optimum["num_missing"].to_dict() == {256: 0, 512: 2}
    assert optimum["lr"].isna().to_dict() == {256: False, 512: True}
    assert (study / "figures/autoencoder_digits/constant_epoch.png").exists()
    run(study)  # the luck has changed
    check(study, undisturbed)
    assert "missing" not in set(pd.read_csv(study / "results/cells.csv")["status"])


def test_a_study_on_two_machines_is_merged(study, undisturbed, tmp_path):
    """Each machine trains its shard; `collect --roots` reads both, and so does a whole workflow that is given both."""
    halves = []
    for number in (1, 2):
        half = study / f"machine{number}"
        half.mkdir()
        for name in ("Snakefile", "workflow", "src", "envs", "config.yaml"):
            (half / name).symlink_to(study / name)
        run(half, "--config", f"shard={number}/2")
        halves.append({path.name for path in half.rglob("*.h5")})
    assert len(halves[0] | halves[1]) == 2
    assert not halves[0] & halves[1]
    roots = [str(study / f"machine{number}/results") for number in (1, 2)]
    command = [sys.executable, "-m", "sgdnoise", "collect", "--config=config.yaml", "--out=merged.csv", "--roots", *roots]
    subprocess.run(command, cwd=study, check=True)
    config = load_config(str(study / "config.yaml"))
    assert len(pd.read_csv(study / "merged.csv")) == 4
    with pytest.raises(ValueError, match="is missing"):
        collect_cells(config, roots[:1])
    assert yaml.safe_load(STUDY)["benchmarks"].keys() == set(pd.read_csv(study / "merged.csv")["benchmark"])
    shutil.copytree(roots[1], roots[0], dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.json"))
    assert "rule train" not in run(study / "machine1")
    pd.testing.assert_frame_equal(pd.read_csv(f"{roots[0]}/cells.csv"), pd.read_csv(study / "merged.csv"))
    assert (study / "machine1/figures/autoencoder_digits/constant_epoch.png").exists()
