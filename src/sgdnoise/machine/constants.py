"""Read a constant of a Python file without running it: literals, arithmetic on them, and names that the file gives to such."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,  # of dictionaries
}
SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    one.__name__: one for one in (abs, bool, dict, float, int, len, list, max, min, round, sorted, str, sum, tuple)
}
LARGEST = 2**64  # of numbers that are multiplied or raised to a power: more takes time and memory that nobody means to spend


class Unreadable(Exception):
    """What cannot be known without running the file, why, and in which line."""

    def __init__(self, line: int, reason: str):
        super().__init__(reason)
        self.line = line


def constants(tree: ast.Module) -> dict[str, Any]:
    """Return what a file says of the names at its top level: the value of each, or an `Unreadable`.

    >>> constants(ast.parse("SIZES = {'train': 300}; N: int = SIZES['train'] + 42; M = load()"))["N"]
    342
    """
    known: dict[str, Any] = {}
    for node in tree.body:
        try:
            _execute(node, known)
        except Unreadable as reason:
            known |= dict.fromkeys(_changed(node), reason)
    return known


def _execute(node: ast.stmt, known: dict[str, Any]) -> None:
    """Do what a statement does to the names that are known."""
    if isinstance(node, ast.Assign):
        value = _value(node.value, known)
        for target in node.targets:
            _assign(target, value, known)
    elif isinstance(node, ast.AnnAssign):
        if node.value:
            _assign(node.target, _value(node.value, known), known)
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        changed = ast.copy_location(ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value), node)
        known[node.target.id] = _value(changed, known)
    elif names := _changed(node):
        raise Unreadable(node.lineno, f"{', '.join(sorted(names))}: this statement is not run")


def _changed(node: ast.stmt) -> set[str]:
    """List the names that a statement gives to something, or may change what they stand for."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    stored = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store | ast.Del)}
    owners = [one.value for one in ast.walk(node) if isinstance(one, ast.Subscript) and isinstance(one.ctx, ast.Store | ast.Del)]
    owners += [one.func.value for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    return stored | {owner.id for owner in owners if isinstance(owner, ast.Name)}


def _assign(target: ast.expr, value: Any, known: dict[str, Any]) -> None:
    if isinstance(target, ast.Name):
        known[target.id] = value
    elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, tuple | list) and len(target.elts) == len(value):
        for one, part in zip(target.elts, value, strict=True):
            _assign(one, part, known)
    elif isinstance(target, ast.Subscript) and isinstance(owner := _value(target.value, known), dict):
        owner[_value(target.slice, known)] = value
    else:
        raise Unreadable(target.lineno, f"{ast.unparse(target)!r} is not a name")


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    """Compute an expression from what is known."""
    try:
        return _computed(node, known)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable(node.lineno, f"{ast.unparse(node)!r}: {error}") from None


def _computed(node: ast.expr, known: dict[str, Any]) -> Any:
    def value(part: ast.expr) -> Any:
        return _value(part, known)

    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        if isinstance(found := known[node.id], Unreadable):
            raise found
        return found
    if isinstance(node, ast.Dict):
        made: dict[Any, Any] = {}
        for key, one in zip(node.keys, node.values, strict=True):
            made |= {value(key): value(one)} if key else dict(value(one))
        return made
    if isinstance(node, ast.List | ast.Tuple):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(value(one) for one in node.elts)
    if isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS:
        return SIGNS[type(node.op)](value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        sides = value(node.left), value(node.right)
        if isinstance(node.op, ast.Mult | ast.Pow) and not all(
            isinstance(one, int | float) and abs(one) <= LARGEST for one in sides
        ):
            raise ValueError("only numbers up to 2^64 are multiplied")
        if isinstance(node.op, ast.Pow) and abs(sides[1]) > 64:
            raise ValueError("a power above 64")
        return OPERATIONS[type(node.op)](*sides)
    if isinstance(node, ast.Subscript):
        return value(node.value)[value(node.slice)]
    if isinstance(node, ast.JoinedStr) and all(
        not isinstance(one, ast.FormattedValue) or one.conversion < 0 for one in node.values
    ):
        return "".join(map(str, map(value, node.values)))
    if isinstance(node, ast.FormattedValue):
        return format(value(node.value), value(node.format_spec) if node.format_spec else "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in set(FUNCTIONS) - set(known):
        return FUNCTIONS[node.func.id](
            *map(value, node.args), **{word.arg: value(word.value) for word in node.keywords if word.arg}
        )
    raise ValueError("write numbers, text, lists and dictionaries, arithmetic on such, or names that the file gives to such")
