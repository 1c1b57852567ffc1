import copy
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OFFLINE = ["autoencoder_digits", "lstm_synthetic", "wrn_digits", "wrn_skipinit_digits"]  # benchmarks that need no download
NOISY = ["wrn_noisy_digits", "wrn_skipinit_noisy_digits"]  # nor do these; they are two of them on other images
WORKFLOW = ("Snakefile", "profiles", "slurm", "workflow", "src", "envs")  # what a study needs, besides its config


def changed(study, changes):
    """Copy a study with changes, written as {"a.b.c": value}; whole numbers are keys as YAML reads them."""
    study = copy.deepcopy(study)
    for path, value in changes.items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        entry = study
        for key in parents:
            entry = entry[key]
        entry[last] = value
    return study


def curves(path):
    """Return the bits of every curve in a result."""
    from sgdnoise.results.run import read_run

    return {metric: curve.tobytes() for metric, curve in read_run(path).curves.items()}


def without_seal(path):
    """Make a result one that was written before results began with a digest."""
    import h5py

    old = io.BytesIO()
    with h5py.File(path, "r") as file, h5py.File(old, "w") as plain:
        plain.attrs.update(file.attrs)
        for name in file:
            file.copy(name, plain)
    path.write_bytes(old.getvalue())


def lrs(paths, seeds):
    """List the learning rates of the cells with a block of seeds, in the order of their paths."""
    return [path.split("_lr")[1].split("_seeds")[0] for path in paths if path.endswith(f"seeds{seeds}.h5")]


ATTENTION = """class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 8), nn.Linear(8, 1)

    def forward(self, x):
        h = self.a(x[:, :, None])[:, None]
        return self.b(F.scaled_dot_product_attention(h, h, h)[:, 0].mean(dim=1))"""


def own_benchmark(folder, *changes):
    """Write the benchmark of own_table.py with changes of its text, (old, new), into a folder; return the file."""
    from sgdnoise import benchmarks

    text = (Path(__file__).parent / "own_table.py").read_text()
    for old, new in changes:
        new = new.replace("ATTENTION", ATTENTION)
        assert old in text
        text = text.replace(old, new)
    (folder / "own.py").write_text(text)
    for known in (benchmarks.protocol, benchmarks.depends_on):  # of the file as a test before had it
        known.cache_clear()
    return folder / "own.py"


@pytest.fixture
def needs_bfloat16():
    """Skip a benchmark that this processor cannot train in bfloat16."""
    from sgdnoise.machine import precision

    def check(name):
        if "lstm" in name and not precision.recurrent_bfloat16():
            pytest.skip("this processor has no LSTM in bfloat16: it lacks AVX-512")

    return check


@pytest.fixture(autouse=True)
def _one_thread():
    """Results repeat bitwise for equal numbers of threads."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A folder that keeps the prepared data sets of this test session."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def load(data_folder):
    """Return a benchmark's record, by default with its default settings, and its data."""
    import torch

    from sgdnoise import benchmarks
    from sgdnoise.machine import datasets

    def get(name, **settings):
        path = data_folder / f"{benchmarks.protocol(name)['dataset']}.npz"
        benchmark = benchmarks.load(name, settings=settings)
        datasets.prepare(path, benchmark.arrays)
        return benchmark, (benchmark.load or datasets.load)(path, torch.device("cpu"))

    return get


@pytest.fixture
def workflow_folder(tmp_path):
    """A folder with the workflow, for a study of its own; it still needs a config.yaml."""
    for name in WORKFLOW:
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def sgdnoise():
    """Run the command line in a process of its own."""

    def run(*arguments, cwd=ROOT, check=True):
        command = [sys.executable, "-m", "sgdnoise", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def study(tmp_path):
    """A config whose every cell has a made-up result."""
    from made_up import WRN_STUDY, made_up_wrn

    from sgdnoise.results.run import write_run
    from sgdnoise.study import grid
    from sgdnoise.study.config import validate

    config = validate(WRN_STUDY | {"results": str(tmp_path / "results")})
    for cell in grid.cells(config):
        write_run(Path(config["results"]) / cell.path, made_up_wrn(cell))
    return config
