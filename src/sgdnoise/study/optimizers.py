"""The optimizers of the paper: what planning, training and figures need to know of each."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path

from sgdnoise.machine import sources


@dataclass(frozen=True)
class Optimizer:
    """An optimizer; `rule` is its update rule, one of `RULES` in training/updates.py.

    All but the label is part of a cell's identity, options that are added here too.
    """

    label: str
    momentum: float = 0.0
    warmup_epochs: int = 0
    rule: str = "sgd"


OPTIMIZERS = {
    "sgd": Optimizer("SGD"),
    "momentum": Optimizer("SGD with momentum", momentum=0.9),  # ICLR v5 sec. 2
    "momentum_warmup": Optimizer("momentum with warmup", momentum=0.9, warmup_epochs=5),  # ICLR v5 App. A
}

# The options that the paper's optimizers have had since results were first shipped; at these a name says enough.
FIRST = {"sgd": (), "momentum": ("momentum=0.9",), "momentum_warmup": ("momentum=0.9", "warmup_epochs=5")}


def depends_on(name: str) -> dict[str, str]:
    """Say what besides its name the updates of an optimizer depend on, as {name: version}: its options, a rule that is not `sgd`.

    >>> depends_on("momentum")
    {}
    """
    return _depends_on(name, OPTIMIZERS[name])


@functools.cache
def _depends_on(name: str, optimizer: Optimizer) -> dict[str, str]:
    plain = asdict(Optimizer(""))
    options = tuple(f"{key}={value!r}" for key, value in asdict(optimizer).items() if key != "label" and value != plain[key])
    said = {name: " ".join(options)} if options != FIRST.get(name, ()) else {}
    if optimizer.rule != plain["rule"]:
        rules = "training/updates.py"
        said[rules] = sources.digest(sources.parse(Path(__file__).parents[1] / rules))
    return said
