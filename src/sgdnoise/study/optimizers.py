"""The optimizers of the paper, more of the package, and those of a study's own: what planning, training and figures need to know."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sgdnoise.machine import sources
from sgdnoise.study import regularisers
from sgdnoise.study.regularisers import REGULARISERS
from sgdnoise.study.schedule import SHAPES


@dataclass(frozen=True)
class Optimizer:
    """An optimizer; `rule` names its update rule, in `RULES` of training/rules.py or `FACTORIES` of training/updates.py.

    All but the label is part of a cell's identity, options that are added here too. Of one that a config defines it is the
    `definition`, as JSON. `schedule` is "paper", one of SHAPES, or a function of the benchmark's own file; `final` is the share of
    the learning rate that a shape ends at. `source` is what its gradients are made of besides their batch, one of `SOURCES` in
    training/loop.py. L2 is part of the gradients, unless `decoupled`: then the weights shrink by lr l2 of themselves. `version` is
    raised when what the package computes for it changes.

    `evaluations` counts the gradients of an example that an update takes per example of its batch. If they are to be `equal`, it
    has so many times fewer updates than its budget. A `regulariser` has a `coefficient`, None before it is known, and acts on
    micro-batches (0: whole batches) in some way (`by`).
    """

    label: str
    momentum: float = 0.0
    warmup_epochs: int = 0
    rule: str = "sgd"
    warmup_steps: int = 0
    schedule: str = "paper"
    final: float = 0.0
    definition: str = ""
    version: int = 0  # of the paper's
    source: str = ""
    evaluations: int = 1
    decoupled: bool = False
    equal: bool = False
    regulariser: str = ""
    coefficient: float | None = None
    micro_batch: int = 0
    by: str = ""

    @property
    def is_plain(self) -> bool:
        """Tell whether an update is the paper's: one gradient of one batch, and SGD's rule."""
        return self.is_sgd and not self.source and not self.active

    @property
    def active(self) -> str:
        """Name the regulariser that changes an update, if any: at the coefficient 0 there is none."""
        return self.regulariser if self.coefficient else ""

    @property
    def is_sgd(self) -> bool:
        """Tell whether this is SGD, with momentum or without: its learning rates are effective ones, eps / (1 - m)."""
        return self.rule == "sgd"


PAPERS = {
    "sgd": Optimizer("SGD"),
    "momentum": Optimizer("SGD with momentum", momentum=0.9),  # ICLR v5 sec. 2
    "momentum_warmup": Optimizer("momentum with warmup", momentum=0.9, warmup_epochs=5),  # ICLR v5 App. A
}
OPTIMIZERS = PAPERS | {
    # Johnson & Zhang 2013: a snapshot at the start of every epoch. An update takes the gradients of its batch here and there, and the
    # snapshot's of all examples once an epoch.
    "svrg": Optimizer("SVRG", source="svrg", evaluations=3, version=1),
    # Yin et al. 2024: the correction of SVRG times a factor that falls from 0.75 to 0.
    "alpha_svrg": Optimizer("alpha-SVRG", source="alpha_svrg", evaluations=3, version=1),
    "adam": Optimizer("Adam", rule="adam", version=1),  # Kingma & Ba 2015
    "adam_decoupled": Optimizer("Adam, decoupled L2", rule="adam", decoupled=True, version=1),  # AdamW: Loshchilov & Hutter 2019
    "muon": Optimizer("Muon", rule="muon", version=1),  # Jordan et al. 2024
    # Martens & Grosse 2015, Grosse & Martens 2016. An update takes the gradients of its batch, and those at targets that the network draws.
    "kfac": Optimizer("K-FAC", rule="kfac", momentum=0.9, source="kfac", evaluations=2, version=1),
    "soap": Optimizer("SOAP", rule="soap", version=1),  # Vyas et al. 2024
}

# The options that the paper's optimizers have had since results were first shipped; at these a name says enough.
FIRST = {"sgd": (), "momentum": ("momentum=0.9",), "momentum_warmup": ("momentum=0.9", "warmup_epochs=5")}

# What a definition says that torch is not told. Without `class` and `factory` it is the paper's SGD, and `momentum` is its own.
PLANNED = ("schedule", "final", "warmup_steps", "warmup_epochs")
EQUAL = "gradient_evaluations"  # in a definition: equal, so that an update that takes more of them is made less often
FALLING = ("linear", "cosine")  # the schedules that have a `final`
NO_TEXT = ("true", "false", "yes", "no", "on", "off", "none", "null")  # no setting of torch's is one of these as text
OURS = ("class", "factory", "groups", *PLANNED, *regularisers.OURS, EQUAL)


def check_measurable(name: str, one: Optimizer) -> None:
    """Raise a ValueError if the gradients of an optimizer are none of an objective whose noise and curvature can be measured."""
    if one.active and REGULARISERS[one.active].micro:
        raise ValueError(
            f"optimizer {name}: what {one.active} makes of gradients is not measured; use it without the regulariser"
        )


def optimizer(name: str, definition: str | None = None) -> Optimizer:
    """Return one of the package's optimizers, or the one that a study defines, as JSON. A ValueError says what is wrong with it.

    >>> optimizer("slow", '{"momentum": 0.99, "schedule": "cosine"}').is_sgd
    True
    >>> optimizer("penalty@0.01", '{"regulariser": "gradient_norm", "micro_batch": 4}').coefficient
    0.01
    """
    own, _, coefficient = name.partition("@")
    if definition is None:
        if name not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)} (or define your own under optimizers:)")
        return OPTIMIZERS[name]
    if own in PAPERS:
        raise ValueError(f"{own} is an optimizer of the paper; give your own another name")
    if not isinstance(said := json.loads(definition), dict):
        raise ValueError(f"definition {definition!r} is no JSON object; write {{...}}")
    fields = regularisers.read(said, coefficient)
    left = {key: value for key, value in said.items() if key not in (*regularisers.OURS, EQUAL)}
    one = _defined(name, left)
    evaluations = one.evaluations * (regularisers.evaluations(fields["regulariser"], fields["by"]) if fields else 1)
    equal = said.get(EQUAL) == "equal"
    if equal and evaluations == 1:
        raise ValueError(f"{EQUAL}: an update takes one gradient an example, as SGD's does; leave it out")
    return replace(one, definition=definition, evaluations=evaluations, equal=equal, **fields)


def _defined(name: str, said: Mapping[str, Any]) -> Optimizer:
    """Return what a definition makes without a regulariser: one of the package's, of torch's or of a function, or the paper's SGD."""
    own = {key: said[key] for key in PLANNED if key in said}
    if said.get("warmup_steps") and said.get("warmup_epochs"):
        raise ValueError("give either warmup_steps or warmup_epochs")
    asked = said.get("final") or ("final" in said and "schedule" in said)
    if asked and said.get("schedule") not in FALLING:
        raise ValueError(
            f"final is the share of the learning rate at which a schedule ends; of paper, {', '.join(SHAPES)} only {' and '.join(FALLING)} have one"
        )
    if "lr" in said:
        raise ValueError("lr is what the windows of the grid are for; leave it out")
    if "optimizer" in said:
        if said["optimizer"] not in OPTIMIZERS:
            raise ValueError(f"optimizer: {said['optimizer']!r} is none of the package's {', '.join(OPTIMIZERS)}")
        if more := sorted(set(said) - {"optimizer", *PLANNED}):
            raise ValueError(
                f"{', '.join(more)}: {said['optimizer']} has its settings fixed; leave it out, or name a class of torch"
            )
        return replace(OPTIMIZERS[said["optimizer"]], label=name, **own)
    if "class" in said or "factory" in said:
        if "class" in said and "factory" in said:
            raise ValueError("give either class, the name of one of torch.optim, or factory, a function of your own")
        if "factory" in said and (more := sorted(set(said) - {"factory", *PLANNED})):
            raise ValueError(f"{', '.join(more)}: a factory sets by itself what torch is told; leave it out here")
        _check_told(said, "")
        for group in said.get("groups", []):
            _check_group(group)
        return Optimizer(name, rule="torch", **own)
    if unknown := sorted(set(said) - {"momentum", *PLANNED}):
        raise ValueError(
            f"{unknown[0]}: without class it is the paper's SGD, which has momentum, {', '.join(PLANNED)}; add class"
        )
    momentum = said.get("momentum", 0.0)
    if isinstance(momentum, bool) or not isinstance(momentum, int | float) or not 0 <= momentum < 1:
        raise ValueError(f"momentum: {momentum!r} is not a number from 0 below 1")
    return Optimizer(name, momentum=momentum, **own)


