"""The optimizers of the paper, and those of a study's own: what planning, training and figures need to know of each."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sgdnoise.machine import sources
from sgdnoise.study.schedule import SHAPES


@dataclass(frozen=True)
class Optimizer:
    """An optimizer; `rule` is its update rule, one of `RULES` in training/updates.py.

    All but the label is part of a cell's identity, options that are added here too. Of one that a config defines it is the
    `definition`, as JSON. `schedule` is "paper", one of SHAPES, or a function of the benchmark's own file; `final` is the share of
    the learning rate that a shape ends at.
    """

    label: str
    momentum: float = 0.0
    warmup_epochs: int = 0
    rule: str = "sgd"
    warmup_steps: int = 0
    schedule: str = "paper"
    final: float = 0.0
    definition: str = ""

    @property
    def is_sgd(self) -> bool:
        """Tell whether this is SGD, with momentum or without: its learning rates are effective ones, eps / (1 - m)."""
        return self.rule == "sgd"


OPTIMIZERS = {
    "sgd": Optimizer("SGD"),
    "momentum": Optimizer("SGD with momentum", momentum=0.9),  # ICLR v5 sec. 2
    "momentum_warmup": Optimizer("momentum with warmup", momentum=0.9, warmup_epochs=5),  # ICLR v5 App. A
}

# The options that the paper's optimizers have had since results were first shipped; at these a name says enough.
FIRST = {"sgd": (), "momentum": ("momentum=0.9",), "momentum_warmup": ("momentum=0.9", "warmup_epochs=5")}

# What a definition says that torch is not told. Without `class` and `factory` it is the paper's SGD, and `momentum` is its own.
PLANNED = ("schedule", "final", "warmup_steps", "warmup_epochs")
OURS = ("class", "factory", "groups", *PLANNED)


def optimizer(name: str, definition: str | None = None) -> Optimizer:
    """Return one of the paper's optimizers, or the one that a study defines, as JSON. A ValueError says what is wrong with it.

    >>> optimizer("slow", '{"momentum": 0.99, "schedule": "cosine"}').is_sgd
    True
    """
    if definition is None:
        if name not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)} (or define your own under optimizers:)")
        return OPTIMIZERS[name]
    if name in OPTIMIZERS:
        raise ValueError(f"{name} is an optimizer of the paper; give your own another name")
    said = json.loads(definition)
    own = {key: said[key] for key in PLANNED if key in said}
    if said.get("warmup_steps") and said.get("warmup_epochs"):
        raise ValueError("give either warmup_steps or warmup_epochs")
    if said.get("final") and said.get("schedule") not in SHAPES:
        raise ValueError(f"final is the share of the learning rate that a schedule ends at, one of {', '.join(SHAPES)}")
    if "lr" in said:
        raise ValueError("lr is what the windows of the grid are for; leave it out")
    if "class" in said or "factory" in said:
        if "class" in said and "factory" in said:
            raise ValueError("give either class, the name of one of torch.optim, or factory, a function of your own")
        if "factory" in said and (more := sorted(set(said) - {"factory", *PLANNED})):
            raise ValueError(f"{', '.join(more)}: a factory sets by itself what torch is told; leave it out here")
        return Optimizer(name, rule="torch", definition=definition, **own)
    if unknown := sorted(set(said) - {"momentum", *PLANNED}):
        raise ValueError(
            f"{unknown[0]}: without class it is the paper's SGD, which has momentum, {', '.join(PLANNED)}; add class"
        )
    momentum = said.get("momentum", 0.0)
    if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        raise ValueError(f"momentum: {momentum!r} is not a number from 0 below 1")
    return Optimizer(name, momentum=momentum, definition=definition, **own)


def definition(name: str, own: Mapping[str, Any]) -> str | None:
    """Write the definition that a config's `optimizers` has of an optimizer, canonically; None if it is one of the paper's."""
    return json.dumps(own[name], sort_keys=True) if name in own else None


def of(config: Mapping[str, Any], name: str) -> Optimizer:
    """Return an optimizer of a study."""
    return optimizer(name, definition(name, config["optimizers"]))


def functions(one: Optimizer) -> dict[str, str]:
    """Say which functions of the benchmark's own file an optimizer needs, as {what for: name}."""
    said = json.loads(one.definition or "{}")
    own_schedule = {"schedule": one.schedule} if one.schedule not in ("paper", *SHAPES) else {}
    return own_schedule | ({"factory": said["factory"]} if "factory" in said else {})


def ordered(names: Collection[str]) -> list[str]:
    """Sort the names of optimizers: the paper's in its order, then others by name.

    >>> ordered({"lion", "adamw", "momentum", "sgd"})
    ['sgd', 'momentum', 'adamw', 'lion']
    """
    return [name for name in OPTIMIZERS if name in names] + sorted(set(names) - set(OPTIMIZERS))


def label(name: str) -> str:
    """Name an optimizer for a reader; one of a study's own has its name."""
    return OPTIMIZERS[name].label if name in OPTIMIZERS else name


def depends_on(name: str, definition: str | None = None) -> dict[str, str]:
    """Say what besides name and definition the updates depend on, as {name: version}: options, a rule that is not `sgd`.

    >>> depends_on("momentum")
    {}
    """
    return _depends_on(name, optimizer(name, definition))


@functools.cache
def _depends_on(name: str, optimizer: Optimizer) -> dict[str, str]:
    plain = asdict(Optimizer(""))
    options = tuple(f"{key}={value!r}" for key, value in asdict(optimizer).items() if key != "label" and value != plain[key])
    said = {name: " ".join(options)} if options != FIRST.get(name, ()) and not optimizer.definition else {}
    if optimizer.rule != plain["rule"]:
        rules = "training/updates.py"
        said[rules] = sources.digest(sources.parse(Path(__file__).parents[1] / rules))
    return said
