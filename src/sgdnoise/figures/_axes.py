"""The axes of figures: their scales and ticks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator


def log2_axis(axes: Axes, which: str) -> None:
    """Scale an axis by powers of two and write plain numbers on it."""
    getattr(axes, f"set_{which}scale")("log", base=2)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(base=2, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}" if value < 1000 else f"{value:.0f}"))


def lr_axis(axes: Axes, which: str, lr_grid: dict[str, float]) -> None:
    """Scale an axis of learning rates logarithmically; its ticks lie on the grid, whole octaves from its anchor."""
    log2_axis(axes, which)
    low, high = np.log2(np.array(getattr(axes, f"get_{which}lim")()) / lr_grid["anchor"])
    octaves = np.arange(np.ceil(low), np.floor(high) + 1)
    ticks = lr_grid["anchor"] * 2 ** octaves[:: 1 + len(octaves) // 10]
    getattr(axes, f"{which}axis").set_major_locator(FixedLocator(ticks.tolist()))


def plain_log_axis(axes: Axes) -> None:
    """Scale the y axis logarithmically with plain numbers, over whatever part of a decade it spans.

    Not where a point is not positive, or nothing is drawn.
    """
    lines = [container.lines[0] for container in axes.containers if isinstance(container, ErrorbarContainer)]
    if any((np.asarray(line.get_ydata(), float) <= 0).any() for line in lines) or not np.isfinite(axes.yaxis.get_minpos()):
        return
    axes.set_yscale("log")
    decades = np.ptp(np.log10(axes.get_ylim()))
    ticks: tuple[float, ...] = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    if decades > 1.5:  # there is no room for all
        ticks = (1, 2, 5) if decades < 3 else (1,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
