"""Move windows of learning rates until they enclose the optima: the rule of `extend_grid`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sgdnoise.analysis.estimate import with_estimates
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.results.collect import read_cells
from sgdnoise.results.run import Run, read_run
from sgdnoise.study import grid, looks, remedy, windows
from sgdnoise.study.cell import Cell
from sgdnoise.study.config import Config, load_config
from sgdnoise.study.windows import Window

Read = Callable[[Path], Run]  # of a cell's file
MARGIN = 2  # our choice: few seeds may miss the optimum by a grid step, and one more encloses it


def next_window(window: Window, config: Config, read: Read = read_run) -> Window:
    """Return the window that the results of this one ask for; the same window if it is the last.

    `config` is a study with the point of the window, which may be its only one.

    An end moves outwards by one learning rate when the optimum of any metric, or its error bar, touches it: whatever
    `edge_warnings` would warn of; with all seeds and `decide`, when its estimate may lie beyond. It stops where the widest window
    ends. A bracket that does not move any more is followed by the learning rates near its optima with all seeds.
    """
    ladder = windows.ladders(windows.widest(config))[window.point]
    lrs = [cell.lr for cell in ladder]
    cells = windows.cells_of(window, ladder, config["bracket_seeds"])
    runs = read_cells(cells, [Path(config["results"])], allow_missing=False, read=read)
    optima = optimum_table(runs, config)
    first, last = lrs.index(window.low), lrs.index(window.high)
    edges = set(" ".join(optima["edge"]).split())
    if config["decide"] is not None and window.stage == "full":  # which decides by estimates
        edges.update(" ".join(with_estimates(optima, runs)["fit_edge"]).split())
    wider_first = max(first - ("low" in edges), 0)
    wider_last = min(last + ("high" in edges), len(lrs) - 1)
    if (wider_first, wider_last) == (first, last) and window.stage == "bracket":
        values = [float(lr) for lr in lrs]
        if optima["lr"].notna().any():  # else every run diverged, and nothing is near
            wider_first = max(values.index(optima["lr_low"].min()) - MARGIN, first)
            wider_last = min(values.index(optima["lr_high"].max()) + MARGIN, last)
        window = replace(window, stage="full")
    return replace(window, low=lrs[wider_first], high=lrs[wider_last])


def settled(config: Config) -> Config:
    """Return the config with the last window of each point, as the files in the results folder have it, if windows are extended."""
    if not config["extend_grid"]:
        return config
    results, ends = Path(config["results"]), {}
    for start in windows.starts(config):
        window = windows.last_window(start, lambda window: results / window.path)
        ends[window.point] = (float(window.low), float(window.high))
    return windows.moved(config, ends)


def load_settled(path: str | Path) -> Config:
    """Read a study as it has ended: with the last window of each point, and the seeds that its looks have added.

    `grid.json`, which the workflow writes, is so already; of a config, the files in its results folder say it. A ValueError names
    the first of them that is missing.
    """
    config = load_config(path)
    if Path(path).name == "grid.json":
        return config
    results = Path(config["results"])

    def there(file: str) -> Path:
        if not (results / file).exists():
            raise ValueError(
                f"the study {path} is not finished: {results / file} is missing, which says whether it gets cells; go on with: {remedy.command(cores='all')}"
            )
        return results / file

    for start in windows.starts(config) if config["extend_grid"] else []:
        there(windows.furthest(start, results).path)
    if config["decide"] is not None:
        files = (there(looks.PATH.format(number=one + 1)) for one in range(looks.most(config)))
        return settled(config) | {"looks": [some for file in looks.files(files) if (some := looks.read(file))]}
    return settled(config)


def replayed(config: Config, read: Read = read_run) -> tuple[Config, list[Cell]]:
    """Move every window again, by the cells in the results folder alone; return the settled config and all cells that this took.

    A study whose windows stay is returned as it is.
    """
    if not config["extend_grid"]:
        return config, grid.cells(config)
    studies, ladders = windows.studies(config), windows.ladders(windows.widest(config))
    ends: dict[windows.Point, tuple[float, float]] = {}
    took: dict[str, Cell] = {}
    for window in windows.starts(config):
        point = window.point
        while True:
            took |= {cell.path: cell for cell in windows.cells_of(window, ladders[point], config["bracket_seeds"])}
            after = next_window(window, studies[point], read)
            if after == window:
                break
            window = after
        ends[point] = (float(window.low), float(window.high))
    return windows.moved(config, ends), list(took.values())
