"""Prepare a data set once as DATA/<dataset>.npz and load it from there, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sgdnoise.machine.files import check_writable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


REMEDY = "delete it, it is then prepared anew"


def prepare(path: Path, arrays: Callable[[Path], Mapping[str, np.ndarray]]) -> None:
    """Write the arrays that `arrays(folder)` makes, atomically, unless the file is there."""
    if path.exists():
        return
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        made = arrays(path.parent)
        np.savez(temporary, **made)  # type: ignore[arg-type]  # its flag allow_pickle comes after them
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}; choose a data folder that you can write to") from error
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


class Arrays(dict[str, "Tensor"]):
    """The arrays of a data file; who asks for one that it does not have is told what to do."""

    def __init__(self, path: Path, arrays: Mapping[str, Tensor]):
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name: str) -> Tensor:
        raise ValueError(f"{self.path} has no array {name!r}, but {', '.join(self)}; {REMEDY}")


def load(path: Path, device: torch.device) -> Arrays:
    """Load a prepared file onto the device."""
    import torch

    return Arrays(path, {name: torch.from_numpy(array).to(device) for name, array in read(path).items()})


def read(path: Path) -> dict[str, np.ndarray]:
    """Read every array of a prepared file; the archive's checksums reveal a corrupt one."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    except Exception as error:  # numpy raises many kinds for what is not one of its archives
        raise ValueError(
            f"{path} is corrupt ({' '.join(f'{type(error).__name__}: {error}'.split()).split('. ')[0]}); {REMEDY}"
        ) from error
