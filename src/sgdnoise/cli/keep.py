"""Keep: a finished study with its runs, checked against them."""

from __future__ import annotations

import argparse

from sgdnoise.cli.verbs import option, to_path, verb


@verb(
    "reference",
    "keep a finished study: its config, its runs, and what follows from them",
    option("--config", required=True, type=to_path, help="the study"),
    option("--out", dest="out_folder", required=True, type=to_path, help="the folder to make"),
)
def reference(options: argparse.Namespace) -> None:
    """Make a reference folder."""
    from sgdnoise.report.reference import keep

    names = keep(options.config, options.out_folder, options.run_verb)
    print(f"{options.out_folder}: {len(names)} files derived from the runs")


@verb(
    "reference-check",
    "show that the tables and figures of reference folders follow from their runs",
    option("folders", nargs="+", type=to_path, help="made by `reference`"),
)
def reference_check(options: argparse.Namespace) -> None:
    """Check reference folders."""
    from sgdnoise.report.reference import check

    for folder in options.folders:
        names = check(folder, options.run_verb)
        print(f"{folder}: all {len(names)} derived files follow from the runs")
