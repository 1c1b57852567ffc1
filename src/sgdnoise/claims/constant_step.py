"""Claims about the constant step budget. Numbers: ICLR v5; tolerances: `contrasts.py`."""

from functools import partial
from math import log2

from sgdnoise.claims.contrasts import (
    AUTOENCODER,
    LSTM,
    MOMENTUM,
    OCTAVE,
    POINT,
    SKIPINIT,
    WRN,
    Claim,
    Contrast,
    falls,
    flat,
    level,
    rise,
    slope,
)

claim = partial(Claim, mode="constant_step")


def worse_though_fitted(swept: list[int]) -> list[Contrast]:
    """Claim that the largest batch has the worse test metric, although its train loss is lower."""
    return rise("error", MOMENTUM, swept[0], swept[-1], 0) + rise("train", MOMENTUM, swept[0], swept[-1], high=0)


def grows_slowly(swept: list[int]) -> list[Contrast]:
    """Claim that the optimal learning rate grows by half an octave less than the batch size; by half of its growth if that is less."""
    growth = log2(swept[-1] / swept[0])
    return rise("lr", MOMENTUM, swept[0], swept[-1], 0, growth - min(OCTAVE / 2, growth / 2))


noise_claim = partial(
    claim,
    evidence="At equal updates the largest batch generalises worse than the smallest and has the lower train loss.",
    scale_free=worse_though_fitted,
)

CLAIMS = [
    noise_claim(
        "8",
        WRN,
        statement="At equal updates a very large batch generalises worse although it trains to a lower loss.",
        source="table 1",
        quantity="fall of accuracy from batch size 4096 to 16384; train loss at 1024, 4096, 16384",
        paper="0.022; 0.107 > 0.025 > 0.019",
        rule="fall of accuracy and both falls of the loss at least half of the paper's",
        contrasts=rise("error", MOMENTUM, 4096, 16384, 0.022 / 2)
        + falls("train", MOMENTUM, [1024, 4096, 16384], [0.082 / 2, 0.006 / 2]),
    ),
    claim(
        "8b",
        WRN,
        statement="At equal updates, accuracy at batch size 16384 is 2.2 points (or 1.9) below that at 4096.",
        source="table 1; introduction, sec. 4",
        quantity="fall of accuracy from batch size 4096 to 16384",
        paper="0.022 (table) or 0.019 (text)",
        rule="between the two, each with 0.001 (authors' noise)",
        contrasts=rise("error", MOMENTUM, 4096, 16384, 0.019 - POINT, 0.022 + POINT),
        doubt="table 1 and the conclusion have 92.5 %, the introduction and sec. 4 have 92.8 %",
    ),
    claim(
        "9",
        WRN,
        statement="At equal updates the optimal learning rate grows more slowly than the batch size.",
        source="table 1",
        quantity="exponent of the optimal learning rate in the batch size on 1024..16384",
        paper="0.5",
        rule="0.5 within one octave over the range, so below 1",
        contrasts=slope(MOMENTUM, [1024, 4096, 16384], 0.5, OCTAVE / 4),
        evidence="At equal updates the optimal learning rate grows more slowly than the batch size.",
        scale_free=grows_slowly,
    ),
    noise_claim(
        "10",
        SKIPINIT,
        statement="The same without batch norm: accuracy falls at the largest batch, the train loss falls throughout.",
        source="table 2",
        quantity="accuracy and train loss at batch sizes 64, 256, 1024",
        paper="94.4, 94.4, 93.8 %; 0.192 > 0.071 > 0.028",
        rule="64 to 256 within 0.0015 + 0.001; the falls at least half of the paper's",
        contrasts=flat("error", MOMENTUM, [64, 256], 0.0015 + POINT)
        + rise("error", MOMENTUM, 256, 1024, 0.006 / 2)
        + falls("train", MOMENTUM, [64, 256, 1024], [0.121 / 2, 0.043 / 2]),
    ),
    noise_claim(
        "11a",
        LSTM,
        statement="The same for the LSTM: test perplexity rises with the batch while train perplexity falls.",
        source="table 5",
        quantity="test and train perplexity at batch sizes 64, 128, 256",
        paper="81.7 < 86.0 < 92.2; 23.3 > 21.2 > 15.7",
        rule="each step at least half of the paper's",
        contrasts=rise("error", MOMENTUM, 64, 128, 4.37 / 2)
        + rise("error", MOMENTUM, 128, 256, 6.15 / 2)
        + falls("train", MOMENTUM, [64, 128, 256], [2.09 / 2, 5.42 / 2]),
        short="within half an octave of the optimum at batch size 64 the paper's train perplexity changes by more than the step asked for",
    ),
    claim(
        "11b",
        AUTOENCODER,
        statement="For the autoencoder at equal updates the effect is weak, and the optimal learning rate constant.",
        source="table 4",
        quantity="rise of the test error from batch size 64 to 4096; optimal learning rates",
        paper="0.07 (2.91 to 2.98); 0.08 at all",
        rule="between half and double of the paper's; learning rates within one octave",
        contrasts=rise("error", MOMENTUM, 64, 4096, 0.07 / 2, 0.07 * 2)
        + level("lr", MOMENTUM, dict.fromkeys((64, 256, 1024, 4096), 0.08), OCTAVE),
        evidence="At equal updates the optimal learning rate is the same for the smallest and the largest batch.",
        scale_free=lambda b: rise("lr", MOMENTUM, b[0], b[-1], -OCTAVE, OCTAVE),
    ),
]
