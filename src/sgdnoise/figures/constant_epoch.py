"""Constant epoch budget: where performance stops being independent of batch size, and the learning rate stops growing.

Where the optimal learning rate follows the dotted line and performance is flat, gradient noise dominates, and a larger batch
is free. Where the rate stops growing, curvature dominates: use momentum, or a smaller batch.
"""

from typing import Any

from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.figures._sweeps import draw_mode, epochs_of


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw metrics and optimal learning rates against batch size (ICLR v5 fig. 1; the last panel SkipInit v0 fig. 2b)."""
    points = tables["optimum"].query("mode == 'constant_epoch'")
    return draw_mode(tables, "constant_epoch", protocol, f"constant epoch budget: {epochs_of(points)} at every batch size")
