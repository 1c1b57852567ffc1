"""What `recommend` advises, as a record; `wording.py` has it as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """What is known of one batch size; None where it is not known. Learning rates are effective ones of SGD, intervals hold 95 %.

    `loss` is against the best batch size measured, in units of the metric, its `loss_high` infinite where nothing bounds it, and `word`
    one of `losses`, or "" with the reason in `note`, which says of an open one if wider windows come first; `widen` is the line of the config that would enclose the optimum, of imported runs the learning rates. Where it is open, `more_seeds` would probably decide,
    at the batch sizes and between the learning rates of `more_at`. Time is that of one run.
    """

    batch_size: int
    lr: float | None = None
    lr_low: float | None = None
    lr_high: float | None = None
    metric: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    word: str = ""
    note: str = ""
    widen: str = ""
    more_seeds: int | None = None
    more_at: dict[int, tuple[float, float]] = field(default_factory=dict)
    seconds: float | None = None
    num_seeds: int = 0
    num_lrs: int = 0
    examples_per_second: float | None = None
    seconds_per_run: float | None = None


@dataclass
class Gain:
    """What an optimizer gains over SGD at one batch size, in units of the metric, with an interval that holds with all others.

    `low` is infinite where nothing bounds what a wider window would gain SGD, `high` where nothing bounds what it would gain the optimizer.
    """

    batch_size: int
    gain: float
    low: float
    high: float


@dataclass
class OptimizerAdvice:
    """The advice on one optimizer: a row per batch size, and one for the batch size that is asked for if none was trained there.

    Every loss up to `free_up_to` is *free*, in units of the metric within `margin` (NaN if no best is known). `unread` says why batch
    sizes are not compared, if they are not.
    """

    optimizer: str
    is_sgd: bool  # then learning rates are effective ones, eps / (1 - momentum), else torch's own
    momentum: float
    margin: float
    rows: list[Row]
    free_up_to: int | None
    gains: list[Gain]
    unread: str
    asked: Row | None = None


@dataclass
class Advice:
    """The advice on one benchmark, and what it rests on; `margin` is a difference of accuracies, or a share of the best value.

    Of `imported` runs there is no config whose windows could be widened.
    """

    benchmark: str
    metric: str
    direction: str  # of the metric: "max" or "min" is better
    budget: str
    num_epochs: int
    margin: float
    devices: list[str]
    optimizers: list[OptimizerAdvice]
    imported: bool = False

    @property
    def is_accuracy(self) -> bool:
        """Tell whether the metric is a fraction, shown in per cent."""
        return self.metric.endswith("accuracy")
