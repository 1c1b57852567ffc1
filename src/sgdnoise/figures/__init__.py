"""The figures, one file each: draw(tables, benchmark, protocol, style) returns a matplotlib Figure.

`tables` has the DataFrames "cells" and "optimum". Here is what the figures share: names, looks, captions, saving.
"""

from __future__ import annotations

import importlib
import io
import itertools
import os
import textwrap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ["MPLBACKEND"] = "agg"  # figures are files: whatever else it says may need a notebook or a screen, or not exist

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from sgdnoise.benchmarks import is_papers
from sgdnoise.machine.files import publish
from sgdnoise.results.run import MISSING
from sgdnoise.results.tables import points_of, read_table, same_points
from sgdnoise.study import optimizers
from sgdnoise.study.optimizers import PAPERS

Tables = dict[str, pd.DataFrame]
Style = dict[str, Any]

# Told apart in grey by lightness, marker and dash.
LOOKS: dict[str, dict[str, Any]] = {
    "sgd": {"color": "#0b3c6f", "marker": "o", "linestyle": "-"},
    "momentum": {"color": "#d9772b", "marker": "s", "linestyle": "--"},
    "momentum_warmup": {"color": "#5fae8b", "marker": "^", "linestyle": "-."},
    "adam": {"color": "#b8232f", "marker": "X", "linestyle": (0, (4, 1))},
    "adam_decoupled": {"color": "#e58ca0", "marker": "<", "linestyle": (0, (4, 1, 1, 1))},
    "muon": {"color": "#6a3d9a", "marker": "d", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
    "kfac": {"color": "#2a9d9d", "marker": "v", "linestyle": (0, (2, 1))},
    "soap": {"color": "#8c564b", "marker": "*", "linestyle": (0, (5, 2))},
    "svrg": {"color": "#3f3f3f", "marker": "P", "linestyle": (0, (8, 2))},
    "alpha_svrg": {"color": "#8f8f8f", "marker": ">", "linestyle": (0, (1, 1))},
}
# Of optimizers that are not the paper's, one after another.
OTHER_LOOKS: list[dict[str, Any]] = [
    {"color": "#9c4f96", "marker": "D", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
    {"color": "#b3a11f", "marker": "v", "linestyle": (0, (1, 1))},
    {"color": "#3f3f3f", "marker": "P", "linestyle": (0, (8, 2))},
    {"color": "#2a9d9d", "marker": "X", "linestyle": (0, (4, 1))},
    {"color": "#c0392b", "marker": "<", "linestyle": (0, (2, 1))},
    {"color": "#4878a8", "marker": ">", "linestyle": (0, (5, 2))},
    {"color": "#8c564b", "marker": "*", "linestyle": (0, (3, 1, 1, 1))},
]
OTHER_LOOK = OTHER_LOOKS[0]
LINES = [*(LOOKS[name] for name in PAPERS), OTHER_LOOK]  # of what is no optimizer
# How far each is moved sideways: steps of 3 % of an octave.
PLACES = {"o": 0.0, "s": 1.0, "^": 2.0, "D": 3.0, "d": 2.75, "v": 0.5, "P": 1.5, "X": 2.5, "<": 0.25, ">": 1.25, "*": 2.25}
SELECTION = "Learning rates selected on the test set, as in the paper."
PLAIN_SELECTION = "Learning rates selected on the test set."
PAPER = "Crosses: the paper's own points (ICLR v5)."
ESTIMATES = "Pale bars: 95 % intervals of the optimum by a curve through the sweep, a tick at their median; these decide."
# Characters of a line above a panel, and beside one. Our choice: as many as fit.
TITLE, SIDE = 44, 30
HOLLOW = "Hollow: the optimum or its error bar ends at the edge of the grid."


OWN_TABLES = (
    "two_rates",
    "curves",
    "time_to_target",
    "gap",
)  # figures that draw a table of their own, made by the verb of that name


def read_tables(cells: Path, optimum: Path, benchmark: str | None) -> Tables:
    """Read what the figures of a benchmark draw from, or those that compare all."""
    tables = {name: read_table(path, name) for name, path in (("cells", cells), ("optimum", optimum))}
    same_points(points_of(tables["cells"]), points_of(tables["optimum"]), cells, optimum)
    if benchmark is None:
        return tables
    return {name: _of(benchmark, table, path) for (name, table), path in zip(tables.items(), (cells, optimum), strict=True)}


def read_own(name: str, path: Path | None, benchmark: str) -> Tables:
    """Read the table of a figure that has one of its own."""
    if path is None:
        word = name.replace("_", "-")
        raise ValueError(f"the figure {name} needs --{word}, the table of `sgdnoise {word}`")
    table = read_table(path, name)
    if name == "gap" and table.empty:  # the study lacks an optimizer without the regulariser, or its batch sizes
        return {name: table}
    return {name: _of(benchmark, table, path)}


def _of(benchmark: str, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    found = table[table["benchmark"] == benchmark]
    if found.empty:
        raise ValueError(f"{path} has no benchmark {benchmark!r}")
    return found


def read_noise(noise: Path | None, optimum: Path, regimes: Path, benchmark: str) -> Tables:
    """Read the noise scales of a benchmark, and what was found in its sweeps as far as that is there."""
    if noise is None:
        raise ValueError("the figure noise_scale needs --noise, the table of `sgdnoise noise-scale`")
    paths = {"noise": noise} | {name: path for name, path in (("optimum", optimum), ("regimes", regimes)) if path.exists()}
    tables = {name: read_table(path, name) for name, path in paths.items()}
    return {name: table[table["benchmark"] == benchmark] for name, table in tables.items()} | {
        "noise": _of(benchmark, tables["noise"], noise)
    }


def names() -> list[str]:
    """List the figures."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def draw(name: str, tables: Tables, benchmark: str | None, protocol: dict[str, Any], style: Style) -> Figure:
    """Draw the figure of the file `name`.py."""
    if name not in names():
        raise ValueError(f"unknown figure {name!r}; known: {', '.join(names())}")
    mpl.rcdefaults()  # no user's own matplotlibrc
    sns.set_theme(context=style.get("context", "paper"), style="ticks", rc={"axes.grid": True, "grid.color": "0.9"})
    return importlib.import_module(f"sgdnoise.figures.{name}").draw(tables, benchmark, protocol, style)


def save(figure: Figure, paths: Iterable[Path], style: Style) -> None:
    """Write a figure to each path, whole or not at all, in the format of its ending; the same figure gives the same bytes."""
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    for path in paths:
        drawn, ending = io.BytesIO(), format_of(path)
        figure.savefig(drawn, format=ending, dpi=style.get("dpi", 150), metadata=dates.get(ending))
        try:
            publish(path, drawn.getbuffer())
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error}") from error


def format_of(path: Path) -> str:
    """Return the format that the ending of a figure's name asks for; a ValueError if there is none such."""
    ending = path.suffix[1:].lower()
    if ending not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"cannot draw {path}: its ending is no format of a figure; name it .png, .pdf or .svg")
    return ending


def panels(num_columns: int, num_rows: int = 1, height: float = 2.7) -> tuple[Figure, Any]:
    """Make a row or a grid of panels."""
    figure = Figure(figsize=(max(3.6 * num_columns, 5), height * num_rows + 1), layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def label(figure: Figure, title: str, caption: str) -> None:
    """Put a title above and a caption below a figure, wrapped to its width; dollar signs in them are no mathematics."""
    width = int(figure.get_figwidth() * 15)  # characters of the caption; the title's are larger
    lines = [part for line in title.splitlines() for part in textwrap.wrap(line, int(0.62 * width))]
    figure.suptitle(literal("\n".join(lines)), weight="bold", fontsize="large")
    wrapped = literal("\n".join(textwrap.wrap(caption, width)))
    figure.supxlabel(wrapped, fontsize="small", x=0.01, ha="left", color="0.25")


def legend(figure: Figure, *axes: Axes) -> None:
    """Name the lines of some panels in the first, or beside all panels if they are so many that their names would hide them."""
    names: dict[str, Any] = {}
    for one in axes:
        for line, name in zip(*one.get_legend_handles_labels(), strict=True):
            names.setdefault(name, line)
    handles, labels = list(names.values()), list(names)
    if len(names) > 4:
        figure.set_figwidth(figure.get_figwidth() + 2)
        figure.legend(handles, labels, fontsize="small", loc="outside right center")
    else:
        axes[0].legend(handles, labels, fontsize="small")


def metric_words(metric: str, protocol: dict[str, Any]) -> str:
    """Name a metric in the words of its benchmark, or else in its own.

    >>> metric_words("test_mse", {}), metric_words("test_mse", {"labels": {"test_mse": "test error in kPa²"}})
    ('test mse', 'test error in kPa²')
    """
    known = {"train_objective": "train loss with L2 term"} | protocol.get("labels", {})
    return known.get(metric, metric.replace("_", " "))


def metric_label(metric: str, protocol: dict[str, Any], before: str = "", width: int = TITLE) -> str:
    """Name a metric after some words, in lines that fit, where matplotlib would read dollar signs as mathematics.

    `label` itself takes `metric_words`.
    """
    return literal(textwrap.fill(before + metric_words(metric, protocol), width, break_on_hyphens=False))


def literal(text: str) -> str:
    """Write dollar signs so that matplotlib does not read what is between them as mathematics."""
    return text.replace("$", r"\$")


def optimizer_label(name: str) -> str:
    """Name an optimizer as the legend does."""
    return optimizers.label(name)


def selection(protocol: dict[str, Any]) -> str:
    """Say how learning rates are selected; of the paper only where a benchmark stands for one of its own."""
    return SELECTION if is_papers(protocol) else PLAIN_SELECTION


def looks(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line of the optimizers of a figure, in the order in which they are drawn."""
    known = {name: LOOKS[name] for name in names if name in LOOKS}
    taken = [(look["color"], look["marker"]) for look in known.values()]
    others = (look for look in other_looks() if (look["color"], look["marker"]) not in taken)
    return {name: known.get(name) or next(others) for name in optimizers.ordered(set(names))}


def other_looks() -> Iterator[dict[str, Any]]:
    """Yield OTHER_LOOKS, then each colour with the marker and the dash of others; those that have both in common are 49 apart."""
    number = len(OTHER_LOOKS)
    for index in itertools.count():
        turn, place = divmod(index, number)
        keys = enumerate(("color", "marker", "linestyle"))
        yield {key: OTHER_LOOKS[(place + turn * shift) % number][key] for shift, key in keys}


def rate_words(names: Iterable[str]) -> str:
    """Say what the learning rates of some optimizers are: effective ones if all are the paper's."""
    return "effective learning rate" if set(names) <= set(PAPERS) else "learning rate"


def rate_note(names: Iterable[str]) -> str:
    """Say for a caption which learning rates are effective ones, if not all are."""
    mixed = " Learning rates are effective ones, eps / (1 - momentum), of SGD, and torch's own of any other"
    mixed += " optimizer; what theory says of noise and curvature is about SGD."
    return "" if set(names) <= set(PAPERS) else mixed


def plot_points(
    axes: Axes, points: pd.DataFrame, x: str, y: str, spread: Any, look: dict[str, Any], name: str, alone: bool = False
) -> None:
    """Draw a line through points with error bars; hollow markers where `at_edge`.

    Each look is moved sideways by 3 % at most, so that lines which coincide are all seen; not one that is `alone` in its panel.
    """
    points = points.sort_values(x)
    moved = points[x] * sideways(look, alone)
    axes.errorbar(moved, points[y], yerr=spread(points), capsize=2, elinewidth=1, label=name, markersize=5, **look)
    hollow = (points["at_edge"] | (points["num_missing"] > 0)).to_numpy(bool)
    line = {"color": look["color"], "marker": look["marker"]}
    if hollow.any():
        axes.plot(moved[hollow], points[y][hollow], linestyle="none", markerfacecolor="white", markersize=5, zorder=5, **line)


def sideways(look: dict[str, Any], alone: bool = False) -> float:
    """Return the factor by which the points of an optimizer are moved."""
    return 1.0 if alone else 2.0 ** (0.03 * PLACES[look["marker"]] - 0.045)


def plot_estimates(axes: Axes, points: pd.DataFrame, x: str, look: dict[str, Any], alone: bool = False) -> str:
    """Draw the estimated optimal learning rates with their 95 % intervals, if the table has them; return what the caption says."""
    points = points.dropna(subset="fit_lr") if "fit_lr" in points else points.head(0)
    if points.empty:
        return ""
    moved = points[x] * sideways(look, alone)
    ends = [points["fit_lr_low"], points["fit_lr_high"]]  # as lines, which a legend keeps clear of
    axes.plot([moved, moved], ends, color=look["color"], alpha=0.25, linewidth=4, solid_capstyle="butt", zorder=1)
    axes.plot(moved, points["fit_lr"], color=look["color"], marker="_", markersize=9, alpha=0.6, linestyle="none", zorder=1)
    return f" {ESTIMATES}"


def plot_paper(axes: Axes, points: pd.DataFrame, x: str, y: str, linestyle: str) -> None:
    """Draw the paper's points of one optimizer as black crosses on a thin line; one of them is enough for the legend."""
    points = points.dropna(subset=y).sort_values(x)
    if len(points):
        name = "_paper" if "paper" in axes.get_legend_handles_labels()[1] else "paper"
        look: dict[str, Any] = {"color": "black", "marker": "x", "markersize": 4, "linewidth": 0.7, "linestyle": linestyle}
        axes.plot(points[x], points[y], label=name, zorder=4, **look)


def metric_spread(points: pd.DataFrame) -> Any:
    """Return the half length of a metric's error bar: one s.d. (none where keep is 1)."""
    return points["sd"].fillna(0)


def train_spread(points: pd.DataFrame) -> Any:
    """Return the half length of the train metric's error bar at the test optimum."""
    return points["train_sd"].fillna(0)


def lr_spread(points: pd.DataFrame) -> Any:
    """Return the error bar of an optimal learning rate: all within one s.d. of the best."""
    return [points["lr"] - points["lr_low"], points["lr_high"] - points["lr"]]


def draw_bound(axes: Axes, points: pd.DataFrame) -> None:
    """Draw the best value that the test metric can reach, where it is known."""
    if (bound := points["bound"].dropna()).size:
        axes.axhline(bound.iloc[0], color="0.4", linestyle=(0, (1, 1)), label=f"best reachable, {bound.iloc[0]:.2f}")


def without_swept(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the optimizers with a coefficient, which are in the figure gap, unless there are no others."""
    others = table[~table["optimizer"].str.contains("@")]
    return table if others.empty else others


def cells_of(tables: Tables, mode: str) -> pd.DataFrame:
    """Return the runs of a budget mode."""
    cells = tables["cells"]
    return cells[cells["modes"].str.split().map(lambda modes: mode in modes)]


def runs_caption(cells: pd.DataFrame) -> str:
    """Say how many runs stand behind a point."""
    counts = cells.groupby(["benchmark", "optimizer", "budget", "batch_size", "lr"]).agg(
        num=("seed", "size"), keep=("keep", "first")
    )
    kinds = counts.value_counts(sort=True).index.tolist()
    text = " or ".join(f"best {keep} of {num}" for num, keep in kinds)
    missing = int((cells["status"] == MISSING).sum())
    note = f" Not finished: {missing} of {len(cells)} runs are missing; points that lack some are hollow." if missing else ""
    return f"Points: mean over the {text} runs at each learning rate; bars: one s.d., or the learning rates within one s.d.{note}"
