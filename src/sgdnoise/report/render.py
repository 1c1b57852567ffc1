"""Show a study as one HTML page that needs nothing else, no other file, no network; or in short as Markdown beside its figures.

`tables.py` turns the tables of results into what the page shows; `page/` has the template, the style and the script that sorts
tables. The HTML template escapes everything, and the page's own policy lets no other script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from sgdnoise import __version__, benchmarks, figures
from sgdnoise.analysis.estimate import POINT
from sgdnoise.analysis.optimum import edge_warnings
from sgdnoise.claims.paper import scale_note
from sgdnoise.claims.verdicts import WORDS
from sgdnoise.figures.claims import SECTIONS
from sgdnoise.report import tables as shown
from sgdnoise.report.advice import advice
from sgdnoise.results.run import DIVERGED, MISSING
from sgdnoise.study import remedy
from sgdnoise.study.config import Config
from sgdnoise.study.figures import WHOLE_STUDY, caption, is_papers
from sgdnoise.study.grid import MODES

MARKS = {word: mark for words in WORDS.values() for word, mark in zip(words, "✓✗", strict=True)} | {"undetermined": "?"}
MIME = {".png": "image/png", ".svg": "image/svg+xml"}


def render(config: Config, tables: figures.Tables, pictures: Sequence[Path], folder: Path | None = None) -> str:
    """Return the page of a study; `tables` are cells, optimum, claims and perhaps regimes, `pictures` PNG or SVG files.

    It is HTML with the pictures in it; for a page that will lie in `folder` it is Markdown that links them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sgdnoise.report", "page"),
        autoescape=folder is None,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    script = environment.get_template("sort.js").render()
    cells, optimum, advised = tables["cells"], tables["optimum"], advice(tables["cells"], config)
    after = [
        path for path in pictures if path.stem == "time_to_target" and path.parent.name in {one["benchmark"] for one in advised}
    ]
    for path in pictures:
        if path.stem not in WHOLE_STUDY and not (path.stem in figures.names() and path.parent.name in config["benchmarks"]):
            whole, known = ", ".join(WHOLE_STUDY), ", ".join(config["benchmarks"])
            raise ValueError(f"{path} is no figure of this study: {whole}, or NAME in a folder of its benchmark, one of {known}")
    return environment.get_template("report.md" if folder else "report.html").render(
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=config["results"],
        version=__version__,
        num_cells=cells.groupby([*POINT, "lr"]).ngroups,
        num_runs=len(cells),
        num_diverged=int((cells["status"] == DIVERGED).sum()),
        num_missing=int((cells["status"] == MISSING).sum()),
        advice=advised,
        times={path.parent.name: show(path, path.parent.name, folder) for path in after},
        of_paper=is_papers(config),
        has_looks="look" in tables["claims"],
        roles=verdicts(tables["claims"].astype(object).fillna("")),
        marks=MARKS,
        study=shown.study_table(cells, optimum),
        warnings=edge_warnings(optimum, config),
        benchmarks=[
            benchmark(name, entry, tables, [path for path in pictures if path not in after], folder)
            for name, entry in config["benchmarks"].items()
        ],
        pictures=dict.fromkeys(WHOLE_STUDY)
        | {path.stem: show(path, "the whole study", folder) for path in pictures if path.stem in WHOLE_STUDY},
        costs=[shown.cost_table(cells), shown.device_table(cells, words_of(config))],
        origins=shown.origin_table(cells),
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
    )


def words_of(config: Config) -> dict[str, int]:
    """Return the words of an example of each benchmark of a study, 1 where it is no text."""
    return {name: benchmarks.protocol(name, entry.get("file")).get("unroll", 1) for name, entry in config["benchmarks"].items()}


def show(path: Path, of: str, folder: Path | None) -> dict[str, str]:
    """Return a figure as a data URI, or its path from a folder, with its caption and a text for those who cannot see it."""
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise ValueError(f"cannot read the figure {path}: {error}; make it with: {remedy.command(path)}") from error
    if path.suffix not in MIME:
        raise ValueError(f"{path}: a page can show {' and '.join(MIME)} figures; add png to figures.formats of the config")
    words = caption(path.stem).split("\n\n")
    return {
        "name": path.stem,
        "source": os.path.relpath(path, folder) if folder else f"data:{MIME[path.suffix]};base64,{content}",
        "alt": f"{words[0].partition(':')[0].rstrip('.')} of {of}",
        "caption": " ".join(" ".join(words).split()),
    }


def verdicts(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each role its counts, its claims, and apart from them those whose cells are not in the study."""
    roles = []
    for role, title in SECTIONS.items():
        rows = claims[claims["role"] == role].to_dict("records")
        for row in rows:
            row["contrasts"] = row["contrasts"].split("; ")
        words = [*WORDS[role == "paper"], "undetermined"]
        missing = [row for row in rows if row["reason"].startswith("missing")]
        roles.append(
            {
                "name": role,
                "title": title,
                "counts": {word: sum(row["verdict"] == word for row in rows) for word in words},
                "claims": [row for row in rows if row not in missing],
                "missing": missing,
            }
        )
    return [role for role in roles if role["claims"] or role["missing"]]


def benchmark(name: str, entry: Config, tables: figures.Tables, pictures: Sequence[Path], folder: Path | None) -> dict[str, Any]:
    """Return what the page shows of one benchmark."""
    own = {key: table[table["benchmark"] == name] for key, table in tables.items() if "benchmark" in table}
    protocol = benchmarks.protocol(name, entry.get("file"))
    mine = [path for path in pictures if path.parent.name == name and path.stem not in WHOLE_STUDY]
    drawn = {path.stem: show(path, name, folder) for path in mine}
    modes = []
    for mode in (mode for mode in MODES if mode in entry):
        points, runs = own["optimum"].query("mode == @mode"), figures.cells_of(own, mode)
        modes.append(
            {
                "name": mode,
                "title": shown.MODE_TITLES[mode],
                "note": scale_note(points, mode) + figures.runs_caption(runs),
                "pictures": [drawn.pop(one) for one in ("headline" * (mode == "constant_step"), mode) if one in drawn],
                "optima": shown.optimum_table(points, mode, protocol),
                "grids": [
                    shown.coverage(runs, points[points["metric"] == metric], mode, protocol)
                    for metric in list(protocol["metrics"])[:2]
                ],
            }
        )
    return {
        "name": name,
        "title": protocol["title"].format(num_train=own["cells"]["num_train"].iloc[0]),
        "modes": modes,
        "pictures": list(drawn.values()),
        "regimes": shown.regimes_table(own["regimes"]) if len(own.get("regimes", ())) else None,
    }
