"""Bring a user's data, in whatever form it comes, into arrays of inputs and targets.

`data()` of a user's file returns arrays, tensors or tables: (inputs, targets), which are shuffled once and split into the
`num_train` and `num_test` examples of PROTOCOL, or (inputs, targets, test inputs, test targets); or one or two data sets with a
length, train and test, whose items are pairs or dictionaries of two.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
ROUNDING = 1e-12  # our choice: numbers that differ by less than this share of their size are one, but for the rounding of float64
COARSE = 1e-5  # our choice: by less than this share, float32 tells but a hundred of them apart

log = logging.getLogger("sgdnoise")


def split(found: Any, protocol: Mapping[str, Any], floats: type = np.float32) -> dict[str, np.ndarray]:
    """Return train and test, inputs and targets, of what `data()` has returned; inputs that are no whole numbers as `floats`."""
    parts = list(found) if isinstance(found, tuple) else [found]
    if all(map(is_dataset, parts)):
        parts = [array for one in parts for array in stacked(one)]
    arrays = [as_array(one) for one in parts]
    if len(arrays) not in (2, 4):
        raise ValueError(f"data() returns {len(arrays)} parts; return inputs and targets, or those of training and then of test")
    arrays[::2] = [as_inputs(one, floats) for one in arrays[::2]]
    counts = {"train": protocol["num_train"], "test": protocol["num_test"]}
    lengths = [len(one) for one in arrays]
    uneven, total = lengths[::2] != lengths[1::2], lengths[0]
    if len(arrays) == 2:
        shuffled = np.random.default_rng(0).permutation(total)
        taken = {"train": shuffled[: counts["train"]], "test": shuffled[counts["train"] :][: counts["test"]]}
        chosen = {name: [array[index] for array in arrays if not uneven] for name, index in taken.items()}
    else:
        total += len(arrays[2])
        chosen = {"train": [one[: counts["train"]] for one in arrays[:2]], "test": [one[: counts["test"]] for one in arrays[2:]]}
    for name, number in counts.items():
        if uneven or [len(one) for one in chosen[name]] != [number, number]:
            raise ValueError(
                f"PROTOCOL has num_{name} {number:,}, but of inputs and targets there are {', '.join(f'{one:,}' for one in lengths)};"
                f" {'return a target for each input' if uneven else 'write what there is'}"
            )
    if left := total - sum(counts.values()):
        log.warning("of %s examples %s are left out, by num_train and num_test of PROTOCOL", f"{total:,}", f"{left:,}")
    return {
        f"{name}_{kind}": array for name, some in chosen.items() for kind, array in zip(("inputs", "targets"), some, strict=True)
    }


def as_array(part: Any) -> np.ndarray:
    """Return an array, tensor, table or list as an array, of numbers or texts."""
    array = np.asarray(part.detach().cpu() if isinstance(part, Tensor) else part)
    if array.dtype.kind == "O":
        texts = {type(one) for one in array.flat} == {str}
        if not texts:
            raise ValueError(
                "data() returns a table or list of mixed kinds; make numbers of all columns, for example by pandas.get_dummies"
            )
        array = array.astype(str)
    return array


def as_inputs(array: np.ndarray, floats: type) -> np.ndarray:
    """Return inputs as they are kept: whole numbers as they are, others as `floats`; warn of those that it can hardly tell apart."""
    if array.dtype.kind not in "iufbc":
        raise ValueError(f"data() returns inputs that are no numbers ({array.dtype}); make numbers of them")
    if array.dtype.kind not in "fb":
        return array
    if len(array) and array.dtype.itemsize > np.dtype(floats).itemsize:
        size, spread = np.abs(array).max(axis=0), np.ptp(array, axis=0)
        if ((spread > ROUNDING * size) & (spread < COARSE * size)).any():
            log.warning(
                "inputs: some of the numbers differ between examples by so little of their size that %s hardly tells them apart;"
                " subtract what they have in common",
                np.dtype(floats),
            )
    return array.astype(floats)


def not_whole(array: np.ndarray) -> np.ndarray:
    """Return the values of an array that are no whole numbers, (K,)."""
    if array.dtype.kind == "f":
        return array[~(np.isfinite(array) & (array == np.floor(array)))]
    return array.ravel()[: 0 if array.dtype.kind in "iub" else None]


def is_dataset(part: Any) -> bool:
    """Tell whether something is a data set that is asked for items, and not an array, table or list."""
    return (
        hasattr(part, "__getitem__")
        and hasattr(part, "__len__")
        and not hasattr(part, "__array__")
        and not isinstance(part, Sequence)
    )


def stacked(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read all items of a data set, pairs or dictionaries of two; pictures become (N, C, H, W) bytes."""
    items = [dataset[index] for index in range(len(dataset))]
    pairs = [tuple(item.values()) if isinstance(item, Mapping) else tuple(item) for item in items]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"an item of the data set has {len(pairs[0])} parts; return pairs, an input and its target")
    return stack([pair[0] for pair in pairs]), stack([pair[1] for pair in pairs])


def stack(values: list[Any]) -> np.ndarray:
    """Stack the values of some examples, pictures with their channels first."""
    arrays = [picture(one) if hasattr(one, "convert") else np.asarray(one) for one in values]
    if len({one.shape for one in arrays}) > 1:
        shapes = sorted({one.shape for one in arrays})[:2]
        raise ValueError(f"the examples have different shapes, {shapes[0]} and {shapes[1]}; bring them to one size")
    return np.stack(arrays)


def picture(image: Any) -> np.ndarray:
    """Return a picture of the library PIL as bytes (C, H, W)."""
    pixels = np.asarray(image if image.mode in ("L", "RGB") else converted(image, "RGB", "a picture of data()"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def converted(image: Any, mode: str, what: str) -> Any:
    """Return a picture of the library PIL in another mode; one of more than 8 bits would be cut off at 255."""
    if image.mode[0] in "IF":
        raise ValueError(
            f"{what} has more than 8 bits (mode {image.mode}); scale it to 0..255 as L or RGB, or return an array of numbers"
        )
    return image.convert(mode)


def images(folder: Path | str, size: int | None = None, mode: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read `folder`/<class>/<image>: pictures (N, C, H, W) uint8 and the names of their classes, for `data()`.

    They are scaled to `size` pixels in height and width, if given; `mode` is "L" (grey) or "RGB" (by default as the first one is).
    """
    from PIL import Image

    paths = sorted(path for path in Path(folder).glob("*/*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise ValueError(f"{folder} has no pictures; put them there as <class>/<name>.png, of any of {', '.join(ENDINGS)}")
    found = []
    for path in paths:
        try:
            with Image.open(path) as opened:
                mode = mode or ("L" if opened.mode in ("1", "L") else "RGB")
                image = converted(opened, mode, str(path))
        except OSError as error:
            raise ValueError(f"cannot read the picture {path} ({error}); replace it") from error
        found.append(image.resize((size, size)) if size else image)
        if found[-1].size != found[0].size:
            raise ValueError(f"{path} has {found[-1].size} pixels, {paths[0]} {found[0].size}; give ready.images a size")
    return np.stack(list(map(picture, found))), np.array([path.parent.name for path in paths])


def text(file: Path | str) -> np.ndarray:
    """Read a text file as its bytes, numbers below 256, for `data()` of a language model."""
    return np.frombuffer(Path(file).read_bytes(), np.uint8)
