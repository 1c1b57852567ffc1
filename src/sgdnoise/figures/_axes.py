"""The axes of figures: their scales and ticks."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

APART = 0.08  # our choice: ticks that are nearer than this share of an axis would print as one


def log2_axis(axes: Axes, which: str) -> None:
    """Scale an axis by powers of two and write plain numbers on it; a panel in which nothing is drawn has no ticks."""
    if is_empty(axes, which):
        axes.set(xticks=[], yticks=[])
        return
    getattr(axes, f"set_{which}scale")("log", base=2)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(base=2, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}" if value < 1000 else f"{value:.0f}"))


def is_empty(axes: Axes, which: str) -> bool:
    """Tell whether an axis has no positive value: every run diverged, for example."""
    return not np.isfinite(getattr(axes, f"{which}axis").get_minpos())


def sizes_axis(axes: Axes, sizes: Iterable[float]) -> None:
    """Scale the x axis of batch sizes; one alone has its tick."""
    if len(set(sizes)) == 1:
        swept_axis(axes, sizes)
    else:
        log2_axis(axes, "x")


def swept_axis(axes: Axes, values: Iterable[float]) -> None:
    """Scale the x axis of what is swept, with ticks at its values; one alone stands in the middle."""
    log2_axis(axes, "x")
    if is_empty(axes, "x"):
        return
    known = sorted(set(values))
    if len(known) == 1:
        axes.set_xlim(known[0] / 2, known[0] * 2)
    axes.set_xticks(apart(known, axes.get_xlim()))


def lr_axis(axes: Axes, which: str, lr_grid: dict[str, float], rates: Iterable[float]) -> None:
    """Scale an axis of learning rates logarithmically; its ticks lie on the grid, whole octaves from its anchor.

    Where fewer than two of these are on the axis, the ticks are `rates` that are.
    """
    log2_axis(axes, which)
    if is_empty(axes, which):
        return
    axis, limits = getattr(axes, f"{which}axis"), getattr(axes, f"get_{which}lim")()
    low, high = np.log2(np.array(limits) / lr_grid["anchor"])
    octaves = np.arange(np.ceil(low), np.floor(high) + 1)
    ticks = (lr_grid["anchor"] * 2 ** octaves[:: 1 + len(octaves) // 10]).tolist()
    if len(ticks) < 2:
        ticks = apart(sorted(rate for rate in set(rates) if limits[0] <= rate <= limits[1]), limits) or ticks
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axis.set_major_locator(FixedLocator(ticks))


def apart(values: list[float], limits: tuple[float, float]) -> list[float]:
    """Return the values, which rise, without those too near to the one before on a logarithmic axis.

    >>> apart([10, 11, 12, 13, 14, 100], (9, 110))
    [10, 13, 100]
    """
    kept: list[float] = []
    for value in values:
        if not kept or np.log(value / kept[-1]) >= APART * np.log(limits[1] / limits[0]):
            kept.append(value)
    return kept


def plain_log_axis(axes: Axes) -> None:
    """Scale the y axis logarithmically with plain numbers, over whatever part of a decade it spans.

    Not where a point is not positive, or nothing is drawn.
    """
    if any((np.asarray(line.get_ydata(), float) <= 0).any() for line in bars(axes)) or is_empty(axes, "y"):
        return
    axes.set_yscale("log")
    decades = np.ptp(np.log10(axes.get_ylim()))
    ticks: tuple[float, ...] = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    if decades > 1.5:  # there is no room for all
        ticks = (1, 2, 5) if decades < 3 else (1,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def plain(value: float) -> str:
    """Write the number at a tick: with four digits, or with as many as it has.

    >>> plain(2.5), plain(1.0075), plain(20050.0), plain(1e9), plain(1e-12)
    ('2.5', '1.0075', '20050', '1e+09', '1e-12')
    """
    short, whole = f"{value:.4g}", f"{value:.10g}"
    return min(whole, short, key=len) if np.isclose(float(short), value, rtol=1e-9, atol=0) else whole


def bars(axes: Axes) -> list[Line2D]:
    """List the lines of an axes that have error bars."""
    return [container.lines[0] for container in axes.containers if isinstance(container, ErrorbarContainer)]
