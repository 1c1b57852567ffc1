"""Claims about the constant epoch budget of the Wide-ResNets. Numbers: ICLR v5; tolerances: `contrasts.py`."""

from functools import partial

from sgdnoise.claims.contrasts import (
    MOMENTUM,
    OCTAVE,
    POINT,
    SGD,
    SKIPINIT,
    WARMUP,
    WRN,
    Cell,
    Claim,
    Contrast,
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


def sharpness(optimizer: str, at: int) -> list[Contrast]:
    """Compare the slopes of the optimal learning rate over the two octaves below and above a batch size."""
    below, above = rise("lr", optimizer, at // 4, at), rise("lr", optimizer, at, 4 * at)
    return combine(f"slope below minus above {at}, {optimizer}", [(0.5, below), (-0.5, above)])


CLAIMS = [
    claim(
        "1",
        WRN,
        statement="At a fixed number of epochs, accuracy does not depend on the batch size up to 512.",
        source="fig. 1a",
        quantity="range of accuracy over batch sizes 64 to 512, SGD and momentum each",
        paper="0.0010 (momentum), 0.0009 (SGD)",
        rule="every pair within 0.0015 + 0.001 (authors' noise)",
        contrasts=[c for name in (SGD, MOMENTUM) for c in flat("error", name, [64, 128, 256, 512], 0.0015 + POINT)],
    ),
    claim(
        "2",
        WRN,
        statement="As batches grow, plain SGD loses accuracy first, momentum only later.",
        source="fig. 1a",
        quantity="fall of accuracy from batch size 512 to 2048 (SGD); beyond 2048 (momentum)",
        paper="SGD 0.0164; momentum 0.0022, then 0.0052 to 4096",
        rule="SGD falls by at least half of 0.0164, and by 0.005 more than momentum; momentum: 1024 to 2048 within 0.0025,"
        " 2048 to 4096 at least half of 0.0052",
        contrasts=rise("error", SGD, 512, 2048, 0.0164 / 2)
        + excess("error", SGD, MOMENTUM, 512, 2048, 0.005)
        + flat("error", MOMENTUM, [1024, 2048], 0.0015 + POINT)
        + rise("error", MOMENTUM, 2048, 4096, 0.0052 / 2),
        evidence="From the smallest to the largest batch, SGD gets worse, and more so than momentum.",
        scale_free=lambda b: rise("error", SGD, b[0], b[-1], 0) + excess("error", SGD, MOMENTUM, b[0], b[-1], 0),
    ),
    claim(
        "3",
        WRN,
        statement="While noise dominates, the optimal learning rate is proportional to the batch size.",
        source="fig. 1c",
        quantity="exponent of the optimal learning rate in the batch size; learning rate / batch size",
        paper="1.0 on 64..512 (SGD) and 64..2048 (momentum); 1/128",
        rule="exponent 1 within one octave over the range; each learning rate within one octave of batch size / 128",
        contrasts=slope(SGD, [64, 128, 256, 512], 1, OCTAVE / 3)
        + slope(MOMENTUM, [64, 128, 256, 512, 1024, 2048], 1, OCTAVE / 5)
        + level("lr", SGD, {b: b / 128 for b in (64, 128, 256, 512)}, OCTAVE)
        + level("lr", MOMENTUM, {b: b / 128 for b in (64, 128, 256, 512, 1024, 2048)}, OCTAVE),
        evidence="Over the smaller batch sizes, the optimal learning rate grows in proportion.",
        scale_free=lambda b: [c for name in (SGD, MOMENTUM) for c in follows(name, b[: len(b) // 2 + 1], 1, OCTAVE)],
        short="learning rates must be known to within an octave at ten points, all at once",
    ),
    claim(
        "4",
        WRN,
        statement="Where curvature dominates, the optimal learning rate stops growing, momentum's at a higher value.",
        source="fig. 1c",
        quantity="SGD's exponent and learning rate on 512..4096; momentum's largest learning rate",
        paper="0 at 4; 16, 4 times SGD's",
        rule="exponent 0 within one octave over the range; learning rates and their ratio within one octave",
        contrasts=slope(SGD, [512, 1024, 2048, 4096], 0, OCTAVE / 3)
        + level("lr", SGD, dict.fromkeys((512, 1024, 2048, 4096), 4), OCTAVE)
        + level("lr", MOMENTUM, {4096: 16}, OCTAVE)
        + gap("lr", MOMENTUM, SGD, [4096], 2 - OCTAVE, 2 + OCTAVE),
        evidence="At the largest batch size, momentum's optimal learning rate is above SGD's.",
        scale_free=lambda b: gap("lr", MOMENTUM, SGD, b[-1:], OCTAVE / 2),
    ),
    claim(
        "5",
        WRN,
        statement="At small batch sizes, SGD with and without momentum are equivalent at equal effective learning rates.",
        source="fig. 1a, 1c",
        quantity="difference of accuracy and ratio of optimal learning rates, batch size 256 and below",
        paper="at most 0.0004; 1",
        rule="within 0.001 + 0.001 (authors' noise); within one octave",
        contrasts=gap("error", MOMENTUM, SGD, [64, 128, 256], -0.001 - POINT, 0.001 + POINT)
        + gap("lr", MOMENTUM, SGD, [64, 128, 256], -OCTAVE, OCTAVE),
        evidence="At the smallest batch size, both optimizers have the same optimal learning rate.",
        scale_free=lambda b: gap("lr", MOMENTUM, SGD, b[:1], -OCTAVE, OCTAVE),
        short="ratios of learning rates must be known to within an octave at three batch sizes, all at once",
    ),
    claim(
        "6",
        WRN,
        statement="The train loss at the test-optimal learning rate is flat for small batches, then rises, SGD's far more.",
        source="fig. 1b",
        quantity="range of train loss on 64..512; rise from 512 to 4096",
        paper="0.003 (momentum), 0.006 (SGD); 0.090 (SGD), 0.010 (momentum)",
        rule="every pair within 0.006 + 0.002 (digitisation); SGD's rise at least half of 0.09, and half of 0.08 more than momentum's",
        contrasts=[c for name in (SGD, MOMENTUM) for c in flat("train", name, [64, 128, 256, 512], 0.006 + 0.002)]
        + rise("train", SGD, 512, 4096, 0.09 / 2)
        + excess("train", SGD, MOMENTUM, 512, 4096, 0.08 / 2),
        short="the paper's range of SGD's train loss is too near the tolerance for what is uncertain in the learning rate at which it is taken",
    ),
    claim(
        "7a",
        SKIPINIT,
        statement="Without batch norm, momentum's plateau of accuracy ends earlier, at batch size 256.",
        source="fig. 5a",
        quantity="range of accuracy on 8..256; fall from 256 to 512 and to 1024",
        paper="0.0011; 0.0030 and 0.0108",
        rule="every pair within 0.0015 + 0.001 (authors' noise); falls at least half of the paper's",
        contrasts=flat("error", MOMENTUM, [8, 16, 32, 64, 128, 256], 0.0015 + POINT)
        + rise("error", MOMENTUM, 256, 512, 0.003 / 2)
        + rise("error", MOMENTUM, 256, 1024, 0.0108 / 2),
    ),
    claim(
        "7b",
        SKIPINIT,
        statement="Without batch norm, SGD loses accuracy from batch size 16 on, its learning rate pinned.",
        source="fig. 5a, 5c",
        quantity="fall of accuracy from 8 to 32; optimal learning rates on 8..1024",
        paper="0.0100; 1/16",
        rule="fall at least half of the paper's; learning rates within one octave",
        contrasts=rise("error", SGD, 8, 32, 0.01 / 2)
        + level("lr", SGD, dict.fromkeys((8, 16, 32, 64, 128, 256, 512, 1024), 1 / 16), OCTAVE),
        short="the paper's learning rate at batch size 32 lies at the end of the band",
    ),
    claim(
        "7c",
        SKIPINIT,
        statement="Without batch norm, the largest usable learning rate is lower.",
        source="fig. 1c, 5c",
        quantity="momentum's optimal learning rate where it is largest: without norm at 512 over with norm at 4096",
        paper="2 / 16",
        rule="within one octave of 2^-3",
        contrasts=[
            Contrast(
                "log2 test-optimal lr, without norm at 512 minus with norm at 4096",
                {Cell("lr", MOMENTUM, 512): 1, Cell("lr", MOMENTUM, 4096, WRN): -1},
                -3 - OCTAVE,
                -3 + OCTAVE,
            )
        ],
    ),
    claim(
        "18a",
        WRN,
        statement="Warmup helps very large batches only.",
        source="fig. 1a",
        quantity="accuracy with warmup minus without, momentum",
        paper="at most 0.0005 up to 2048; 0.0021 at 4096, 0.0034 at 8192",
        rule="gain at most 0.001 + 0.001 (authors' noise) up to 2048; at least half of the paper's beyond",
        contrasts=gap("error", MOMENTUM, WARMUP, [64, 128, 256, 512, 1024, 2048], high=0.001 + POINT)
        + gap("error", MOMENTUM, WARMUP, [4096], 0.0021 / 2)
        + gap("error", MOMENTUM, WARMUP, [8192], 0.0034 / 2),
        short="the gain at batch size 4096 is 1.6 s.d. of a run, and half of it is asked for",
    ),
    claim(
        "18b",
        WRN,
        statement="With warmup, learning rates are stable that are not without.",
        source="fig. 4",
        quantity="largest learning rate that completes at batch size 1024, with warmup over without",
        paper="2",
        rule="between 1 and 4, where each rate is known to half a grid step",
        contrasts=gap("stable_lr", WARMUP, MOMENTUM, [1024], 0, 2 * OCTAVE),
    ),
    claim(
        "20",
        WRN,
        statement="The transition between the two regimes is sharp.",
        source="fig. 1c",
        quantity="exponent of the optimal learning rate below minus above its break (SGD 512, momentum 2048), mean of both",
        paper="1 (SGD), 2 (momentum)",
        rule="at least 0.5: one octave at either break; a smooth lr = B / (1 + B / break) has 0.32",  # by its own formula
        contrasts=combine(
            "slope of log2 lr below minus above the break, mean of SGD and momentum",
            [(0.5, sharpness(SGD, 512)), (0.5, sharpness(MOMENTUM, 2048))],
            0.5,
        ),
    ),
]
