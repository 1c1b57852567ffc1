"""Select the initial and the final learning rate together, by the paper's rule (ICLR v5 App. G)."""

from __future__ import annotations

import pandas as pd

from sgdnoise.analysis.optimum import lr_statistics, select

RATES = ("lr", "final_lr")
WINDOWS = {"low": "initial", "high": "initial", "final_lr_low": "final", "final_lr_high": "final"}  # of the config, by edge


def two_rates_table(cells: pd.DataFrame, metrics: dict[str, str]) -> pd.DataFrame:
    """Return a row per budget and metric, {metric: direction}, with the pair of rates that is best for it.

    `cells` are runs of one benchmark at one batch size with one optimizer, as `collect` has them. The columns are those of
    optimum.csv, for the final rate as well; error bars span all pairs whose mean is within one s.d. of the best.
    """
    train_metric, rows = list(metrics)[1], []
    fixed = ["benchmark", "num_train", "optimizer", "budget", "batch_size", "num_steps", "num_epochs"]
    for metric, direction in metrics.items():
        for _, runs in cells.groupby("num_epochs"):
            statistics = lr_statistics(runs, metric, direction, train_metric, RATES)
            named = {"metric": metric, "direction": direction, "keep": runs["keep"].iloc[0]}
            rows.append(runs[fixed].iloc[0].to_dict() | named | select(statistics, direction, RATES))
    return pd.DataFrame(rows)


def edge_warnings(table: pd.DataFrame) -> list[str]:
    """Name each optimum that the grid of both rates does not enclose, and the window of the config that would."""
    return [
        f"{row['metric']}: the optimum or its error bar ends at the {edge.rpartition('_')[2]} end of the grid; in the config, widen "
        f"two_rates.{row['benchmark']}.epochs.{row['num_epochs']:g}.{WINDOWS[edge]}"
        for row in table[table["at_edge"]].to_dict("records")
        for edge in row["edge"].split()
    ]
