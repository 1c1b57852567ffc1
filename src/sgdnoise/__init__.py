"""Sweep batch size and learning rate under a fixed compute budget (Smith, Elsen and De, ICML 2020).

For notebooks: `read_cells`, `optimum`, `recommend` and `figure` (docs/notebook.ipynb).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
API = ("read_cells", "optimum", "recommend", "figure")


def __getattr__(name: str) -> Any:
    """Import what a notebook calls when it is first used: `import sgdnoise` itself takes no time."""
    if name in API:
        return getattr(import_module("sgdnoise.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
