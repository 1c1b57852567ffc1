"""Select optimal learning rates by the paper's rule (ICLR v5 sec. 3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sgdnoise import benchmarks
from sgdnoise.analysis.estimate import POINT
from sgdnoise.results.imported import IMPORTED
from sgdnoise.results.run import DIVERGED, MISSING
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import Config
from sgdnoise.study.grid import MODES, window_key

STATISTICS = ("mean", "sd", "train_mean", "train_sd", "num_kept")  # of a learning rate, as the table of optima has them


def best_k(values: np.ndarray, keep: int, direction: str) -> np.ndarray:
    """Return the indices of the best `keep` runs along the last axis, best first; diverged ones (no value) rank last.

    >>> best_k(np.array([0.7, np.nan, 0.9, 0.8]), 3, "max").tolist()
    [2, 3, 0]
    """
    return np.argsort(-values if direction == "max" else values, kind="stable")[..., :keep]


def lr_statistics(
    cells: pd.DataFrame, metric: str, direction: str, train_metric: str, rates: Sequence[str] = ("lr",)
) -> pd.DataFrame:
    """Summarise points of the grid: a row per learning rate, or combination of `rates`, over the best `keep` of its runs by `metric`.

    A learning rate that has fewer than `keep` completed runs has mean NaN and cannot be the optimum. `train_mean` and
    `train_sd` are those of `train_metric` over the same runs. The s.d. has one degree of freedom removed; with keep 1
    there is none (NaN).
    """
    keys = [*POINT, *rates]
    ranked = cells.sort_values(metric, ascending=direction == "min", kind="stable", na_position="last")
    kept = ranked[ranked.groupby(keys).cumcount() < ranked["keep"]]
    values = kept.groupby(keys)[list({metric, train_metric})]
    complete = values.count() == values.size().to_numpy()[:, None]  # a run without a value leaves none to the mean
    mean, sd = values.mean().where(complete), values.std().where(complete)
    status = pd.DataFrame({"num_diverged": cells["status"] == DIVERGED, "num_missing": cells["status"] == MISSING})
    counts = status.groupby([cells[key] for key in keys]).sum()
    return pd.DataFrame(
        {
            "mean": mean[metric],
            "sd": sd[metric],
            "train_mean": mean[train_metric],
            "train_sd": sd[train_metric],
            "num_runs": cells.groupby(keys).size(),
            "num_kept": values.size(),
            **counts,
        }
    ).reset_index()


def sweeps(cells: pd.DataFrame, metric: str, direction: str, train_metric: str) -> dict[Any, pd.DataFrame]:
    """Return the `lr_statistics` of each point of the grid."""
    return dict(iter(lr_statistics(cells, metric, direction, train_metric).groupby(POINT)))


def select(statistics: pd.DataFrame, direction: str, rates: Sequence[str] = ("lr",)) -> dict[str, Any]:
    """Pick the optimal learning rate of one point of the grid, with its error bar.

    The optimum has the best mean (of equals, the smallest learning rate). Its error bar spans every learning rate whose
    mean is within one s.d. of the best; `edge` says at which end of the grid the optimum or its bar stops. The grid has no learning rate
    at which enough runs may complete once those missing are trained. Where a final learning rate is selected too (`rates`), it has all
    of this as well, and at equal means the first pair is taken.
    """
    column = {name: values.to_numpy() for name, values in statistics.items()}  # pandas takes ten times as long
    mean, may_complete = column["mean"], column["num_runs"] - column["num_diverged"] >= column["num_kept"]
    trained = ~(np.isnan(mean) & may_complete & (column["num_missing"] > 0))  # else nothing is known there yet
    summary: dict[str, Any] = {
        "num_lrs": len(mean),
        "num_runs": int(column["num_runs"].sum()),
        "num_diverged": int(column["num_diverged"].sum()),
        "num_missing": int(column["num_missing"].sum()),
    }
    for rate in rates:
        summary[f"{rate}_grid_low"] = column[rate][trained].min() if trained.any() else np.nan
        summary[f"{rate}_grid_high"] = column[rate][trained].max() if trained.any() else np.nan
    if np.isnan(mean).all():  # nothing to choose from: the grid has to go on downwards, or first to be trained
        none = dict.fromkeys([*rates, *STATISTICS], np.nan) | {"num_kept": 0}
        none |= {f"{rate}{end}": np.nan for rate in rates for end in ("_low", "_high")}
        diverged = bool(trained.all())
        return summary | none | {"at_edge": diverged, "edge": "low" if diverged else ""}
    best = np.nanargmax(mean) if direction == "max" else np.nanargmin(mean)
    within = np.abs(mean - mean[best]) <= np.nan_to_num(column["sd"][best])
    chosen = {name: column[name][best] for name in [*rates, *STATISTICS]}
    edges = []
    for rate in rates:
        chosen[f"{rate}_low"], chosen[f"{rate}_high"] = column[rate][within].min(), column[rate][within].max()
        ends = [end for end in ("low", "high") if chosen[f"{rate}_{end}"] == summary[f"{rate}_grid_{end}"]]
        edges += [end if rate == "lr" else f"{rate}_{end}" for end in ends]
    return summary | chosen | {"at_edge": bool(edges), "edge": " ".join(edges)}


def optimum_table(cells: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return a row per budget mode, point of the grid and metric, each metric with an optimum of its own."""
    rows = []
    for benchmark, runs in cells.groupby("benchmark", sort=False):
        metrics = benchmarks.protocol(benchmark, config["benchmarks"][benchmark].get("file"))["metrics"]
        test_metric, train_metric = list(metrics)[:2]
        found = {metric: sweeps(runs, metric, direction, train_metric) for metric, direction in metrics.items()}
        for point, some in runs.groupby(POINT, sort=False):
            first, modes = some.iloc[0], set(" ".join(some["modes"].unique()).split())
            for metric, direction in metrics.items():
                chosen = select(found[metric][point], direction)
                common = {
                    "budget": first["budget"],
                    "batch_size": first["batch_size"],
                    "num_steps": first["num_steps"],
                    "num_epochs": first["num_epochs"],
                    "metric": metric,
                    "direction": direction,
                    **chosen,
                    "bound": first["bound"] if metric == test_metric else np.nan,
                }
                names = {"benchmark": benchmark, "optimizer": first["optimizer"]}
                rows += [{"benchmark": benchmark, "mode": mode} | names | common for mode in MODES if mode in modes]
    return pd.DataFrame(rows)


