"""Learning-rate schedules, as pure functions of the update number: the one of the paper, and those that a study may choose."""

import math
from collections.abc import Callable

HALVINGS = 10  # steps down, of a run (ICLR v5 sec. 3)


def gamma_of(lr: float, final_lr: float) -> float:
    """Return the factor of each step down from `lr` to `final_lr`: eps_final = eps_initial gamma^-10 (ICLR v5 App. G).

    >>> gamma_of(1, 2**-10), gamma_of(0.5, 0.5)
    (2.0, 1.0)
    """
    return float((lr / final_lr) ** (1 / HALVINGS))


def multiplier(step: int, num_steps: int, warmup_steps: int = 0, gamma: float = 2.0) -> float:
    """Return learning rate / initial learning rate for update `step` (from 0) of `num_steps`.

    Constant for the first half, then halved every twentieth of the budget; the first halving is at one half, so the
    last twentieth runs at 2^-10 (ICLR v5 sec. 3, App. A). Counted in updates, as for 9,765 steps in sec. 4: constant for
    4,882, then halved every 488. Warmup rises linearly over the first `warmup_steps` updates (App. A). Where the final learning
    rate is free (App. G), each step down divides by `gamma` instead of 2.

    >>> [multiplier(step, 9765) for step in (0, 4881, 4882, 5369, 5370, 9764)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.0009765625]
    """
    # Twentieth m (from 0) starts at update floor(m N / 20).
    twentieth = (20 * (step + 1) - 1) // num_steps
    decay = gamma ** -max(0, twentieth - 9)
    # Our choice: update 0 of the warmup runs at 1/warmup_steps, not at 0, so that no update is empty.
    return decay * warmup(step, warmup_steps)


def warmup(step: int, warmup_steps: int) -> float:
    """Return the share of the learning rate that update `step` (from 0) has in a linear warmup; 1 after it, or without one."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


# Our choice, the usual ones: the share of the way down, from 0 to 1, by the share of the updates that are done.
SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 0.0,
    "linear": lambda share: share,
    "cosine": lambda share: (1 - math.cos(math.pi * share)) / 2,
}


def shaped(name: str, final: float, step: int, num_steps: int, warmup_steps: int = 0) -> float:
    """Return learning rate / initial learning rate for update `step` (from 0) of a schedule in SHAPES.

    After a linear warmup it falls from 1 to `final` over the rest of the run, which it would reach one update after the last.

    >>> [shaped("linear", 0.0, step, 4) for step in range(4)], [shaped("cosine", 0.5, step, 4, 2) for step in range(4)]
    ([1.0, 0.75, 0.5, 0.25], [0.5, 1.0, 1.0, 0.75])
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 1 - (1 - final) * SHAPES[name]((step - warmup_steps) / (num_steps - warmup_steps))
