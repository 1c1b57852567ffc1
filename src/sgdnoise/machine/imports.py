"""Import a user's own Python file, and the local modules beside it, as they are now."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import sysconfig
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import ModuleType

log = logging.getLogger("sgdnoise")

# What some studies need and not all, by the extra of this package that installs it.
EXTRAS = {"sklearn": "digits", "torchvision": "vision", "tensorboard": "tensorboard", "pytorch_optimizer": "optimizers"}


def install(extra: str) -> str:
    """Write the command that installs an extra of this package."""
    return f"pip install 'sgdnoise[{extra}]'"


def missing_extra(error: ImportError) -> str:
    """Say what to install where something failed for want of an extra; nothing if it was not for that."""
    name = (error.name or "").partition(".")[0]
    return f"{name} is not installed: {install(EXTRAS[name])}" if name in EXTRAS else ""


def run(name: str, path: Path) -> ModuleType:
    """Run a file as a module of some name, under which Python finds it, as decorators that read annotations do."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[name]
        raise
    return found


def run_own(name: str, path: Path, local: Collection[str]) -> ModuleType:
    """Run a user's file; `local` are the modules of its folder that it imports, itself among them, by relative path.

    A ValueError if it imports what is not there. It warns of imports that are neither local nor installed.
    """
    make_importable(path.parent.absolute())
    for one in local:
        forget(path.parent / one, one if path.name != one else "")
    before = set(sys.modules)
    try:
        found = run(name, path)
    except ImportError as error:
        raise ValueError(
            f"{path}: {missing_extra(error) or error}; a module of your own belongs into the folder {path.parent.absolute()}"
        ) from error
    known = {os.path.abspath(path.parent / one) for one in local}
    for module in [sys.modules[one] for one in sys.modules.keys() - before]:
        file = getattr(module, "__file__", None)
        if file and os.path.abspath(file) not in known and not installed(file):
            log.warning("%s imports %s, a change of which goes unnoticed: put it beside, or name it under `reads`", path, file)
    return found


def make_importable(folder: Path) -> None:
    """Let Python look for modules in a folder: after its own, before those that are installed."""
    standard = os.path.dirname(os.__file__)
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
    own = [index for index, entry in enumerate(sys.path) if entry in (standard, os.path.join(standard, "lib-dynload"))]
    sys.path.insert(max(own, default=-1) + 1, str(folder))
    importlib.invalidate_caches()


def forget(path: Path, module: str) -> None:
    """Forget a local module that was imported from an earlier version or from another folder, and its compiled code.

    Python takes compiled code for current if its source has the same size and second of change.
    """
    sys.modules.pop(module.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)
    with suppress(OSError):
        os.remove(importlib.util.cache_from_source(path))


def installed(file: str) -> bool:
    """Say whether a module comes with Python, an installed package or this one."""
    folders = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(os.path.abspath(file).startswith(f"{folder}{os.sep}") for folder in [*folders, str(Path(__file__).parents[1])])
