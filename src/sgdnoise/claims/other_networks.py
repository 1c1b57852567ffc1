"""Claims about the constant epoch budget of the autoencoder, the LSTM and ResNet-50. Numbers: ICLR v5; tolerances: `contrasts.py`."""

from functools import partial

from sgdnoise.claims.contrasts import (
    AUTOENCODER,
    HALF_OCTAVE,
    IMAGENET,
    LSTM,
    MOMENTUM,
    OCTAVE,
    POINT,
    SGD,
    Claim,
    combine,
    excess,
    flat,
    follows,
    gap,
    level,
    rise,
    slope,
)

claim = partial(Claim, mode="constant_epoch")
LSTM_BATCHES = [1, 2, 4, 8, 16, 32, 64]

CLAIMS = [
    claim(
        "15",
        LSTM,
        statement="The LSTM is an exception: its optimal learning rate grows with the square root of the batch size.",
        source="fig. 7c",
        quantity="exponent of the optimal learning rate in the batch size on 1..64",
        paper="0.5 (SGD and momentum)",
        rule="their mean 0.5 within one grid step (half an octave) over the range, each within one octave, so not 1",
        contrasts=combine(
            "slope of log2 test-optimal lr, mean of SGD and momentum",
            [(0.5, slope(name, LSTM_BATCHES, 0.5, 0)) for name in (SGD, MOMENTUM)],
            0.5 - HALF_OCTAVE / 6,
            0.5 + HALF_OCTAVE / 6,
        )
        + [c for name in (SGD, MOMENTUM) for c in slope(name, LSTM_BATCHES, 0.5, OCTAVE / 6)],
        evidence="The optimal learning rate grows with the square root of the batch size.",
        scale_free=lambda b: follows(MOMENTUM, b, 0.5, HALF_OCTAVE),
    ),
    claim(
        "16",
        AUTOENCODER,
        statement="For the autoencoder momentum helps from small batches on, as SGD's learning rate stops growing early.",
        source="fig. 6a, 6c",
        quantity="SGD's test error minus momentum's; exponents of the optimal learning rate",
        paper="0.25 at 32 and 0.43 at 64, at most 0.02 up to 4; 1 on 1..16 (SGD) and 1..128 (momentum)",
        rule="at least half of the paper's; within 0.05 up to 4; exponents within one octave over the range",
        contrasts=gap("error", SGD, MOMENTUM, [32], 0.25 / 2)
        + gap("error", SGD, MOMENTUM, [64], 0.43 / 2)
        + gap("error", SGD, MOMENTUM, [1, 2, 4], -0.05, 0.05)
        + slope(SGD, [1, 2, 4, 8, 16], 1, OCTAVE / 4)
        + slope(MOMENTUM, [1, 2, 4, 8, 16, 32, 64, 128], 1, OCTAVE / 7),
        evidence="At the largest batch size, momentum has the lower test error.",
        scale_free=lambda b: gap("error", SGD, MOMENTUM, b[-1:], 0),
    ),
    claim(
        "17",
        IMAGENET,
        statement="On ImageNet momentum scales to batch size 4096 by a proportional learning rate, SGD does not.",
        source="table 3",
        quantity="momentum's exponent and range of accuracy on 256..4096; SGD's learning rates and fall of accuracy",
        paper="1, 0.002; learning rates 1, 4, 8, fall 0.009",
        rule="exponent within one octave over the range, accuracy within 0.002 + 0.001 (authors' noise); learning rates within"
        " one octave, fall at least half of the paper's; the paper has single runs, so its own table leaves it open",
        contrasts=slope(MOMENTUM, [256, 1024, 4096], 1, OCTAVE / 4)
        + flat("error", MOMENTUM, [256, 1024, 4096], 0.002 + POINT)
        + level("lr", SGD, {256: 1, 1024: 4, 4096: 8}, OCTAVE)
        + rise("error", SGD, 256, 4096, 0.009 / 2),
        evidence="From the smallest to the largest batch, SGD gets worse by more than momentum.",
        scale_free=lambda b: rise("error", SGD, b[0], b[-1], 0) + excess("error", SGD, MOMENTUM, b[0], b[-1], 0),
        short="runs are single, so their spread is not known",
    ),
]
