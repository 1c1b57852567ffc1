"""A small sibling of the paper's LSTM, on text from a seeded source whose entropy rate is known.

The source is a probabilistic automaton: in each hidden state words have Zipf's frequencies over an order of the
vocabulary of the state's own, and state and word together determine the next state. So the state is a function of the
past, and the entropy rate is exactly the mean entropy of a state's words under the stationary distribution.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.machine import datasets
from sgdnoise.networks.lstm import LSTMLanguageModel
from sgdnoise.tasks import language_model

PROTOCOL = {
    "version": 1,
    "title": "2-layer LSTM, text of a seeded source ({num_train:,} train and 4,096 test words, 50 distinct)",
    "sibling_of": "lstm_ptb",
    "dataset": "synthetic_text",
    "num_train": 8192,
    "num_test": 4096,
    "train_flops": 107_904,  # per word
    "unroll": 16,  # our choice: the paper's 35 scaled to a shorter text
    "lr_grid": {"anchor": 1, "ratio": 1.4142135623730951},  # factor sqrt 2 (ICLR v5 fig. 7c, table 5)
    "metrics": {"test_perplexity": "min", "train_perplexity": "min", "train_objective": "min"},
    "settings": {
        "num_train": {"default": 8192, "from": 64, "to": 8192}
    },  # the first words; few and read often, they are overfitted
    "later": ["num_train"],
}
NUM_TRAIN, NUM_TEST, UNROLL = (int(PROTOCOL[key]) for key in ("num_train", "num_test", "unroll"))  # type: ignore[call-overload]
NUM_WORDS, NUM_STATES = 50, 4  # our choice: learnable within seconds
ZIPF_EXPONENT = 1.5
SOURCE_SEED = 2020
WIDTH, NUM_LAYERS = 32, 2  # the paper has 2 x 650
DROPOUT = 0.5  # ICLR v5 App. E
INIT_SCALE = 0.225  # our choice: the paper's 0.05 of width 650, scaled by sqrt(650 / 32)
CLIP_NORM = 5.0  # ICLR v5 App. E; on the loss summed over time (TF PTB tutorial)


def source() -> tuple[np.ndarray, np.ndarray]:
    """Return the source: word probabilities (NUM_STATES, NUM_WORDS) and the next state of each state and word."""
    random = np.random.default_rng(SOURCE_SEED)
    zipf = np.arange(1, NUM_WORDS + 1) ** -ZIPF_EXPONENT
    probabilities = np.stack([random.permutation(zipf / zipf.sum()) for _ in range(NUM_STATES)])
    return probabilities, random.integers(NUM_STATES, size=(NUM_STATES, NUM_WORDS))


def entropy_rate(probabilities: np.ndarray, next_state: np.ndarray) -> float:
    """Return the entropy rate, nats per word, of a source (see `source`): exact, not estimated.

    >>> fair_coin = np.array([[0.5, 0.5]])
    >>> bool(np.isclose(entropy_rate(fair_coin, np.array([[0, 0]])), np.log(2)))
    True
    """
    num_states = len(probabilities)
    transition = np.zeros((num_states, num_states))
    for state in range(num_states):
        np.add.at(transition[state], next_state[state], probabilities[state])
    # The stationary distribution solves p T = p, sum p = 1.
    equations = np.vstack([transition.T - np.eye(num_states), np.ones(num_states)])
    stationary = np.linalg.lstsq(equations, np.append(np.zeros(num_states), 1.0), rcond=None)[0]
    return float(stationary @ -(probabilities * np.log(probabilities)).sum(axis=1))


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Generate the text: words as int32, train and test one after the other, and the entropy rate."""
    probabilities, next_state = source()
    random = np.random.default_rng([SOURCE_SEED, 1])
    uniform = random.random(NUM_TRAIN + NUM_TEST)
    cumulative = probabilities.cumsum(axis=1) / probabilities.sum(axis=1, keepdims=True)
    words, state = np.empty(len(uniform), np.int32), 0
    for position, draw in enumerate(uniform):
        words[position] = word = np.searchsorted(cumulative[state], draw, side="right")
        state = next_state[state, word]
    train, test = np.split(words, [NUM_TRAIN])
    return {"train_tokens": train, "test_tokens": test, "entropy_rate": np.array(entropy_rate(probabilities, next_state))}


def bounds(data: dict[str, Tensor]) -> dict[str, float]:
    """Return the perplexity that knowing the source reaches on endless text."""
    return {"test_perplexity": float(data["entropy_rate"].exp())}


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    first = settings["num_train"]

    def load(path: Path, device: torch.device) -> dict[str, Tensor]:
        data = datasets.load(path, device)
        return data | {"train_tokens": data["train_tokens"][:first]}

    return Benchmark(
        arrays=arrays,
        load=load,
        build=partial(LSTMLanguageModel, NUM_WORDS, WIDTH, NUM_LAYERS, DROPOUT, INIT_SCALE),
        batches=partial(language_model.batches, unroll=UNROLL),
        loss=language_model.loss,
        sampled_loss=language_model.sampled_loss,
        evaluate=partial(language_model.evaluate, unroll=UNROLL),
        bounds=bounds,
        clip_norm=CLIP_NORM,
        loss_terms=UNROLL,
    )
