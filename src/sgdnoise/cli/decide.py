"""Decide: optima, regimes, claims, advice."""

from __future__ import annotations

import argparse
import json
import sys

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import CELLS, COUNT, CSV, FILE, OPTIMUM, STUDY, option, to_path, verb, write_csv
from sgdnoise.study.config import load_config


@verb("optimum", "select the optimal learning rates by the paper's rule", STUDY, CELLS, CSV)
def optimum(options: argparse.Namespace) -> None:
    """Write optimum.csv, and warn of every optimum that the grid does not enclose."""
    from sgdnoise.analysis.estimate import with_estimates
    from sgdnoise.analysis.optimum import edge_warnings, optimum_table
    from sgdnoise.results.tables import read_table

    config, cells = load_config(options.config), read_table(options.cells)
    table = optimum_table(cells, config)
    write_csv(with_estimates(table, cells), options.out)
    for warning in edge_warnings(table, config):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)


@verb("regimes", "fit the optimal learning rate against the batch size: break and slopes", STUDY, CELLS, CSV)
def regimes(options: argparse.Namespace) -> None:
    """Write regimes.csv, and say of every sweep what would decide it."""
    from sgdnoise.analysis.regimes import regimes_table
    from sgdnoise.results.tables import read_table

    table = regimes_table(read_table(options.cells), load_config(options.config))
    write_csv(table, options.out)
    for row in table.to_dict("records"):
        print(f"{row['benchmark']}, {row['optimizer']}, {row['metric']}: {row['model']}. {row['decide']}".strip())


@verb("claims", "decide the paper's claims from the optima", STUDY, CELLS, OPTIMUM, CSV)
def claims(options: argparse.Namespace) -> None:
    """Write claims.csv, and say how many verdicts there are of each kind."""
    from sgdnoise.claims.verdicts import claims_table
    from sgdnoise.results.tables import read_table

    entries = load_config(options.config)["benchmarks"]
    protocols = {name: benchmarks.protocol(name, entry.get("file")) for name, entry in entries.items()}
    sibling_of = {name: protocol["sibling_of"] for name, protocol in protocols.items() if "sibling_of" in protocol}
    table = claims_table(read_table(options.optimum), sibling_of, read_table(options.cells))
    write_csv(table, options.out)
    for role, rows in table.groupby("role", sort=False):
        counts = rows["verdict"].value_counts()
        print(f"{role}: {', '.join(f'{number} {verdict}' for verdict, number in counts.items())}")


@verb(
    "recommend",
    "advise on a batch size from your own sweep under a constant epoch budget",
    option("--benchmark", required=True, help="of which benchmark"),
    option("--batch-size", required=True, type=COUNT, help="examples per update"),
    FILE,
    option("--cells", type=to_path, default="results/cells.csv", help="the table of `collect` (default: %(default)s)"),
    option("--extrapolate", action="store_true", help="advise beyond the batch sizes measured, too"),
    option("--json", action="store_true", help="print JSON"),
)
def recommend(options: argparse.Namespace) -> None:
    """Print advice on a batch size."""
    from sgdnoise.analysis.recommend import recommend, text
    from sgdnoise.results.tables import read_table

    protocol = benchmarks.protocol(options.benchmark, options.file)
    advice = recommend(read_table(options.cells), options.benchmark, options.batch_size, protocol, options.extrapolate)
    print(json.dumps(advice, indent=2) if options.json else text(advice))
