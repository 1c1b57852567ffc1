"""The paper's own benchmarks on their real data sets (make test-data): they need the files, and minutes.

SGDNOISE_DATA names a data folder with any of MNIST/raw, cifar-10-batches-py, ptb and imagenet_subset; tests whose files are
not there are skipped. `python tests/benchmarks/test_data.py` (with SGDNOISE_DATA) makes golden_losses.json anew, for when a benchmark
is changed on purpose; its version then rises, too (see test_protocols.py).
"""

import json
import math
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sgdnoise import benchmarks
from sgdnoise.machine import datasets
from sgdnoise.study.cell import make_cell
from sgdnoise.tasks import image_folder
from sgdnoise.training import loop
from sgdnoise.training.cell import plan_of, use_device

pytestmark = pytest.mark.data

CPU = use_device("cpu", threads=1)
FOLDER = Path(os.environ.get("SGDNOISE_DATA", "data"))
GOLDEN = Path(__file__).parent / "golden_losses.json"
SAMPLE = str(Path(__file__).parent / "resnet50_imagenet_sample.py")
# Benchmark: its raw files, and the batch size and learning rate of its golden curve.
RUNS = {
    "wrn_cifar10": ("cifar-10-batches-py", 64, 0.5),
    "wrn_skipinit_cifar10": ("cifar-10-batches-py", 64, 0.25),
    "autoencoder_mnist": ("MNIST/raw", 64, 0.08),
    "lstm_ptb": ("ptb", 16, 1.4),
    "resnet_sample": ("imagenet_subset", 8, 0.1),
}


def file_of(name):
    return SAMPLE if name == "resnet_sample" else None


def loaded(name, folder=FOLDER):
    """Return a benchmark and its data, prepared in `folder`, which has the raw files."""
    benchmark = benchmarks.load(name, file_of(name))
    path = folder / f"{benchmarks.protocol(name, file_of(name))['dataset']}.npz"
    datasets.prepare(path, benchmark.arrays)
    return benchmark, (benchmark.load or datasets.load)(path, CPU)


def losses(name, num_steps=20):
    """Return the loss per example (or word) of each of the first updates of seed 0, without evaluating the network."""
    _, batch_size, lr = RUNS[name]
    benchmark, data = loaded(name)
    cell = make_cell(name, "momentum", f"steps{num_steps}", batch_size, lr, "0-0", "{}", 1, file_of(name))
    found = []

    def loss(model, batch, carry):
        total, carry = benchmark.loss(model, batch, carry)
        found.append(total.item() / batch_size / benchmark.loss_terms)
        return total, carry

    blind = replace(benchmark, loss=loss, evaluate=lambda model, data, split: {"loss": 0.0})
    loop.train(blind, data, plan_of(cell), 0, CPU)
    return found


def need(files):
    if not (FOLDER / files).is_dir():
        pytest.skip(f"no {FOLDER / files}: set SGDNOISE_DATA to a folder that has {files}")
    return FOLDER


@pytest.mark.parametrize("name", RUNS)
def test_golden_losses(name):
    """Twenty updates on real data repeat the recorded losses, and learn."""
    need(RUNS[name][0])
    found = losses(name)
    # Other processors round differently, and training amplifies it.
    np.testing.assert_allclose(found, json.loads(GOLDEN.read_text())[name], rtol=0.02)
    np.testing.assert_allclose(found[:3], json.loads(GOLDEN.read_text())[name][:3], rtol=1e-4)
    assert np.mean(found[-5:]) < found[0]


def test_cifar10():
    need("cifar-10-batches-py")
    _, data = loaded("wrn_cifar10")
    assert data["train_images"].shape == (50_000, 3, 32, 32)
    assert data["test_images"].shape == (10_000, 3, 32, 32)
    assert data["train_images"].dtype == torch.uint8
    pixels = data["train_images"].double() / 255
    assert pixels.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
    assert pixels.std(dim=(0, 2, 3)).tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=1e-4)
    assert torch.bincount(data["train_labels"]).tolist() == [5000] * 10


