"""Say what a figure shows, in its own file's words. Light: importing this imports no plotting library."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

WHOLE_STUDY = ("schedule", "claims")  # the figures that are not of one benchmark


def caption(figure: str) -> str:
    """Return the docstring of the file that draws a figure, without running it: the question, then how to read the answer.

    >>> caption("schedule")
    'The learning-rate schedule that every run follows (ICLR v5 fig. 3).'
    """
    tree = ast.parse((Path(__file__).parent / "figures" / f"{figure}.py").read_text())
    return inspect.cleandoc(ast.get_docstring(tree) or "")
