"""Time to a target: the steps and the seconds after which each batch size reaches one value of the test metric.

Where steps halve as the batch doubles, a larger batch saves time; where they no longer fall, it only costs examples. Each run follows
the schedule of its whole budget: with a shorter one it may reach the target sooner.
"""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sgdnoise import figures
from sgdnoise.analysis.steps_to_target import StepsToTarget
from sgdnoise.analysis.time_to_target import fitted, summary
from sgdnoise.figures._axes import plain_log_axis, sizes_axis

LINE = 0.16  # inches of a line of a title
HOLLOW = (
    "Hollow: an upper limit, at the edge of the learning rates, by the first evaluation, or with runs missing; no curve uses it."
)
CURVE = (
    "Line: S = S_min (1 + b_crit / B) by least squares of log steps; at the critical batch size b_crit steps and examples are both twice "
    "their least. Its interval: bootstrap over seeds."
)


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw steps and seconds to the target against batch size, a row per budget mode."""
    points = tables["time_to_target"]
    looks, modes = figures.looks(points["optimizer"]), list(points["mode"].unique())
    alone = len(looks) == 1
    lines = dict(iter(points.groupby(["mode", "optimizer"])))
    titles = {
        mode: [part for name in looks if (mode, name) in lines for part in textwrap.wrap(summary(lines[mode, name]), 46)]
        for mode in modes
    }
    figure, grid = figures.panels(2, len(modes), height=3.2 + LINE * max(0, max(map(len, titles.values())) - 2))
    for mode, (steps, seconds) in zip(modes, grid, strict=True):
        for name, look in looks.items():
            if (line := lines.get((mode, name))) is None:
                continue
            apart, label = look | {"linestyle": "none"}, figures.optimizer_label(name)
            figures.plot_points(steps, line, "batch_size", "steps", lambda _: None, apart, label, alone)
            figures.plot_points(seconds, line, "batch_size", "seconds", lambda _: None, look, label, alone)
            one = line.iloc[0]
            if np.isfinite(one["critical"]):
                curve = StepsToTarget(one["fewest_steps"], one["fewest_steps"] * one["critical"])
                ends = line["batch_size"][fitted(line)]
                x = np.geomspace(ends.min(), ends.max(), 50)
                steps.plot(
                    x * figures.sideways(look, alone), curve.a + curve.b / x, color=look["color"], linestyle=look["linestyle"]
                )
        steps.set_title("\n".join([f"{mode.replace('_', ' ')} budget: steps to it", *titles[mode]]))
        seconds.set_title("seconds of training to it, as measured")
        for axes in (steps, seconds):
            if points["steps"][points["mode"] == mode].notna().any():
                plain_log_axis(axes)
            else:
                axes.set_yticks([])
            axes.set(xlabel="batch size", xlim=(points["batch_size"].min() / 1.2, points["batch_size"].max() * 1.2))
            sizes_axis(axes, points["batch_size"])
    figures.legend(figure, *grid[:, 0])
    metric, target = points["metric"].iloc[0], points["target"].iloc[0]
    where = [
        f"{figures.optimizer_label(str(name))}, {str(mode).replace('_', ' ')}, at "
        + ", ".join(
            f"{size} ({'none' if np.isnan(best) else f'{best:.4g}'})"
            for size, best in zip(some["batch_size"], some["best"], strict=True)
        )
        for (mode, name), some in points[points["steps"].isna()].groupby(["mode", "optimizer"], sort=False)
    ]
    caption = (
        "Points: the fastest of the learning rates trained, by the mean over the runs completed, on a line between evaluations. "
        "Seconds: at the measured speed, of all seeds together where these train at once. "
    )
    caption += f"Not reached (best mean): {'; '.join(where)}. " * bool(where) + f"{HOLLOW} {CURVE}"
    title = f"time to a {figures.metric_words(metric, protocol)} of {target:g}"
    figures.label(figure, f"{protocol['title']}\n{title}", caption)
    return figure