def test_penn_treebank():
    need("ptb")
    _, data = loaded("lstm_ptb")
    assert [len(data[f"{split}_tokens"]) for split in ("train", "valid", "test")] == [929_589, 73_760, 82_430]
    assert max(int(data[f"{split}_tokens"].max()) for split in ("train", "valid", "test")) == 9_999
    assert len(data["train_tokens"].unique()) == 10_000


def test_mnist():
    need("MNIST/raw")
    _, data = loaded("autoencoder_mnist")
    assert data["train_pixels"].shape == (60_000, 784)
    assert data["test_pixels"].shape == (10_000, 784)
    assert data["train_pixels"][:50_000].float().mean() == pytest.approx(33.3, abs=0.1)


def copied(tmp_path, files):
    shutil.copytree(need(files) / files, tmp_path / files)
    return tmp_path


def test_a_cut_off_mnist_file_is_unpacked_again(tmp_path):
    folder = copied(tmp_path, "MNIST/raw")
    file = folder / "MNIST/raw/t10k-images-idx3-ubyte"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    loaded("autoencoder_mnist", folder)
    assert file.read_bytes() == content


def test_a_damaged_pickle_of_cifar10_is_never_opened(tmp_path):
    folder = copied(tmp_path, "cifar-10-batches-py")
    (folder / "cifar-10-batches-py/data_batch_3").write_bytes(b"cpathlib\nPath\n(S'executed'\ntR.")
    with pytest.raises(ValueError, match=r"cannot read or download CIFAR-10 .*; put cifar-10-python.tar.gz there"):
        loaded("wrn_cifar10", folder)
    assert not (folder / "cifar10.npz").exists()


def test_a_damaged_text_is_not_read(tmp_path):
    folder = copied(tmp_path, "ptb")
    with open(folder / "ptb/ptb.test.txt", "a") as file:
        file.write("more words\n")
    with pytest.raises(ValueError, match=r"put ptb.test.txt \(md5 8b80168b89c18661a38ef683c0dc3721\) into"):
        loaded("lstm_ptb", folder)


def test_imagenet_says_what_to_place_where(tmp_path):
    folder = need("imagenet_subset")
    arrays = benchmarks.load("resnet50_imagenet").arrays
    with pytest.raises(
        ValueError, match=r"place the 1,281,167 images of the train split as .*imagenet/train/<class>/<name>.JPEG"
    ):
        arrays(tmp_path)
    (tmp_path / "imagenet").symlink_to((folder / "imagenet_subset").resolve())
    with pytest.raises(ValueError, match="train has 400 images in 10 classes; place the 1,281,167 images"):
        arrays(tmp_path)


def test_crops_depend_on_seed_and_place_alone():
    """Not on the number of worker processes, on where the stream starts, or on the shard; and they leave no trace."""
    need("imagenet_subset")
    benchmark, data = loaded("resnet_sample")

    def batch(start, shard, threads):
        torch.set_num_threads(threads)
        stream = benchmark.batches(data, 6, torch.Generator().manual_seed(5), start, shard)
        return [next(stream) for _ in range(3 - start)][-1]

    before = torch.get_rng_state()
    images, labels = batch(0, slice(0, 6), 2)
    assert torch.equal(torch.get_rng_state(), before)
    part, part_labels = batch(2, slice(2, 4), 1)
    torch.set_num_threads(1)
    assert torch.equal(part, images[2:4])
    assert torch.equal(part_labels, labels[2:4])


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    need("imagenet_subset")
    _, data = loaded("resnet_sample")
    broken = replace(data["train"], root=tmp_path)
    with pytest.raises(ValueError, match=r"cannot read the image .*\.JPEG"):
        next(broken.batches(iter([[(0, None)]])))


def test_center_crops_are_those_of_torchvision():
    from torchvision.transforms import v2

    image = torch.randint(256, (3, 300, 400), dtype=torch.uint8)
    expected = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])(image)
    assert torch.equal(image_folder.center_crop(image), expected)


def test_ten_updates_of_resnet50_lower_the_loss():
    need("imagenet_subset")
    found = losses("resnet_sample", 10)
    assert found[0] == pytest.approx(math.log(1000), rel=0.1)
    assert np.mean(found[-3:]) < found[0]


if __name__ == "__main__":
    json.dump({name: losses(name) for name in RUNS}, sys.stdout, indent=1)
