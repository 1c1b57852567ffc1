"""The data of the laptop siblings."""

import numpy as np
import pytest
import torch

from sgdnoise import benchmarks
from sgdnoise.benchmarks._protocol import PAPERS
from sgdnoise.claims.paper import paper_table
from sgdnoise.study.cell import make_cell


def test_digits_split_is_fixed_and_stratified(load):
    _, data = load("wrn_digits")
    assert data["train_images"].shape == (1024, 1, 8, 8)
    assert data["test_images"].shape == (773, 1, 8, 8)
    assert data["train_images"].max() == 16
    counts = torch.bincount(data["train_labels"])
    assert counts.min() >= 99
    assert counts.max() <= 105
    assert data["train_labels"][:8].tolist() == benchmarks.load("wrn_digits").arrays(None)["train_labels"][:8].tolist()


def test_entropy_rate_is_that_of_the_source():
    """The true model's cross-entropy on a long text of the source agrees within four standard errors."""
    source = benchmarks.module("lstm_synthetic")
    probabilities, next_state = source.source()
    random, state, surprises = np.random.default_rng(0), 0, []
    for _ in range(20_000):
        word = random.choice(len(probabilities[0]), p=probabilities[state])
        surprises.append(-np.log(probabilities[state, word]))
        state = next_state[state, word]
    error = np.std(surprises) / len(surprises) ** 0.5
    assert np.mean(surprises) == pytest.approx(source.entropy_rate(probabilities, next_state), abs=4 * error)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wrn_digits", "images"),
        ("wrn_noisy_digits", "images"),
        ("wrn_skipinit_digits", "images"),
        ("autoencoder_digits", "pixels"),
    ],
)
def test_digits_that_are_not_trained_on_are_tested_on(name, kind, load):
    _, data = load(name, num_train=1024)
    _, few = load(name, num_train=100)
    assert torch.equal(few[f"train_{kind}"], data[f"train_{kind}"][:100])
    assert torch.equal(few[f"test_{kind}"], torch.cat([data[f"train_{kind}"][100:], data[f"test_{kind}"]]))


def test_the_noise_of_digits_is_part_of_the_images(load):
    sd = benchmarks.module("wrn_noisy_digits").NOISE
    for name in ("wrn_noisy_digits", "wrn_skipinit_noisy_digits"):
        assert f"noise of s.d. {sd} " in benchmarks.protocol(name)["title"]
    _, clean = load("wrn_digits", num_train=64)
    benchmark, noisy = load("wrn_noisy_digits")
    for split in ("train", "test"):
        assert torch.equal(noisy[f"{split}_labels"], clean[f"{split}_labels"])
        noise = noisy[f"{split}_images"] - clean[f"{split}_images"]
        assert noise.mean() == pytest.approx(0, abs=0.3)
        assert noise.std() == pytest.approx(sd, rel=0.02)
    batches = benchmark.batches(noisy, 64, torch.Generator().manual_seed(0), 0, slice(None))
    epochs = [{image.numpy().tobytes() for image in next(batches)[0]} for _ in range(2)]
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) == 64


def test_without_augmentation_images_are_as_they_are(load):
    benchmark, data = load("wrn_digits", augment=False)
    augmented, _ = load("wrn_digits")
    normalize = benchmarks.module("wrn_digits").normalize
    (images, labels), (moved, same_labels) = (
        next(one.batches(data, 64, torch.Generator().manual_seed(0), 0, slice(None))) for one in (benchmark, augmented)
    )
    originals = {image.numpy().tobytes() for image in normalize(data["train_images"])}
    assert all(image.numpy().tobytes() in originals for image in images)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(images, moved)


def test_a_text_may_be_cut(load):
    _, data = load("lstm_synthetic")
    _, few = load("lstm_synthetic", num_train=500)
    assert torch.equal(few["train_tokens"], data["train_tokens"][:500])
    assert torch.equal(few["test_tokens"], data["test_tokens"])


def test_what_is_offered_since_results_were_shipped_is_no_part_of_their_identity():
    """At its default; the settings of a cell that was trained before are these."""
    cell = make_cell("wrn_digits", "sgd", "epochs1", 32, 1.0, "0-0", '{"num_train": 1024, "ghost_batch": 8}', 1, None)
    before = {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0, "norm_decay": 0.9, "norm_eps": 1e-5}
    assert cell.spec["settings"] == before
    few = make_cell("wrn_digits", "sgd", "epochs1", 32, 1.0, "0-0", '{"num_train": 64, "augment": false}', 1, None)
    assert few.spec["settings"] == before | {"num_train": 64, "augment": False}
    assert few.num_steps == 2


def test_small_cifar10_is_shrunk(tmp_path):
    """To the means of 2 x 2 pixels; of the training images there are the first, of the test images all."""
    random = np.random.default_rng(0)
    arrays = {f"{split}_images": random.integers(256, size=(5, 3, 32, 32)).astype(np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "cifar10.npz", **arrays, train_labels=np.arange(5), test_labels=np.arange(5))
    small = benchmarks.load("wrn_cifar10_small", settings={"num_train": 3})
    data = small.load(tmp_path / "cifar10.npz", torch.device("cpu"))
    assert data["train_images"].shape == (3, 3, 16, 16)
    assert data["test_images"].shape == (5, 3, 16, 16)
    assert data["train_labels"].tolist() == [0, 1, 2]
    assert int(data["test_images"][4, 2, 1, 0]) == round(float(arrays["test_images"][4, 2, 2:4, :2].mean()))


def test_small_penn_treebank_keeps_frequent_words(tmp_path):
    """Words have numbers by their frequency; all that are not frequent have the last."""
    train = np.repeat(np.arange(1500), 3)
    train = np.concatenate([train, np.full(9, 7), np.full(5, 3)]).astype(np.int16)
    np.savez(tmp_path / "ptb.npz", train_tokens=train, test_tokens=np.array([7, 3, 0, 1499], np.int16))
    small = benchmarks.load("lstm_ptb_small", settings={"num_train": 100})
    data = small.load(tmp_path / "ptb.npz", torch.device("cpu"))
    assert data["test_tokens"].tolist() == [0, 1, 2, 999]
    assert len(data["train_tokens"]) == 100


def test_siblings_are_of_benchmarks_of_the_paper():
    siblings = {name for name in benchmarks.names() if "sibling_of" in benchmarks.protocol(name)}
    assert set(PAPERS) == set(benchmarks.names()) - siblings == set(paper_table()["benchmark"])
