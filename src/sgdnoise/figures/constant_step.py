"""Constant step budget: whether small batches generalise better at the same number of updates.

A larger batch sees more data and trains to a lower loss. If its test metric still gets worse, noise itself helped.
"""

from typing import Any

from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.figures._sweeps import draw_mode


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw metrics and optimal learning rates against batch size (ICLR v5 tables 1, 2, 4, 5)."""
    steps = tables["optimum"].query("mode == 'constant_step'")["num_steps"].iloc[0]
    return draw_mode(tables, "constant_step", protocol, f"constant step budget: {steps:,} updates at every batch size")
