"""Names that are no names, files that would rather be programs, servers that send something else, and secrets."""

import io
import os
import pickle
import subprocess
import sys
import urllib.request

import h5py
import numpy as np
import pytest
import yaml
from conftest import ROOT

from sgdnoise import benchmarks
from sgdnoise.machine import datasets
from sgdnoise.results.run import read_run
from sgdnoise.study.cell import make_cell
from sgdnoise.study.config import validate

HOSTILE = ["../../evil", "a; touch pwned", "$(touch pwned)", "`touch pwned`", "a/b", "A", "", "a\nb", "-rf", "{input}"]


def study(name="autoencoder_digits", **more):
    entry = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {"512": [0.08, 0.08]}}}
    return {"evaluations": 1, "benchmarks": {name: entry}} | more


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_benchmarks_are_refused(name, tmp_path):
    (tmp_path / "evil.py").write_text("PROTOCOL = {}")
    with pytest.raises(ValueError, match="config: benchmarks: unknown key"):
        validate(study(name))
    for file in (None, str(tmp_path / "evil.py")):
        with pytest.raises(ValueError, match="is not the name of a benchmark"):
            benchmarks.protocol(name, file)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", ["optimizer", "budget", "seeds"])
def test_hostile_identities_of_cells_are_refused(name, field):
    options = {
        "benchmark": "autoencoder_digits",
        "optimizer": "sgd",
        "budget": "steps1",
        "batch_size": 8,
        "lr": 0.1,
        "seeds": "0-0",
    }
    with pytest.raises(ValueError, match="unknown optimizer|write epochsN|write first-last"):
        make_cell(**(options | {field: name}), settings="{}", evaluations=1, file=None)


@pytest.mark.parametrize("key", ["results", "data"])
def test_folders_that_snakemake_would_misread_are_refused(key):
    with pytest.raises(ValueError, match=f"config: {key}: .* no braces or control characters"):
        validate(study(**{key: "a{b}"}))


@pytest.mark.workflow
def test_hostile_folders_and_files_are_only_names(workflow_folder):
    """The whole workflow on folders and a benchmark's file whose names are shell code: they are quoted everywhere.

    What is written is ours, and does not tell what the environment holds.
    """
    evil = "a b;touch pwned;$(touch pwned)'\""
    shipped = (ROOT / "src/sgdnoise/benchmarks/autoencoder_digits.py").read_text()
    (workflow_folder / f"{evil}.py").write_text(shipped)
    config = study(
        "mine", results=f"results {evil}", data=f"data {evil}", figures={"folder": f"figures {evil}", "formats": ["png"]}
    )
    config["benchmarks"]["mine"]["file"] = f"{evil}.py"
    (workflow_folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--", f"results {evil}/optimum.csv"]
    environment = os.environ | {"WANDB_API_KEY": "tell-nobody"}
    done = subprocess.run(command, cwd=workflow_folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (workflow_folder / f"results {evil}" / "optimum.csv").exists()
    assert not list(workflow_folder.rglob("pwned"))
    written = [file for file in workflow_folder.rglob("*") if file.is_file()]
    assert len(written) > 10
    assert {file.stat().st_uid for file in written} == {os.getuid()}
    assert not [file for file in written if b"tell-nobody" in file.read_bytes()]
    assert "tell-nobody" not in done.stdout + done.stderr


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


def test_results_and_data_execute_nothing(tmp_path, capsys):
    """A pickle in the place of a result, in an HDF5 file and in a data file. Checkpoints: see test_checkpoint.py."""
    (tmp_path / "a.h5").write_bytes(pickle.dumps(Payload()))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["layout"] = np.void(pickle.dumps(Payload()))
    for name in ("a.h5", "b.h5"):
        with pytest.raises(ValueError, match="corrupt or not a result|not a result of this version"):
            read_run(tmp_path / name)
    np.savez(tmp_path / "c.npz", a=np.array([Payload()], dtype=object))
    with pytest.raises(ValueError, match="is corrupt"):
        datasets.load(tmp_path / "c.npz", "cpu")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["autoencoder_mnist", "lstm_ptb", "wrn_cifar10"])
def test_downloads_are_checked_and_over_tls(name, tmp_path, monkeypatch):
    """A server that sends a pickle in place of each file: it is refused unopened, and never asked without TLS."""
    asked = []

    def urlopen(request, *args, **kwargs):
        asked.append(getattr(request, "full_url", request))
        answer = io.BytesIO(pickle.dumps(Payload()))
        answer.url, answer.length = asked[-1], None
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr("builtins.print", lambda *words, **_: pytest.fail("executed") if words == ("executed",) else None)
    with pytest.raises(ValueError, match="cannot (read or )?download"):
        datasets.prepare(tmp_path / "a.npz", benchmarks.load(name).arrays)
    assert asked
    assert all(url.startswith("https://") for url in asked)
    assert not (tmp_path / "a.npz").exists()
