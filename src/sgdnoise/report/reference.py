"""Keep a finished study with its runs, and show that everything else about it follows from them.

A reference folder has the config, the runs (cells/), and the tables of `noise-scale` if the config asks for some. All other
files are derived from these by the verbs that the workflow calls: checksums, grid, tables, figures, provenance.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from sgdnoise.analysis.extend import Read, replayed
from sgdnoise.claims import looks
from sgdnoise.figures import OWN_TABLES
from sgdnoise.machine.files import publish
from sgdnoise.results.collect import origin
from sgdnoise.results.run import DIVERGED, Run, read_run
from sgdnoise.study import grid
from sgdnoise.study.config import Config, grid_part, load_config
from sgdnoise.study.figures import curves_arguments, curves_wanted, figure_arguments, figure_names, figure_paths
from sgdnoise.study.grid import two_rate_cells

Verb = Callable[[list[str]], object]  # runs one command line of sgdnoise

RELATIVE = 1e-9  # our choice: other processors and libraries round sums, logarithms and quantiles differently, by some 1e-15
SHADES = 16  # our choice, of 256: by so much may rounding move the edge of a line; a point that moves differs by 100 or more

log = logging.getLogger(__name__)


def keep(config_path: Path, folder: Path, run: Verb) -> list[str]:
    """Make the reference folder of a finished study, whole or not at all; return the names of the derived files."""
    if folder.exists():
        raise ValueError(f"{folder} is there already; delete it if this study shall take its place")
    config = load_config(str(config_path))
    _, files = raw_files(config, read_run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        publish(made / "config.yaml", kept_config(config, config_path))
        for file in files:
            publish(made / file, (Path(config["results"]) / file).read_bytes())
        names = list(derive(made, made, run, study_of(made)))
        os.rename(made, folder)
    return names


def kept_config(config: Config, path: Path) -> bytes:
    """Return a config as it is kept: as written, unless it names files by their place beside it."""
    own = any("file" in entry for entry in config["benchmarks"].values())
    return f"{json.dumps(config | {'frozen': True}, indent=2)}\n".encode() if own else path.read_bytes()


def check(folder: Path, run: Verb) -> list[str]:
    """Derive every file of a reference folder again; return their names. A ValueError names the first that differs, and where."""
    names, study = [], study_of(folder)
    with TemporaryDirectory() as temporary:
        for name in derive(folder, Path(temporary), run, study):
            names.append(name)
            if problem := difference(folder / name, Path(temporary) / name):
                raise ValueError(f"{folder / name}: {problem}")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if strange := found - {"config.yaml", *study.files, *names}:
        raise ValueError(f"{folder / min(strange)} does not belong to this study")
    return names


class Study(NamedTuple):
    """What all else about a study follows from: its config as written and as settled, its files, and what is read of its runs."""

    config: Config
    settled: Config
    files: list[str]
    runs: list[Run]


def study_of(folder: Path) -> Study:
    """Read a study whose runs lie in a folder beside its config; each run is read once."""
    config, read = load_config(str(folder / "config.yaml")), functools.cache(read_run)
    settled, files = raw_files(config | {"results": str(folder)}, read)
    return Study(config, settled, files, [read(folder / file) for file in files if file.endswith(".h5")])


def raw_files(config: Config, read: Read) -> tuple[Config, list[str]]:
    """Return the settled config of a study and the files in its results folder that all others follow from."""
    settled, cells = replayed(config, read)
    settled = looks.replayed(settled, read)
    paths = sorted({cell.path for cell in [*cells, *grid.cells(settled), *two_rate_cells(settled)]})
    return settled, paths + [f"noise_scale/{name}.csv" for name in config["noise_scale"]]


def derive(folder: Path, out: Path, run: Verb, study: Study) -> Iterator[str]:
    """Make below `out` every file that follows from the config and the runs in a folder, and yield its name."""
    config, settled, files, runs = study
    texts = {
        "sha256sums": "".join(f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for file in files),
        "grid.json": grid_part(settled | {"results": config["results"]}) + "\n",
        "provenance.json": json.dumps(provenance(runs), indent=2) + "\n",
    }
    for name, text in texts.items():
        publish(out / name, text.encode())
        yield name
    for name, words in commands(config, folder, out).items():
        run([*words, f"--out={out / name}"])
        yield name


def commands(config: Config, folder: Path, out: Path) -> dict[str, list[str]]:
    """Return the command lines, without --out, of the tables and figures of a study, each after those that it reads."""
    grid = f"--config={out / 'grid.json'}"
    cells, optimum, claims, regimes = (f"--{name}={out / name}.csv" for name in ("cells", "optimum", "claims", "regimes"))
    found = {
        "cells.csv": ["collect", grid, f"--roots={folder}"],
        "optimum.csv": ["optimum", grid, cells],
        "claims.csv": ["claims", grid, cells, optimum],
        "regimes.csv": ["regimes", grid, cells],
    }
    for name in config["two_rates"]:
        found[f"two_rates/{name}.csv"] = ["two-rates", grid, f"--benchmark={name}", f"--roots={folder}"]
    for name in filter(functools.partial(curves_wanted, config), config["benchmarks"]):
        found[f"curves/{name}.csv"] = ["curves", grid, *curves_arguments(config, name), f"--roots={folder}"]
    for name, target in config["figures"]["targets"].items():
        words = ["time-to-target", grid, f"--benchmark={name}", f"--target={target}", cells, f"--roots={folder}"]
        found[f"time_to_target/{name}.csv"] = words
    for name in (name for name in config["benchmarks"] if "gap" in figure_names(config, name)):
        found[f"gap/{name}.csv"] = ["gap", grid, f"--benchmark={name}", cells]
    for path in figure_paths(config):
        benchmark, _, name = path.rpartition("/")
        own = [f"--noise={folder / 'noise_scale' / benchmark}.csv"] * (name == "noise_scale")
        if name in OWN_TABLES:
            own = [f"--{name.replace('_', '-')}={out / name / benchmark}.csv"]
        words = ["figure", *figure_arguments(config, path), *own, cells, optimum, claims, regimes]
        found[f"figures/{path}.png"] = words
    drawn = [str(out / name) for name in found if name.endswith(".png")]
    return found | {"README.md": ["report", grid, cells, optimum, claims, regimes, "--figures", *drawn]}


def provenance(runs: list[Run]) -> dict[str, Any]:
    """Say what made the runs, and what they cost. Of what differs among them, every value is listed."""
    made = [one.provenance for one in runs]
    ends = [datetime.fromisoformat(one["started"]) + timedelta(seconds=one["seconds"]) for one in made]
    start = min(origin(one)["started"] for one in runs)
    kinds = ("version", "commit", "dirty", "python", "torch", "numpy", "device", "threads", "processes", "engine", "precision")
    return {
        "made_by": "snakemake --configfile config.yaml, this folder's",
        **{kind: ", ".join(sorted({str(one.get(kind, "unknown")) for one in made})) for kind in kinds},
        "num_cells": len(runs),
        "num_runs": sum(len(one.seed) for one in runs),
        "num_diverged": sum(one.status.count(DIVERGED) for one in runs),
        "num_updates": sum(sum(one["steps_done"]) for one in made),
        "train_hours": round(sum(one["train_seconds"] for one in made) / 3600, 3),
        "device_hours": round(sum(origin(one)["device_seconds"] * len(one.seed) for one in runs) / 3600, 3),
        "started": start,
        "hours_from_start_to_end": round((max(ends) - datetime.fromisoformat(start)).total_seconds() / 3600, 3),
    }


def difference(kept: Path, derived: Path) -> str:
    """Say where a kept file first differs from the one that is derived now; nothing if it does not."""
    if not kept.exists():
        return "is missing"
    if kept.suffix == ".png":
        return picture_difference(kept, derived)
    if kept.suffix == ".csv":
        return table_difference(kept, derived)
    for number, (old, new) in enumerate(
        itertools.zip_longest(*(path.read_text(encoding="utf-8").splitlines() for path in (kept, derived))), 1
    ):
        if old != new:
            return f"line {number} is {old!r}, but follows as {new!r}"
    return ""


def table_difference(kept: Path, derived: Path) -> str:
    """Compare two tables: texts exactly, numbers to RELATIVE."""
    old, new = (list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in (kept, derived))
    nothing: list[str] = []
    for number, (old_row, new_row) in enumerate(itertools.zip_longest(old, new, fillvalue=nothing), 1):
        for column, (one, other) in enumerate(itertools.zip_longest(old_row, new_row)):
            if one != other and not close(one, other):
                name = old[0][column] if column < len(old[0]) else column
                return f"line {number}, {name} is {one!r}, but follows as {other!r}"
    return ""


def close(one: str | None, other: str | None) -> bool:
    """Tell whether two texts are nearly the same number."""
    try:
        return math.isclose(float(one or ""), float(other or ""), rel_tol=RELATIVE)
    except ValueError:
        return False


def picture_difference(kept: Path, derived: Path) -> str:
    """Compare the pixels of two figures if one version of matplotlib drew both; else leave it at a warning."""
    from PIL import Image

    with Image.open(kept) as old, Image.open(derived) as new:
        if (drawn := old.info.get("Software")) != (now := new.info.get("Software")):
            log.warning("%s is not compared: drawn by %s, here is %s", kept, drawn, now)
            return ""
        before, after = (np.asarray(image.convert("RGB"), int) for image in (old, new))
    if before.shape != after.shape:
        return f"is {before.shape[1]} x {before.shape[0]} pixels, but follows as {after.shape[1]} x {after.shape[0]}"
    y, x = np.nonzero(np.abs(before - after).max(axis=2) > SHADES)
    return f"{len(x)} pixels differ from the figure that follows, the first at ({x[0]}, {y[0]})" if len(x) else ""
