"""The gradient noise scale and the stable learning rate over a run, beside where its sweep found the regimes to change."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETUPBASE
from matplotlib.ticker import FuncFormatter

from sgdnoise import figures
from sgdnoise.figures._axes import log2_axis, plain_log_axis

SERIES = {
    "noise_scale": ("simple noise scale", figures.LOOKS["sgd"]),
    "hessian_noise_scale": ("Hessian-weighted noise scale", figures.LOOKS["momentum"]),
    "stable_lr": ("stable by the top Hessian eigenvalue", figures.LOOKS["sgd"]),
    "linear_scaling_end": ("where linear scaling reaches the stable rate", figures.LOOKS["momentum_warmup"]),
}


def draw(tables: figures.Tables, benchmark: str, protocol: dict[str, Any], style: figures.Style) -> Figure:
    """Draw the noise scales (McCandlish et al. 2018), and the learning rate that the curvature allows (ICLR v5 sec. 2)."""
    noise, metric = tables["noise"], list(protocol["metrics"])[1]  # both theories are of training
    run = noise.iloc[0]
    optima = matching(tables.get("optimum"), run, metric)
    optima = optima[optima["mode"] == "constant_epoch"].dropna(subset="lr") if len(optima) else optima
    figure, ((sizes, lrs),) = figures.panels(2, height=3.2)
    inside = optima[~optima["at_edge"].astype(bool)] if len(optima) else optima
    if len(inside):  # the temperature lr / batch size that is optimal while noise dominates
        small = inside.sort_values("batch_size").iloc[0]
        scaled = {
            f"linear_scaling_end{end}": noise[f"stable_lr{end}"] * small["batch_size"] / small["lr"]
            for end in ("", "_low", "_high")
        }
        noise = noise.assign(**scaled)
    for axes, names in ((sizes, ("noise_scale", "hessian_noise_scale", "linear_scaling_end")), (lrs, ("stable_lr",))):
        for shift, name in enumerate(name for name in names if name in noise):
            plot_series(axes, noise, name, 0.012 * (shift - 1) * noise["epoch"].max())
    sizes.axhline(run["batch_size"], color="0.6", linestyle=":", label=f"batch size of this run, {run['batch_size']}")
    lrs.axhline(run["initial_lr"], color="0.6", linestyle=":", label=f"of this run until it falls, {run['initial_lr']:.3g}")
    for found in matching(tables.get("regimes"), run, metric).to_dict("records"):  # one, or none
        text = f"measured break, {found['break']:.3g}" if np.isfinite(found["break"]) else "break not excluded here"
        draw_range(sizes, found["break"], found["break_low"], found["break_high"], text)
    if len(optima):
        best = optima.sort_values("lr").iloc[-1]
        text = f"largest optimum measured, {best['lr']:.3g} (batch {best['batch_size']})"
        draw_range(lrs, best["lr"], best["lr_low"], best["lr_high"], text)
    log2_axis(sizes, "y")
    sizes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    plain_log_axis(lrs)
    for axes, title in (
        (sizes, "critical batch size, predicted"),
        (lrs, f"largest stable {figures.rate_words([run['optimizer']])}"),
    ):
        axes.set(title=title, xlabel="epochs")
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    caption = (
        "Bars: 95 % intervals. A triangle stands on the lower limit of a noise scale that is not identifiable: the gradient cannot "
        "be told from 0. Dark lines, grey bands: what the sweep measured, if it did, for "
        f"{figures.metric_words(metric, protocol)}."
    )
    if noise["stable_lr"].isna().all():
        caption += " The stable learning rate is known of SGD only, with momentum or without."
    what = f"{figures.optimizer_label(run['optimizer'])}, batch size {run['batch_size']}, learning rate {run['initial_lr']:.3g}"
    figures.label(figure, f"{protocol['title']}\nnoise and curvature: {what}", caption)
    return figure


def matching(table: pd.DataFrame | None, run: pd.Series, metric: str) -> pd.DataFrame:
    """Return the rows of a study's table on the benchmark and optimizer of a run, and on a metric."""
    if table is None:
        return pd.DataFrame()
    keys = {"benchmark": run["benchmark"], "optimizer": run["optimizer"], "metric": metric}
    return table[np.logical_and.reduce([table[key] == value for key, value in keys.items()])]


def plot_series(axes: Axes, noise: pd.DataFrame, name: str, shift: float) -> None:
    """Draw a quantity with its intervals, a line per seed; a triangle where only its lower limit is known."""
    text, look = SERIES[name]
    low, high = noise[f"{name}_low"], noise[f"{name}_high"]
    for index, (_, line) in enumerate(noise.groupby("seed")):
        value, x = line[name], line["epoch"] + shift
        bars = np.array([value - line[f"{name}_low"], line[f"{name}_high"] - value])
        axes.errorbar(x, value, bars, capsize=2, markersize=5, elinewidth=1, label="" if index else text, **look)
    open_ended = noise[name].isna() & np.isinf(high) & low.notna()
    if open_ended.any():
        triangle = {"marker": CARETUPBASE, "color": look["color"], "linestyle": "none", "markersize": 9}
        axes.plot(noise["epoch"][open_ended] + shift, low[open_ended], **triangle)


def draw_range(axes: Axes, value: float, low: float, high: float, text: str) -> None:
    """Draw a level with its interval, open ends to the edges of the panel."""
    if not low <= high or (low == 0 and np.isinf(high)):  # nothing is known of it
        return
    axes.set_yscale("log")
    known = [one for one in (value, low, high) if np.isfinite(one) and one > 0]
    bottom, top = axes.get_ylim()
    bottom, top = min([bottom, *(one / 1.5 for one in known)]), max([top, *(one * 1.5 for one in known)])
    axes.axhspan(max(low, bottom), min(high, top), color="0.88", zorder=0, label=None if np.isfinite(value) else text)
    if np.isfinite(value):
        axes.axhline(value, color="0.3", linewidth=1.2, zorder=1, label=text)
    axes.set_ylim(bottom, top)
