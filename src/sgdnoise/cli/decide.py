"""Decide: optima, regimes, claims, advice."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.cli.verbs import CELLS, CONFIG, CSV, FILE, OPTIMUM, STUDY, option, verb, write_csv
from sgdnoise.study.config import load_config


@verb("optimum", "select the optimal learning rates by the paper's rule", STUDY, CELLS, CSV)
def optimum(options: argparse.Namespace) -> None:
    """Write optimum.csv, and warn of every optimum that the grid does not enclose."""
    import pandas as pd

    from sgdnoise.analysis.estimate import with_estimates
    from sgdnoise.analysis.optimum import edge_warnings, optimum_table

    config, cells = load_config(options.config), pd.read_csv(options.cells)
    table = optimum_table(cells, config)
    write_csv(with_estimates(table, cells), options.out)
    for warning in edge_warnings(table, config):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)


@verb("regimes", "fit the optimal learning rate against the batch size: break and slopes", STUDY, CELLS, CSV)
def regimes(options: argparse.Namespace) -> None:
    """Write regimes.csv, and say of every sweep what would decide it."""
    import pandas as pd

    from sgdnoise.analysis.regimes import regimes_table

    table = regimes_table(pd.read_csv(options.cells), load_config(options.config))
    write_csv(table, options.out)
    for row in table.to_dict("records"):
        print(f"{row['benchmark']}, {row['optimizer']}, {row['metric']}: {row['model']}. {row['decide']}".strip())


@verb("claims", "decide the paper's claims from the optima", STUDY, CELLS, OPTIMUM, CSV)
def claims(options: argparse.Namespace) -> None:
    """Write claims.csv, and say how many verdicts there are of each kind."""
    import pandas as pd

    from sgdnoise.claims.decide import Study, advice_columns
    from sgdnoise.claims.measurements import measure
    from sgdnoise.claims.verdicts import decide_claims, row

    config, cells, optimum = load_config(options.config), pd.read_csv(options.cells), pd.read_csv(options.optimum)
    entries = config["benchmarks"]
    protocols = {name: benchmarks.protocol(name, entry.get("file")) for name, entry in entries.items()}
    sibling_of = {name: protocol["sibling_of"] for name, protocol in protocols.items() if "sibling_of" in protocol}
    found = measure(optimum, cells)
    decided = decide_claims(optimum, sibling_of, found)
    table = pd.DataFrame(map(row, decided)).join(advice_columns(decided, Study(config, cells, optimum, found)))
    write_csv(table, options.out)
    for role, rows in table.groupby("role", sort=False):
        counts = rows["verdict"].value_counts()
        print(f"{role}: {', '.join(f'{number} {verdict}' for verdict, number in counts.items())}")


@verb("decide", "list what would decide what a study leaves open, the cheapest first, as lines for its config", CONFIG)
def decide(options: argparse.Namespace) -> None:
    """Print what would decide the claims, with the time it takes, and the regimes."""
    import pandas as pd

    from sgdnoise.claims.decide import listed

    results, tables = Path(load_config(options.config)["results"]), []
    for path in (results / "claims.csv", results / "regimes.csv"):
        tables.append(pd.read_csv(path) if path.exists() else pd.DataFrame())
        if "decide" not in tables[-1]:
            raise ValueError(f"{path} is missing, or of an earlier version; make it with: snakemake --cores all --force {path}")
    print("\n".join(listed(*tables)))


@verb(
    "recommend",
    "advise on a batch size from your own sweep under a constant epoch budget",
    option("--benchmark", required=True, help="of which benchmark"),
    option("--batch-size", required=True, type=int, help="examples per update"),
    FILE,
    option("--cells", type=Path, default="results/cells.csv", help="the table of `collect` (default: %(default)s)"),
    option("--extrapolate", action="store_true", help="advise beyond the batch sizes measured, too"),
    option("--json", action="store_true", help="print JSON"),
)
def recommend(options: argparse.Namespace) -> None:
    """Print advice on a batch size."""
    import pandas as pd

    from sgdnoise.analysis.recommend import recommend, text

    if not options.cells.exists():
        raise ValueError(f"{options.cells} is missing; make it with: snakemake --cores 1 {options.cells}")
    protocol = benchmarks.protocol(options.benchmark, options.file)
    advice = recommend(pd.read_csv(options.cells), options.benchmark, options.batch_size, protocol, options.extrapolate)
    print(json.dumps(advice, indent=2) if options.json else text(advice))
