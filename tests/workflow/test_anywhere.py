"""The workflow from folders that are not its own: -s, --directory, as a module; beside files with the names of modules; a closed terminal."""

import contextlib
import importlib.util
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import ROOT, changed
from workflows import jobs, snakemake

pytestmark = pytest.mark.workflow

STUDY = yaml.safe_load(
    """
evaluations: 1
benchmarks:
  autoencoder_digits:
    seeds: {num: 1, keep: 1}
    constant_epoch: {epochs: 1, sgd: {256: [0.08, 0.08]}}
figures: {formats: [png], dpi: 60}
"""
)
NEST = {"results": "./out/", "data": ".//data", "figures": STUDY["figures"] | {"folder": "./figs/"}}
HERE = f"--snakefile={ROOT / 'Snakefile'}"


@pytest.fixture
def elsewhere(tmp_path, data_folder, sgdnoise):
    """A folder outside the repository, with a config that writes its folders in other ways than Snakemake likes."""
    if not (data_folder / "digits.npz").exists():
        sgdnoise("prepare", "autoencoder_digits", f"--data={data_folder}")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(STUDY | NEST))
    (tmp_path / "data").symlink_to(data_folder)
    return tmp_path


def drawn(folder):
    return (folder / "figs/autoencoder_digits/constant_epoch.png").exists() and (folder / "out/report.html").exists()


def test_from_another_folder(elsewhere, tmp_path_factory):
    """By its own config, and once more by --directory from a third folder: then there is nothing to do."""
    output = snakemake(elsewhere, HERE, "figures/all", "report")
    assert "redundant" not in output
    assert "starts with './'" not in output
    assert drawn(elsewhere)
    third = tmp_path_factory.mktemp("third")
    arguments = (HERE, f"--directory={elsewhere}", "figures/all", "report")
    assert jobs(third, *arguments) == ({}, [])
    (elsewhere / "out/report.html").unlink()
    assert jobs(third, *arguments) == ({"report": 1}, [])
    assert not list(third.glob("[!.]*"))


def test_without_a_config_it_is_the_workflows_own(tmp_path):
    output = snakemake(tmp_path, HERE, "-n", "-q")
    assert "Config file(s)" in output
    assert "config.yaml" in output


@pytest.mark.parametrize("extend_grid", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_as_a_module_with_a_prefix(elsewhere, extend_grid):
    """Everything goes below the prefix, the frozen grid names its folder, and a second call has nothing to do."""
    study = STUDY | NEST | {"extend_grid": extend_grid, "extend_limit": 1}
    if not extend_grid:
        study["noise_scale"] = {
            "autoencoder_digits": {"optimizer": "sgd", "budget": "epochs1", "batch_size": 256, "lr": 0.08, "num_batches": 8}
        }
    (elsewhere / "config.yaml").write_text(yaml.safe_dump({"study": study, "other": 1}))
    (elsewhere / "sweep").mkdir()
    (elsewhere / "data").rename(elsewhere / "sweep/data")
    (elsewhere / "Snakefile").write_text(
        f"""
configfile: "config.yaml"

module sgdnoise:
    snakefile: "{ROOT / "Snakefile"}"
    config: config["study"]
    prefix: "sweep"

use rule * from sgdnoise as sgdnoise_*

rule mine:
    default_target: True
    input: "sweep/out/report.html", "sweep/figs/claims.png", {"" if extend_grid else '"sweep/figs/autoencoder_digits/noise_scale.png"'}
"""
    )
    snakemake(elsewhere)
    assert drawn(elsewhere / "sweep")
    assert yaml.safe_load((elsewhere / "sweep/out/grid.json").read_text())["results"] == "sweep/out"
    assert jobs(elsewhere) == ({}, [])
    assert {path.name for path in elsewhere.glob("[!.]*")} == {"sweep", "Snakefile", "config.yaml"}


@pytest.mark.parametrize("beside_the_snakefile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_files_with_the_names_of_modules_stand_in_for_none(elsewhere, beside_the_snakefile):
    """All of the standard library's, and of what the package needs; but a benchmark of one's own imports what lies beside it."""
    others = {
        "torch",
        "numpy",
        "pandas",
        "h5py",
        "matplotlib",
        "seaborn",
        "scipy",
        "tqdm",
        "jinja2",
        "yaml",
        "jsonschema",
        "sklearn",
    }
    for name in {one for one in sys.stdlib_module_names - {"__main__"} if importlib.util.find_spec(one)} | others:
        (elsewhere / f"{name}.py").write_text("raise SystemExit(f'{__file__} was imported')\n")
    shipped = (ROOT / "src/sgdnoise/benchmarks/autoencoder_digits.py").read_text()
    (elsewhere / "nets").mkdir()
    (elsewhere / "nets/mine.py").write_text(f"import beside\n{shipped}")
    (elsewhere / "nets/beside.py").touch()
    study = changed(STUDY | NEST, {"benchmarks.mine": STUDY["benchmarks"]["autoencoder_digits"] | {"file": "nets/mine.py"}})
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(study))
    if beside_the_snakefile:
        for name in ("Snakefile", "workflow", "envs"):
            (elsewhere / name).symlink_to(ROOT / name)
    program = os.path.join(os.path.dirname(sys.executable), "snakemake")
    command = [program, "--cores=2", *[HERE] * (not beside_the_snakefile), "out/cells.csv", "figs/schedule.png"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (elsewhere / "out/cells.csv").exists()


def test_a_command_by_hand_beside_random_py(elsewhere):
    (elsewhere / "random.py").write_text("raise SystemExit('imported')")
    for command in (["-m", "sgdnoise"], ["-P", "-m", "sgdnoise"]):
        done = subprocess.run([sys.executable, *command, "grid", "--commands"], cwd=elsewhere, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("python -P -m sgdnoise train ")


@pytest.mark.parametrize("shell", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_closed_terminal(elsewhere, shell):
    """A cell writes a checkpoint and ends, snakemake ends without a lock, and the same command goes on; with and without a shell between."""
    long = {"benchmarks.autoencoder_digits.constant_epoch.epochs": 5000}
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(changed(STUDY | NEST | {"checkpoint_seconds": 1}, long)))
    program = os.path.join(os.path.dirname(sys.executable), "snakemake")
    words = [program, HERE, "--cores=1", "out/cells.csv"]
    child, terminal = pty.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.chdir(elsewhere)
            os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
            os.execv(program, words)
        finally:
            os._exit(1)
    os.set_blocking(terminal, False)

    def wait_for(condition):
        for _ in range(1200):
            with contextlib.suppress(OSError):  # nothing to read
                os.read(terminal, 10_000)
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError("waited in vain")

    (saved,) = wait_for(lambda: list(elsewhere.rglob(".*.checkpoint")))
    before = saved.stat().st_mtime_ns
    if shell:
        os.killpg(child, signal.SIGHUP)
    os.close(terminal)
    terminal = os.open(os.devnull, os.O_RDONLY)
    wait_for(lambda: os.waitpid(child, os.WNOHANG)[0])
    wait_for(lambda: saved.stat().st_mtime_ns > before)
    os.close(terminal)
    assert not list(elsewhere.glob(".snakemake/locks/*"))
    assert not list(elsewhere.rglob("*.h5"))
    counts, trained = jobs(elsewhere, HERE, "out/cells.csv")
    assert (counts["train"], len(trained)) == (1, 1)
