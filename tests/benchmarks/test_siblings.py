"""The data of the laptop siblings."""

import numpy as np
import pytest
import torch

from sgdnoise import benchmarks


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
