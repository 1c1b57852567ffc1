"""Say which data files a study reads. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from sgdnoise import benchmarks
from sgdnoise.machine import sources
from sgdnoise.study.config import Config


def check_shared(config: Config) -> None:
    """Refuse benchmarks that call their data file alike and make it differently, as far as the text of their files tells."""
    first: dict[str, tuple[str, str]] = {}
    for name, entry in config["benchmarks"].items():
        path, protocol = benchmarks.source(name, entry.get("file")), benchmarks.protocol(name, entry.get("file"))
        if not (made := maker(path)):
            continue
        made += f"{protocol['num_train']} {protocol['num_test']}"
        other, other_made = first.setdefault(protocol["dataset"], (name, made))
        if made != other_made:
            raise ValueError(
                f"config: benchmarks.{name}: its data file has the name {protocol['dataset']!r}, as that of {other}, but is made"
                " differently; change 'dataset' in its PROTOCOL, or let one file import what makes the arrays from the other"
            )


@functools.cache
def maker(path: Path) -> str:
    """Return the code of the function that makes the arrays of a benchmark, with all that it uses of its file but PROTOCOL.

    Nothing if `arrays` is not a function of this file.
    """
    tree = sources.parse(path)
    top = {name: node for node in tree.body for name in _names(node) if name != "PROTOCOL"}
    given = [
        word.value for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords if word.arg == "arrays"
    ]
    if len(given) != 1 or not isinstance(given[0], ast.Name) or not isinstance(top.get(given[0].id), ast.FunctionDef):
        return ""
    used = [given[0].id]
    for name in used:  # grows
        inside = {node.id for node in ast.walk(top[name]) if isinstance(node, ast.Name)}
        used += sorted(inside & set(top) - set(used))
    return "\n".join(ast.dump(top[name]) for name in used)


def _names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at the top of a file gives to something."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    else:
        yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
