"""Prepare a data set once as DATA/<dataset>.npz and load it from there, checked.

A data file knows which recipes (see `benchmarks.recipe`) make what it holds: they are the comment of the archive. So whoever
asks next, for whatever study, can tell whether it is theirs. Reading them imports no numpy: planning does it.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sgdnoise.machine.files import check_writable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


REMEDY = "delete it, it is then prepared anew"
FIRST = "1"  # the recipe of files that name none: made by the package's benchmarks before they had versions
MANY = 200  # recipes are kept, the newest: a comment has room for some thousand


def recipes(path: Path) -> list[str] | None:
    """Return the recipes of a data file, oldest first; None if it cannot be read: `load` says what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.comment) if archive.comment else [FIRST]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def is_made(path: Path, recipe: str) -> bool:
    """Say whether a data file is there and holds what a recipe makes."""
    known = recipes(path)
    return known is None or recipe in known


def prepare(
    path: Path, arrays: Callable[[Path], Mapping[str, np.ndarray]], recipe: str = FIRST, beside: Collection[str] = ()
) -> None:
    """Write the arrays that `arrays(folder)` makes, atomically, unless the file holds what this recipe makes.

    Other recipes of the file are kept if it turns out that they have made the same. A ValueError if one of those `beside`,
    of benchmarks of the same study, has made something else.
    """
    import numpy as np

    if is_made(path, recipe):
        return
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        made = {name: np.asarray(array) for name, array in arrays(path.parent).items()}
        if objects := [name for name, array in made.items() if array.dtype.hasobject]:  # as pickles, which are never read
            raise ValueError(f"{path} cannot hold {objects[0]}, an array of objects of Python; make numbers or texts of them")
        native = {
            name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in made.items()
        }  # as torch wants it
        np.savez(temporary, **native)  # type: ignore[arg-type]  # its flag allow_pickle comes after them
        before = recipes(path) or []
        if before and checksums(path) != checksums(temporary):
            if set(before) & set(beside):
                raise ValueError(
                    f"{path} is the data of several benchmarks of this study, which make different arrays; give one another dataset"
                )
            before = []
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = json.dumps([*before, recipe][-MANY:]).encode()
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}; choose a data folder that you can write to") from error
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)


def checksums(path: Path) -> dict[str, tuple[int, int]]:
    """Return the checksum and the size of each array of a data file, without reading them."""
    with zipfile.ZipFile(path) as archive:
        return {one.filename: (one.CRC, one.file_size) for one in archive.infolist()}


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
    import numpy as np

    try:
        file = path.open("rb")  # apart: a file that cannot be opened may well be good
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is corrupt (a folder); {REMEDY}") from error
    try:
        with file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy raises many kinds for what is not one of its archives
        raise ValueError(
            f"{path} is corrupt ({' '.join(f'{type(error).__name__}: {error}'.split()).split('. ')[0]}); {REMEDY}"
        ) from error
