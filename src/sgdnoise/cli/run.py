"""Run: a study from the plan to the advice; how far it is."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import signal
import subprocess
import sys
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

from sgdnoise.cli.verbs import CONFIG, COUNT, option, to_path, verb
from sgdnoise.machine.files import logs_of
from sgdnoise.machine.imports import install
from sgdnoise.study import grid, progress
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import load_config

PACKAGE = Path(__file__).parents[1]
HOME = PACKAGE if (PACKAGE / "workflow").exists() else PACKAGE.parents[1]  # where the workflow is: in a wheel, in the repository
PROFILES = HOME / "workflow/profiles"

# What of Snakemake's options decides whether and where there are results afterwards; and all others of one letter, which may be
# written together: -np, -nc4.
SNAKEMAKE = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
SNAKEMAKE.add_argument("--directory", "-d", type=Path, default=Path())
SNAKEMAKE.add_argument("--dry-run", "--dryrun", "-n", action="store_true")
SNAKEMAKE.add_argument("--config", "-C", nargs="*", default=[])
FLAGS, ONE_VALUE, VALUES = "tkfFlSDpahv", "scjewT", "RPUOq"
for letter in FLAGS:
    SNAKEMAKE.add_argument(f"-{letter}", action="store_true")
for letter in ONE_VALUE + VALUES:
    SNAKEMAKE.add_argument(f"-{letter}", nargs="*" if letter in VALUES else None)


def cores(text: str) -> str:
    """Read how many cells are trained at once: a number, or all."""
    return text if text == "all" else str(COUNT(text))


@verb(
    "run",
    "run a study from any folder: train it, draw it, say what follows. It is Snakemake, whose further targets and then options can"
    " follow --, as in: sgdnoise run study.yaml -- -n",
    option("config", type=to_path, help="the study, a YAML file"),
    option("--cores", type=cores, default="all", help="so many cells at once (default: %(default)s)"),
    option("--verbose", action="store_true", help="show what Snakemake says, in place of a line of progress"),
)
def run(options: argparse.Namespace) -> None:
    """Let Snakemake run a study, and print the advice.

    Snakemake is a process of its own, since its command line is what its documentation promises, and the whole of it.
    """
    asked = asked_of_snakemake(options.snakemake)
    config = load_config(options.config, changes=dict(map(change, asked.config)))
    cells = grid.trained(config)
    print(f"{options.config}: {len(cells)} cells, {sum(len(seed_range(one.seeds)) for one in cells)} runs", file=sys.stderr)
    study = options.config if asked.directory == Path() else options.config.absolute()
    targets = list(
        itertools.takewhile(lambda word: not word.startswith("-"), options.snakemake)
    )  # Snakemake reads them in one place
    words = with_profiles(options.snakemake[len(targets) :])
    command = [sys.executable, "-P", "-m", "snakemake", "figures/all", *["report"] * (config["shard"] == "1/1"), *targets]
    command += [f"--snakefile={HOME / 'workflow/Snakefile'}", f"--configfile={study}", f"--cores={options.cores}"]
    command += [f"--logger-sgdnoise-screen={'all' if options.verbose else 'progress'}", *words]
    if code := wait_for(command):
        raise SystemExit(code)
    results = asked.directory / config["results"]
    if asked.dry_run or not (results / "cells.csv").exists():
        return
    if any("constant_epoch" in entry for entry in config["benchmarks"].values()):
        with chdir(asked.directory):  # to which the `file` of a benchmark is relative in grid.json
            options.run_verb(["recommend", f"--cells={Path(config['results']) / 'cells.csv'}"])
    else:
        print("No advice on batch sizes: no benchmark of the study has constant_epoch.")
    print(f"\nThe page: {results / 'report.html'}. The figures: {asked.directory / config['figures']['folder']}")


def asked_of_snakemake(words: list[str]) -> argparse.Namespace:
    """Read what is handed on to Snakemake, as far as `run` needs to know."""
    try:
        return SNAKEMAKE.parse_known_args(words)[0]
    except argparse.ArgumentError as error:
        raise ValueError(f"after --, for Snakemake: {error}") from None


def change(text: str) -> tuple[str, Any]:
    """Read one KEY=VALUE of `--config`, whose value is YAML."""
    import yaml

    key, _, value = text.partition("=")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"--config {text}: {' '.join(str(error).split())}; write KEY=VALUE, the value as in a config") from None


def with_profiles(words: list[str]) -> list[str]:
    """Write out the names of profiles that the package has; a ValueError if what one needs is not installed."""
    import yaml

    found = [*words]
    for index in (one + 1 for one, word in enumerate(words[:-1]) if word == "--profile"):
        profile = PROFILES / words[index]
        if Path(words[index]).exists() or not profile.exists():
            continue
        found[index] = str(profile)
        executor = yaml.safe_load((profile / "profile.yaml").read_text(encoding="utf-8")).get("executor", "local")
        plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
        if executor != "local" and importlib.util.find_spec(plugin) is None:
            raise ValueError(f"the profile {words[index]} needs Snakemake's plugin for {executor}: {install('cluster')}")
    return found


def wait_for(command: list[str]) -> int:
    """Run a command to its end, through Ctrl-C, which reaches it too; return its exit code."""
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda signum, frame: process.terminate())
    while True:
        with suppress(KeyboardInterrupt):
            return process.wait()


@verb("status", "say how far a study is that runs elsewhere, in another terminal for example", CONFIG)
def status(options: argparse.Namespace) -> None:
    """Print what is done, what runs and how far that is, and what has failed."""
    config = load_config(options.config)
    logs = Path(logs_of(config["results"]))
    found = progress.look(config, logs)
    print(f"{options.config}: {progress.words(found)}")
    for path, note in found.running.items():
        speed = (note.done - note.first) / max(note.seconds, 1e-9)
        left = progress.clock((note.total - note.done) / speed)
        print(f"  running  {path}: {note.done / note.total:.0%}, {left} left")
    for path, reason in found.failed.items():
        print(f"  failed   {path}: {reason} ({logs / path}.log)")
    if progress.may_grow(config):
        print("  Cells may be added: the study extends its windows or adds seeds.")
