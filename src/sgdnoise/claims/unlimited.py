"""Claims about the epoch sweep at one batch size. Numbers: ICLR v5; tolerances: `contrasts.py`."""

from functools import partial
from math import inf

from sgdnoise.claims.contrasts import (
    AUTOENCODER,
    HALF_OCTAVE,
    LSTM,
    MOMENTUM,
    OCTAVE,
    POINT,
    SKIPINIT,
    WRN,
    Claim,
    Contrast,
    combine,
    falls,
    flat,
    rise,
    trend,
)

claim = partial(Claim, mode="unlimited")
EPOCHS = [50, 100, 200, 400, 800, 1600, 3200, 6400]  # of the Wide-ResNets
LSTM_EPOCHS = [10, 14, 20, 28, 40, 56, 80, 112, 160]
AUTOENCODER_EPOCHS = [50, 70, 100, 140, 200, 280, 400, 560, 800, 1120]


def lead(first: int, last: int, low: float = -inf, high: float = inf) -> list[Contrast]:
    """Compare how the test-optimal and the train-optimal learning rate change with the epochs."""
    ends = [(weight, rise(quantity, MOMENTUM, first, last)) for weight, quantity in ((1, "lr"), (-1, "train_lr"))]
    return combine(f"change of log2 lr from {first} to {last}, test-optimal minus train-optimal", ends, low, high)


def keeps_falling(epochs: list[int]) -> list[Contrast]:
    """Claim that the best train loss falls with every longer budget."""
    return falls("best_train", MOMENTUM, epochs, [0] * (len(epochs) - 1))


loss_claim = partial(claim, evidence="The best train loss falls with every longer budget.", scale_free=keeps_falling)
lr_claim = partial(
    claim,
    source="fig. 2",
    quantity="change of both optimal learning rates from 50 to 6400 epochs along a line through all of them, in octaves",
    evidence="With longer training the train-optimal learning rate falls more, or rises less, than the test-optimal one.",
    scale_free=lambda epochs: lead(epochs[0], epochs[-1], OCTAVE / 2),
)


def changes(epochs: list[int], test: tuple[float, float], train: float, tolerance: float = OCTAVE) -> list[Contrast]:
    """Claim by how many octaves both optimal learning rates change along their lines; `test` is a range."""
    ends = (("lr", *test), ("train_lr", train, train))
    return [c for name, least, most in ends for c in trend(name, MOMENTUM, epochs, least - tolerance, most + tolerance)]


CLAIMS = [
    loss_claim(
        "12a",
        WRN,
        statement="With batch norm, accuracy saturates with longer training while the train loss keeps falling.",
        source="fig. 2",
        quantity="range of accuracy on 800..6400 epochs; its gain from 50 to 800; best train losses",
        paper="0.0007; 0.0144; 0.225 down to 0.003",
        rule="every pair within 2 x 0.0005 + 0.001 (authors' noise); gain at least half of the paper's; strictly decreasing",
        contrasts=flat("error", MOMENTUM, EPOCHS[4:], 0.001 + POINT)
        + rise("error", MOMENTUM, 50, 800, high=-0.0144 / 2)
        + keeps_falling(EPOCHS),
    ),
    loss_claim(
        "12b",
        SKIPINIT,
        statement="Without batch norm, accuracy has its peak at a finite budget while the train loss keeps falling.",
        source="fig. 2",
        quantity="gain of accuracy from 50 to 400 epochs; its fall from 400 to 6400; best train losses",
        paper="0.0206; 0.0098; 0.345 down to 0.0175",
        rule="gain and fall at least half of the paper's; strictly decreasing",
        contrasts=rise("error", MOMENTUM, 50, 400, high=-0.0206 / 2)
        + rise("error", MOMENTUM, 400, 6400, 0.0098 / 2)
        + keeps_falling(EPOCHS),
    ),
    lr_claim(
        "13a",
        WRN,
        statement="With batch norm, the test-optimal learning rate hardly depends on the budget, the train-optimal one falls.",
        paper="-1.3 (test), -4.6 (train); at the ends -1 and -4",
        rule="each within one octave; test between level and the paper's by the claim itself",
        contrasts=changes(EPOCHS, (-1.33, 0), -4.58),
    ),
    lr_claim(
        "13b",
        SKIPINIT,
        statement="Without batch norm, the test-optimal learning rate does not depend on the budget, the train-optimal one falls.",
        paper="0 (test), -2.8 (train; not monotone)",
        rule="each within one octave",
        contrasts=changes(EPOCHS, (0, 0), -2.75),
    ),
    lr_claim(
        "14a",
        LSTM,
        statement="For the LSTM too, the test-optimal learning rate does not depend on the budget, the train-optimal one falls.",
        source="fig. 8",
        quantity="change of both optimal learning rates from 10 to 160 epochs along a line through all of them, in octaves",
        paper="-0.3 (test; 0 from 14 epochs on), -1.2 (train)",
        rule="each within one grid step (half an octave)",
        contrasts=changes(LSTM_EPOCHS, (-0.27, 0), -1.2, HALF_OCTAVE),
        scale_free=lambda epochs: lead(epochs[0], epochs[-1], 0.25),
    ),
    lr_claim(
        "14b",
        AUTOENCODER,
        statement="The autoencoder is the reverse: the test-optimal learning rate falls with the budget, the train-optimal one does not.",
        source="fig. 9",
        quantity="change of both optimal learning rates from 50 to 1120 epochs along a line through all of them, in octaves",
        paper="-3.5 (test), 0 (train)",
        rule="each within one octave",
        contrasts=changes(AUTOENCODER_EPOCHS, (-3.49, -3.49), 0),
        evidence="With longer training the test-optimal learning rate falls more, or rises less, than the train-optimal one.",
        scale_free=lambda epochs: lead(epochs[0], epochs[-1], high=-OCTAVE / 2),
        short="the train-optimal learning rate must be known to within an octave over ten budgets",
    ),
    claim(
        "14c",
        LSTM,
        statement="The LSTM's test perplexity rises beyond 56 epochs (or beyond 40).",
        source="fig. 8 and its caption",
        quantity="change of test perplexity from 40 to 56 epochs",
        paper="1.4 (figure), not a rise (caption)",
        rule="between the two, each with 1 (3 s.d.)",
        contrasts=rise("error", MOMENTUM, 40, 56, -1, 1.4 + 1),
        doubt="the caption has it rise beyond 56 epochs, the figure has its minimum at 40",
    ),
]
