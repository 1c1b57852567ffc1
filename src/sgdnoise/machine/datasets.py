"""Prepare a data set once as DATA/<dataset>.npz and load it from there, checked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def prepare(path: Path, arrays: Callable[[Path], Mapping[str, np.ndarray]]) -> None:
    """Write the arrays that `arrays(folder)` makes, atomically, unless the file is there."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = arrays(path.parent)
        np.savez(temporary, **made)  # type: ignore[arg-type]  # its flag allow_pickle comes after them
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}; choose a data folder that you can write to") from error
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


def load(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Load a prepared file onto the device; the archive's checksums reveal a corrupt one."""
    import torch

    try:
        file = path.open("rb")  # apart: a file that cannot be opened may well be good
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    try:
        with file, np.load(file, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]).to(device) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is corrupt ({error}); delete it, it is then prepared anew") from error
