"""Tell versions of a Python file and of the local modules that it imports apart, by what they say and not how it is written."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

IMPORTERS = ("import_module", "__import__")  # functions whose first argument names a module


def trees(file: Path) -> dict[str, ast.Module]:
    """Parse a file and every local module that it imports, however deep; by path relative to the folder of the file.

    Local is what lies in that folder or in packages there, imported at the top or inside a function. Nothing is run. A
    ValueError names a file that cannot be parsed, and the line.
    """
    found: dict[str, ast.Module] = {}
    file = file.absolute()
    pending = [file]
    while pending:
        path = pending.pop()
        name = Path(os.path.relpath(path, file.parent)).as_posix()
        if name not in found:
            found[name] = parse(path)
            pending += imported(found[name], path, file.parent)
    return dict(sorted(found.items()))


def parse(path: Path) -> ast.Module:
    """Parse a Python file, in the encoding that it declares."""
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def imported(tree: ast.Module, path: Path, root: Path) -> Iterator[Path]:
    """Yield the local files that the imports of a file name, those of the packages on the way included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from located(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[min(node.level, len(path.parents)) - 1] if node.level else root
            for alias in node.names:
                yield from located(folder, ".".join(filter(None, [node.module, alias.name])), relative=node.level > 0)
        elif isinstance(node, ast.Call) and node.args and isinstance(name := node.args[0], ast.Constant):
            function = getattr(node.func, "attr", getattr(node.func, "id", None))
            if function in IMPORTERS and isinstance(name.value, str):
                yield from located(root, name.value)


def located(folder: Path, module: str, relative: bool = False) -> Iterator[Path]:
    """Yield the files of a dotted module and of its packages that lie in a folder; installed modules have none there."""
    parts = module.split(".")
    if not relative and (parts[0] in sys.stdlib_module_names or parts[0] == "sgdnoise"):
        return
    for depth in range(0 if relative else 1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        candidates = [place / "__init__.py"] + [place.parent / f"{place.name}.py"] * (depth > 0)
        yield from [path for path in candidates if path.is_file()][:1]


def words(tree: ast.Module) -> set[str]:
    """Collect the texts of a file and the last parts of the names that it imports: what it may name another file by."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.alias):
            found.add(node.name.split(".")[-1])
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[-1])
    return found


def digest(tree: ast.Module) -> str:
    """Return a digest of a syntax tree without its docstrings: comments, positions and layout are no part of a tree anyway.

    Of every node its kind and the fields that are set; so a field that a later Python adds, empty, changes nothing.
    `ast.dump` and `ast.unparse` do not write the same in every version.

    >>> digest(ast.parse("a = (1)  # one")) == digest(ast.parse("a=1")) != digest(ast.parse("a = 1.0"))
    True
    """
    found = hashlib.sha256()
    stack: list[Any] = [tree]
    while stack:  # no recursion: a long sum is a deep tree
        one = stack.pop()
        if isinstance(one, ast.AST):
            fields = dict(ast.iter_fields(one))
            if has_docstring(one):
                fields["body"] = fields["body"][1:]
            if isinstance(one, ast.JoinedStr):  # to which some versions add empty texts
                fields["values"] = [part for part in one.values if getattr(part, "value", None) != ""]
            fields = {name: value for name, value in fields.items() if name != "kind" and value not in (None, [])}
            found.update(f"{type(one).__name__}{list(fields)}".encode())
            stack += fields.values()
        elif isinstance(one, list):
            found.update(f"{len(one)}:".encode())
            stack += one
        else:
            found.update(f"{one!r};".encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:12]


def has_docstring(node: ast.AST) -> bool:
    """Say whether a node begins with a docstring."""
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return documented and ast.get_docstring(node, clean=False) is not None  # type: ignore[arg-type]


def content_digest(path: Path) -> str:
    """Return a digest of the bytes of a file, or of the names and bytes of all files of a folder, behind links too."""
    if path.is_dir():
        files = sorted(files_below(path))
        listed = "".join(f"{one.relative_to(path).as_posix()}\0{content_digest(one)}\n" for one in files)
        return hashlib.sha256(listed.encode()).hexdigest()[:12]
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder and of those below it, links followed but for one back to a folder `above` it."""
    above = (*above, os.path.realpath(folder))
    for one in folder.glob("*"):
        if one.is_file():
            yield one
        elif one.is_dir() and os.path.realpath(one) not in above:
            yield from files_below(one, above)


def package_digest(*parts: str) -> str:
    """Return a digest of some files of sgdnoise, or of all in folders, as "analysis"; the same wherever it is installed."""
    paths = [Path(__file__).parents[1] / part for part in parts]
    listed = [path for one in paths for path in (one.rglob("*") if one.is_dir() else [one])]
    files = sorted(path for path in listed if path.is_file() and path.suffix != ".pyc")
    return hashlib.sha256("".join(map(content_digest, files)).encode()).hexdigest()[:12]