def _check_group(group: Mapping[str, Any]) -> None:
    """Refuse a group of parameters whose `match` cannot be read, or that has what only the whole run has."""
    try:
        re.compile(group["match"])
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"groups: match: {group['match']!r} is not a regular expression ({error})") from None
    if "lr" in group:
        raise ValueError("groups: lr: the learning rate is the grid's; give lr_factor, by which it is multiplied in the group")
    if ours := [key for key in OURS if key in group]:
        raise ValueError(f"groups: {ours[0]}: all groups have that of the run; give it beside `groups`, not in one")
    _check_told({key: value for key, value in group.items() if key != "match"}, "groups: ")


def _check_told(said: Mapping[str, Any], where: str) -> None:
    """Refuse settings that are not torch's to be told, and text that it would take for true, as "false", or that is a number."""
    for key, value in said.items():
        if key in ("params", "initial_lr"):
            raise ValueError(f"{where}{key}: the network and the grid say it; leave it out")
        if key not in OURS and isinstance(value, str) and (value.lower() in NO_TEXT or is_number(value)):
            raise ValueError(
                f"{where}{key}: {value!r} is text; write true, false, null or a number as 0.001 or 1.0e-3, without quotes"
            )


def is_number(text: str) -> bool:
    """Tell whether a text is that of a number.

    >>> is_number("1e-3"), is_number("strong_wolfe")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def definition(name: str, own: Mapping[str, Any]) -> str | None:
    """Write the definition that a config's `optimizers` has of an optimizer, canonically; None if it is one of the package's."""
    defined = next((one for one in (name, defined_name(name)) if one in own), None)
    return json.dumps(own[defined], sort_keys=True) if defined else None


def defined_name(name: str) -> str:
    """Return the name under which a config defines an optimizer: without the coefficient of its regulariser.

    >>> defined_name("penalty@0.01")
    'penalty'
    """
    return name.partition("@")[0]


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
    """Say what besides name and definition the updates depend on, as {name: version}: options, a regulariser's version, torch's rule.

    >>> depends_on("momentum")
    {}
    """
    return dict(_depends_on(name, optimizer(name, definition)))


@functools.cache
def _depends_on(name: str, one: Optimizer) -> dict[str, str]:
    base = json.loads(one.definition).get("optimizer") if one.definition else name
    said: dict[str, str] = {}
    if base in OPTIMIZERS:
        plain, its = asdict(Optimizer("")), asdict(OPTIMIZERS[base])
        options = tuple(f"{key}={value!r}" for key, value in its.items() if key != "label" and value != plain[key])
        said |= {base: " ".join(options)} if options != FIRST.get(base, ()) else {}
    if one.active:
        said[one.active] = f"version={REGULARISERS[one.active].version}"
    if one.rule == "torch":
        rules = "training/updates.py"
        said[rules] = sources.digest(sources.parse(Path(__file__).parents[1] / rules))
    return said
