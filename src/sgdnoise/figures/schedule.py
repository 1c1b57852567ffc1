"""The learning-rate schedule that every run follows (ICLR v5 fig. 3)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.study.schedule import multiplier

NUM_STEPS = 2000  # of the drawing


def draw(tables: figures.Tables, benchmark: str | None, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw learning rate / initial learning rate against the fraction of the budget, without and with warmup."""
    figure, ((axes,),) = figures.panels(1)
    figure.set_figwidth(6)
    steps = range(NUM_STEPS)
    for name, warmup_steps, text in (
        ("momentum_warmup", NUM_STEPS // 40, "with warmup (5 of 200 epochs)"),
        ("sgd", 0, "without warmup"),
    ):
        look = figures.LOOKS[name] | {"marker": ""}
        axes.plot(np.array(steps) / NUM_STEPS, [multiplier(step, NUM_STEPS, warmup_steps) for step in steps], label=text, **look)
    axes.set_yscale("log", base=2)
    axes.set(xlabel="fraction of the updates", ylabel="learning rate / initial", title=None, ylim=(2**-10.7, 1.6))
    axes.legend(fontsize="small", loc="lower left")
    caption = "Constant for half of the updates, then halved every twentieth of them: ten halvings, the last at 95 %."
    figures.label(figure, "Learning-rate schedule", caption)
    return figure
