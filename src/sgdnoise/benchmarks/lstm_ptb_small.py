"""A small sibling of the paper's LSTM: the first words of the Penn Treebank, frequent words only, for hours on a CPU."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sgdnoise.benchmarks import Benchmark, Settings, module
from sgdnoise.machine import datasets
from sgdnoise.networks.lstm import LSTMLanguageModel
from sgdnoise.tasks import language_model

PROTOCOL = {
    "version": 1,
    "title": "2-layer LSTM of width 64, Penn Treebank ({num_train:,} train and 20,000 test words, 1,000 distinct)",
    "sibling_of": "lstm_ptb",
    "dataset": "ptb",
    "num_train": 16_384,  # our choice, the first: few, so that they can be read often
    "num_test": 20_000,  # our choice, the first: an evaluation takes as long as an epoch
    "train_flops": 777_216,  # per word
    "unroll": 16,  # our choice: the paper's 35 scaled to a shorter text
    "lr_grid": {"anchor": 1, "ratio": 1.4142135623730951},  # factor sqrt 2 (ICLR v5 fig. 7c, table 5)
    "metrics": {"test_perplexity": "min", "train_perplexity": "min", "train_objective": "min"},
    "settings": {"num_train": {"default": 16_384, "from": 64, "to": 929_589}},
}

NUM_TEST, UNROLL = (int(PROTOCOL[key]) for key in ("num_test", "unroll"))  # type: ignore[call-overload]
NUM_WORDS = 1000  # our choice: the most frequent of all training words, the last of them standing for every other
WIDTH, NUM_LAYERS = 64, 2  # the paper has 2 x 650
DROPOUT = 0.5  # ICLR v5 App. E
INIT_SCALE = 0.16  # our choice: the paper's 0.05 of width 650, scaled by sqrt(650 / 64)
CLIP_NORM = 5.0  # ICLR v5 App. E; on the loss summed over time (TF PTB tutorial)


def load(path: Path, device: torch.device, num_train: int) -> dict[str, Tensor]:
    """Read the first words of the text, (N,), numbered by their frequency; a word that is not among the most frequent is the last."""
    data = datasets.load(path, device)
    counts = torch.bincount(data["train_tokens"].long(), minlength=module("lstm_ptb").NUM_WORDS)
    rank = counts.argsort(descending=True, stable=True).argsort()
    number = rank.clamp(max=NUM_WORDS - 1)
    return {
        f"{split}_tokens": number[data[f"{split}_tokens"][:end].long()]
        for split, end in (("train", num_train), ("test", NUM_TEST))
    }


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    return Benchmark(
        arrays=module("lstm_ptb").arrays,
        load=partial(load, num_train=settings["num_train"]),
        build=partial(LSTMLanguageModel, NUM_WORDS, WIDTH, NUM_LAYERS, DROPOUT, INIT_SCALE),
        batches=partial(language_model.batches, unroll=UNROLL),
        loss=language_model.loss,
        sampled_loss=language_model.sampled_loss,
        evaluate=partial(language_model.evaluate, unroll=UNROLL),
        clip_norm=CLIP_NORM,
        loss_terms=UNROLL,
    )