def edge_warnings(table: pd.DataFrame, config: Config) -> list[str]:
    """Name each optimum that the grid does not enclose, and the line of the config that would widen it; of imported runs advice says it."""
    wider: dict[str, tuple[list[str], set[str]]] = {}
    for row in table[table["at_edge"]].to_dict("records"):
        if is_imported(row["benchmark"], config):
            continue
        swept = window_key(row["mode"], row["budget"], row["batch_size"])
        key = f"benchmarks.{row['benchmark']}.{row['mode']}.{row['optimizer']}.{swept}"
        metrics, edges = wider.setdefault(key, ([], set()))
        metrics.append(row["metric"])
        edges.update(row["edge"].split())
    warnings = []
    for key, (metrics, edges) in wider.items():
        _, benchmark, mode, point = key.split(".", 3)
        optimizer, _, swept = point.rpartition(".")
        low, high = config["benchmarks"][benchmark][mode][optimizer][swept]
        warnings.append(
            f"{', '.join(metrics)}: the optimum or its error bar ends at the {' and '.join(sorted(edges))} end of the grid; "
            f"in the config, widen {key}: [{lr_string(low)}, {lr_string(high)}] to {wider_window(key, low, high, edges, config)}"
            + ", or raise extend_limit, which ended its extension"
            * config["extend_grid"]
        )
    return warnings


def is_imported(benchmark: str, config: Config) -> bool:
    """Tell whether the runs of a benchmark were made elsewhere, so that the windows of its config are what they were."""
    return bool(benchmarks.protocol(benchmark, config["benchmarks"][benchmark].get("file"))["dataset"] == IMPORTED)


def wider_window(key: str, low: float, high: float, edges: Collection[str], config: Config) -> str:
    """Write the window that goes one learning rate of the grid beyond the ends named; `key` is that of a window of the config."""
    benchmark = key.split(".")[1]
    ratio = benchmarks.in_study(benchmark, config["benchmarks"][benchmark])["lr_grid"]["ratio"]
    return f"[{lr_string(low / ratio if 'low' in edges else low)}, {lr_string(high * ratio if 'high' in edges else high)}]"
