"""The regularisers that may stand in for gradient noise: what planning needs to know of each. Their gradients are made in training.

Each has a coefficient, an axis of the grid as the learning rate is one: an optimizer `penalty` that has a regulariser is swept as
`penalty@0.01`, `penalty@0.02` and so on, each with learning rates of its own. At the coefficient 0 it is the plain run of as many
updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WAYS = ("double_backward", "forward_differences")
OURS = ("regulariser", "micro_batch", "by")


@dataclass(frozen=True)
class Regulariser:
    """A regulariser: what its `coefficient` is, whether it acts on micro-batches, and the gradients that an example costs by it.

    A product with the Hessian counts as two gradients, as it takes the time of two. `version` is raised when what is computed changes.
    """

    coefficient: str
    micro: bool = False
    evaluations: int = 1
    version: int = 1


REGULARISERS = {
    "gradient_norm": Regulariser("penalty per squared norm of a micro-batch's gradient", micro=True, evaluations=3),
    "sam": Regulariser("radius of the ascent step", micro=True, evaluations=2),
    "label_smoothing": Regulariser("share of the target that is spread over all classes"),
    "weight_decay": Regulariser("L2 penalty, twice the factor of the squared norm, added to the benchmark's own"),
    "multiplicative_noise": Regulariser("variance of the noise, as a multiple of what a micro-batch alone would add", micro=True),
    "isotropic_noise": Regulariser("variance of the noise, as a multiple of what a micro-batch alone would add", micro=True),
}
NOISES = ("multiplicative_noise", "isotropic_noise")


def read(said: Mapping[str, Any], coefficient: str) -> dict[str, Any]:
    """Return what a definition says of its regulariser, as fields of an Optimizer; a ValueError says what is wrong.

    `coefficient` is what follows the @ in the optimizer's name; empty: not known yet.

    >>> read({"regulariser": "sam", "micro_batch": 4}, "0.05")
    {'regulariser': 'sam', 'micro_batch': 4, 'by': '', 'coefficient': 0.05}
    >>> read({"momentum": 0.9}, "")
    {}
    """
    name = said.get("regulariser")
    if name is None:
        if strange := [key for key in OURS if key in said]:
            raise ValueError(f"{strange[0]} goes with a regulariser, one of {', '.join(REGULARISERS)}")
        if coefficient:
            raise ValueError(f"@{coefficient} is the coefficient of a regulariser, and it has none; leave it out")
        return {}
    if name not in REGULARISERS:
        raise ValueError(f"regulariser {name!r} is none of {', '.join(REGULARISERS)}")
    micro_batch = said.get("micro_batch")
    if REGULARISERS[name].micro and not (micro_batch == "all" or (type(micro_batch) is int and micro_batch > 0)):
        raise ValueError(f"{name} acts on micro-batches: give micro_batch, a number of examples, or all of a batch")
    if not REGULARISERS[name].micro and micro_batch is not None:
        raise ValueError(f"{name} does not act on micro-batches; leave micro_batch out")
    by = said.get("by", WAYS[0] if name == "gradient_norm" else "")
    if name == "gradient_norm" and by not in WAYS:
        raise ValueError(f"by: {by!r} is none of {', '.join(WAYS)}")
    if name != "gradient_norm" and by:
        raise ValueError(f"by is how the penalty of gradient_norm is computed; leave it out with {name}")
    fields = {"regulariser": name, "micro_batch": 0 if micro_batch in (None, "all") else micro_batch, "by": by}
    if coefficient and number(coefficient) > 1 and name == "label_smoothing":
        raise ValueError(f"@{coefficient}: the coefficient of label_smoothing is a share of the target, from 0 to 1")
    return fields | ({"coefficient": number(coefficient)} if coefficient else {})


def number(coefficient: str) -> float:
    """Read a coefficient; there is one way to write each, so that a cell has one name."""
    try:
        value = float(coefficient)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e30 or (written := f"{value:.4g}") != coefficient:
        hint = f"; write @{written}" if 0 <= value <= 1e30 else ""
        raise ValueError(f"@{coefficient}: the coefficient is a number from 0 with up to four digits{hint}")
    return value


def evaluations(name: str, by: str) -> int:
    """Count the gradients of an example that an update costs: by forward differences a penalty costs two."""
    return 2 if by == "forward_differences" else REGULARISERS[name].evaluations
