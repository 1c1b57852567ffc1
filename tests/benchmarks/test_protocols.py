"""The numbers of every shipped benchmark belong to the version in its PROTOCOL (docs/architecture.md says when to raise it).

A few updates of each, on data of its own or made up in the shape of it, repeat what golden_protocols.json has for that version.
`PYTHONPATH=tests python tests/benchmarks/test_protocols.py` records versions that are not there yet; it changes none that is.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import NOISY, OFFLINE

from sgdnoise import benchmarks
from sgdnoise.machine import datasets
from sgdnoise.study.cell import make_cell
from sgdnoise.tasks import image_folder
from sgdnoise.training import loop
from sgdnoise.training.cell import plan_of, use_device

GOLDEN = Path(__file__).parent / "golden_protocols.json"
LR = {"wrn": 2.0, "autoencoder": 0.64, "lstm": 16.0, "resnet50": 1.0}  # large: what an update changes is to be seen
NUM_TRAIN, NUM_TEST = 16, 8  # examples of made-up data


def made_up(name, folder):
    """Return arrays in the shape of a benchmark's data that is not here."""
    random = np.random.default_rng(0)
    if name.startswith("lstm_ptb"):
        return {f"{split}_tokens": random.integers(10_000, size=300).astype(np.int32) for split in ("train", "valid", "test")}
    if name == "resnet50_imagenet":
        return image_files(random, folder)
    shape, key = ((784,), "pixels") if name == "autoencoder_mnist" else ((3, 32, 32), "images")
    made = {}
    for split, number in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        made[f"{split}_{key}"] = random.integers(256, size=(number, *shape)).astype(np.uint8)
        made[f"{split}_labels"] = random.integers(10, size=number)
    return made


def image_files(random, folder):
    from PIL import Image

    for split, number in (("train", NUM_TRAIN), ("val", NUM_TEST)):
        for index in range(number):
            path = folder / "imagenet" / split / f"class{index % 2}" / f"{index}.png"  # without loss, unlike JPEG
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(256, size=(256, 256, 3)).astype(np.uint8)).save(path)
    return image_folder.index(folder / "imagenet", {"train": NUM_TRAIN, "val": NUM_TEST})


def measured(name, folder):
    """Train four updates of seed 0, evaluated twice; return every metric."""
    device = use_device("cpu", threads=1)
    settings = {"num_train": NUM_TRAIN} if name == "autoencoder_mnist" else {}
    benchmark = benchmarks.load(name, settings=settings)
    if name not in OFFLINE + NOISY:
        benchmark = replace(benchmark, arrays=lambda folder: made_up(name, folder))
    path = folder / f"{benchmarks.protocol(name)['dataset']}.npz"
    datasets.prepare(path, benchmark.arrays)
    data = (benchmark.load or datasets.load)(path, device)
    batch_size = 32 if name in OFFLINE + NOISY else 4
    cell = make_cell(name, "momentum", "steps4", batch_size, LR[name.split("_")[0]], "0-0", json.dumps(settings), 2, None)
    curves = loop.train(benchmark, data, plan_of(cell), 0, device)
    return {metric: [row[metric] for row in curves.rows] for metric in curves.rows[0]}


def marked(name):
    return pytest.param(name, marks=pytest.mark.slow) if name == "resnet50_imagenet" else name


@pytest.mark.parametrize("name", [marked(name) for name in benchmarks.names()])
def test_the_numbers_are_those_of_the_version(name, tmp_path):
    version, recorded = benchmarks.protocol(name)["version"], json.loads(GOLDEN.read_text())[name]
    remedy = f'the results of {name} change: if that is meant, write "version": {version + 1} into its PROTOCOL and run this file'
    assert str(version) in recorded, f"record the new version of {name}: run this file"
    found = measured(name, tmp_path)
    assert found.keys() == recorded[str(version)].keys(), remedy
    for metric, values in recorded[str(version)].items():
        # Other processors round differently.
        np.testing.assert_allclose(found[metric], values, rtol=1e-4, atol=1e-6, err_msg=f"{metric}: {remedy}")


def test_the_newest_version_is_the_shipped_one():
    recorded = json.loads(GOLDEN.read_text())
    assert {name: max(map(int, versions)) for name, versions in recorded.items()} == {
        name: benchmarks.protocol(name)["version"] for name in benchmarks.names()
    }


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for benchmark in benchmarks.names():
        with TemporaryDirectory() as temporary:
            versions = golden.setdefault(benchmark, {})
            if (now := str(benchmarks.protocol(benchmark)["version"])) not in versions:
                versions[now] = measured(benchmark, Path(temporary))
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
