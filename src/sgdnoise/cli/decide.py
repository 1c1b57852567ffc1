"""Decide: optima, regimes, claims, advice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import CELLS, CONFIG, COUNT, CSV, OPTIMUM, ROOTS, STUDY, number, option, to_path, verb, write_csv
from sgdnoise.study import arms, grid, remedy, text
from sgdnoise.study.config import load_config
from sgdnoise.study.figures import figure_names


@verb("optimum", "select the optimal learning rates by the paper's rule", STUDY, CELLS, CSV)
def optimum(options: argparse.Namespace) -> None:
    """Write optimum.csv, and warn of every optimum that the grid does not enclose."""
    from sgdnoise.analysis.estimate import with_estimates
    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.analysis.optimum import edge_warnings, optimum_table
    from sgdnoise.results.tables import read_study

    config = load_settled(options.config)
    (cells,) = read_study(config, options.config, cells=options.cells)
    table = optimum_table(cells, config)
    write_csv(with_estimates(table, cells), options.out)
    for warning in (*text.warnings(config), *edge_warnings(table, config)):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)


@verb(
    "two-rates",
    "select the initial and the final learning rate of a sweep over both",
    STUDY,
    option("--benchmark", required=True, help="of which benchmark"),
    ROOTS,
    CSV,
)
def two_rates(options: argparse.Namespace) -> None:
    """Write the table of optimal pairs, and warn of every one that the grid does not enclose."""
    from sgdnoise.analysis.two_rates import edge_warnings, two_rates_table
    from sgdnoise.results.collect import collect_cells

    config, name = load_config(options.config), options.benchmark
    if not (listed := grid.two_rate_cells(config, name)):
        raise ValueError(f"{options.config}: no two_rates of a benchmark {name!r}")
    metrics = benchmarks.protocol(name, config["benchmarks"][name].get("file"))["metrics"]
    table = two_rates_table(collect_cells(config, options.roots, listed=listed), metrics)
    write_csv(table, options.out)
    for warning in edge_warnings(table):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)


@verb(
    "time-to-target",
    "gather when each batch size reaches a value of the test metric, and the critical batch size",
    STUDY,
    option("--benchmark", required=True, help="of which benchmark"),
    option("--target", required=True, type=number(float, -1e300, 1e300), help="a value of its test metric"),
    CELLS,
    ROOTS,
    CSV,
)
def time_to_target(options: argparse.Namespace) -> None:
    """Write the table that the figure of that name draws, and say what it shows."""
    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.analysis.time_to_target import summary, time_to_target_table
    from sgdnoise.results.collect import collect_curves
    from sgdnoise.results.tables import read_study

    config, name = load_settled(options.config), options.benchmark
    if not (listed := grid.target_cells(config, name)):
        raise ValueError(f"{options.config}: no constant_epoch or constant_step of a benchmark {name!r}")
    (cells,) = read_study(config, options.config, cells=options.cells)
    metric, direction = next(iter(benchmarks.protocol(name, config["benchmarks"][name].get("file"))["metrics"].items()))
    curves = collect_curves(config, listed, options.roots)
    table = time_to_target_table(cells[cells["benchmark"] == name], curves, metric, direction, options.target)
    write_csv(table, options.out)
    for (mode, _), points in table.groupby(["mode", "optimizer"], sort=False):
        print(f"{name}, {mode}: {summary(points)}")


@verb(
    "gap",
    "say what share of the gap between a small and a large batch, at equal updates, each regulariser recovers",
    STUDY,
    option("--benchmark", required=True, help="of which benchmark"),
    CELLS,
    CSV,
)
def gap(options: argparse.Namespace) -> None:
    """Write the table that the figure of that name draws, and warn of every best coefficient that the sweep does not enclose."""
    from sgdnoise.claims.gaps import gap_table, said
    from sgdnoise.results.tables import read_study

    config, name = load_config(options.config), options.benchmark
    if name not in config["benchmarks"]:
        raise ValueError(f"{options.config}: no benchmark {name!r}; it has: {', '.join(config['benchmarks'])}")
    lacking = list(arms.lacking(name, config))
    if "gap" not in figure_names(config, name):
        none = f"no optimizer with a regulariser, as penalty@0.01, under constant_step of {name!r}"
        raise ValueError(f"{options.config}: {next(iter(lacking), none)}")
    (cells,) = read_study(config, options.config, cells=options.cells)
    table = gap_table(cells, config, name)
    write_csv(table, options.out)
    for line in [*(f"{name}: {line}" for line in said(table)), *lacking]:
        print(line)


@verb("regimes", "fit the optimal learning rate against the batch size: break and slopes", STUDY, CELLS, CSV)
def regimes(options: argparse.Namespace) -> None:
    """Write regimes.csv, and say of every sweep what would decide it."""
    from sgdnoise.analysis.regimes import regimes_table
    from sgdnoise.results.imported import AGAIN
    from sgdnoise.results.tables import read_table

    table = regimes_table(read_table(options.cells, "cells"), load_config(options.config))
    write_csv(table, options.out)
    for row in table[~table["metric"].str.endswith(AGAIN)].to_dict("records"):
        print(f"{row['benchmark']}, {row['optimizer']}, {row['metric']}: {row['model']}. {row['decide']}".strip())


@verb("claims", "decide the paper's claims from the optima", STUDY, CELLS, OPTIMUM, CSV)
def claims(options: argparse.Namespace) -> None:
    """Write claims.csv, and say how many verdicts there are of each kind."""
    import pandas as pd

    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.claims.decide import advice_columns
    from sgdnoise.claims.looks import first_verdicts, judge_looks
    from sgdnoise.claims.verdicts import row
    from sgdnoise.results.tables import read_study

    config = load_settled(options.config)
    cells, found = read_study(config, options.config, cells=options.cells, optimum=options.optimum)
    looks = judge_looks(config, cells, found)
    decided, numbers = zip(*first_verdicts(looks), strict=True)
    table = pd.DataFrame(map(row, decided)).join(advice_columns(list(decided), looks[-1].study))
    if config["decide"] is not None:
        table["look"] = numbers
    write_csv(table, options.out)
    for role, rows in table.groupby("role", sort=False):
        counts = rows["verdict"].value_counts()
        print(f"{role}: {', '.join(f'{number} {verdict}' for verdict, number in counts.items())}")


@verb("decide", "list what would decide what a study leaves open, the cheapest first, as lines for its config", CONFIG)
def decide(options: argparse.Namespace) -> None:
    """Print what would decide the claims and the advice, with the time it takes, and the regimes."""
    from sgdnoise.analysis.recommend import recommend
    from sgdnoise.claims.decide import listed
    from sgdnoise.results.tables import read_table

    results, tables = Path(load_config(options.config)["results"]), []
    for name in ("claims.csv", "regimes.csv", "cells.csv", "grid.json"):
        if not (path := results / name).exists():
            raise ValueError(f"{path} is missing; make it with: {remedy.command(path, 'all')}")
        if path.suffix == ".csv":
            tables.append(read_table(path))
    claims, regimes, cells = tables
    for name, table in (("claims.csv", claims), ("regimes.csv", regimes)):
        if "decide" not in table:
            raise ValueError(
                f"{results / name} is of an earlier version; make it with: {remedy.command(results / name, 'all', force=True)}"
            )
    has_advice = cells["modes"].str.contains("constant_epoch").any()
    advice = recommend(cells, load_config(results / "grid.json")) if has_advice else []
    print("\n".join(listed(claims, regimes, advice)))


@verb(
    "recommend",
    "advise on batch size and learning rate from your own sweeps under a constant epoch budget",
    option("--benchmark", help="of which benchmark (default: of each)"),
    option("--batch-size", type=COUNT, help="at one batch size, interpolated if it was not trained (default: at each)"),
    option(
        "--margin",
        type=number(float, 1e-12, 0.999),
        help="a loss that counts as none: a difference of accuracies (default: 0.005), or a share of other metrics (default: 0.01)",
    ),
    option("--cells", type=to_path, help="the table of `collect` (default: that of the results folder of config.yaml)"),
    option("--config", type=to_path, help="the grid that it belongs to (default: grid.json beside it)"),
    option("--extrapolate", action="store_true", help="advise beyond the batch sizes measured, too"),
    option("--json", action="store_true", help="print JSON"),
)
def recommend(options: argparse.Namespace) -> None:
    """Print advice on every benchmark of the study."""
    from sgdnoise.analysis.extend import load_settled
    from sgdnoise.analysis.recommend import recommend
    from sgdnoise.analysis.wording import as_json, text
    from sgdnoise.results.tables import read_study

    cells = options.cells
    if cells is None:
        cells = Path(load_config("config.yaml")["results"] if Path("config.yaml").exists() else "results") / "cells.csv"
    study = options.config or cells.with_name("grid.json")
    for path in (cells, study):
        if not path.exists():
            raise ValueError(f"{path} is missing; make it with: {remedy.command(path)}")
    chosen = {name: getattr(options, name) for name in ("benchmark", "batch_size", "margin", "extrapolate")}
    config = load_settled(study)
    (runs,) = read_study(config, study, cells=cells)
    advice = recommend(runs, config, **chosen)
    print(as_json(advice) if options.json else "\n\n\n".join(map(text, advice)))
