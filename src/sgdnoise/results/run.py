"""The one HDF5 layout of a cell's results.

/                 attributes: layout, spec (JSON), provenance (JSON)
/step             (E,) updates finished at each evaluation
/lr               (E,) effective learning rate of the last update before each evaluation
/seed             (S,) seeds
/status           (S,) "completed" or "diverged"
/curves/<metric>  (S, E) float64; NaN from the evaluation at which a run was found diverged

The file begins with a seal, HDF5's user block: a digest of all that follows. So a byte that changed is noticed before the HDF5
library sees it, which may return other numbers, crash or never end. Files without it, written before there was one, are read, too.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sgdnoise.machine.files import SEAL, publish, read, seal, sealed

LAYOUT = 1
HDF5 = b"\x89HDF\r\n\x1a\n"  # how a file without a seal begins
COMPLETED, DIVERGED = "completed", "diverged"
MISSING = "missing"  # in tables: of a run that has no file


@dataclass(frozen=True)
class Run:
    """The trained seeds of one cell: S seeds, E evaluations."""

    spec: dict[str, Any]
    step: np.ndarray
    lr: np.ndarray
    seed: np.ndarray
    status: list[str]
    curves: dict[str, np.ndarray]
    provenance: dict[str, Any]


def write_run(path: Path, run: Run) -> None:
    """Publish a run atomically: a temporary file beside it, fsync, rename. On failure nothing is left behind."""
    content = io.BytesIO()  # in memory first: on a full disk the HDF5 library crashes
    with h5py.File(content, "w", userblock_size=SEAL) as file:
        file.attrs["layout"] = LAYOUT
        file.attrs["spec"] = json.dumps(run.spec, sort_keys=True)
        file.attrs["provenance"] = json.dumps(run.provenance, sort_keys=True)
        file["step"], file["lr"], file["seed"] = run.step, run.lr, run.seed
        file.create_dataset("status", data=run.status, dtype=h5py.string_dtype())
        for metric, curve in run.curves.items():
            file[f"curves/{metric}"] = curve
    whole = content.getbuffer()
    whole[:SEAL] = seal(whole[SEAL:])
    try:
        publish(path, whole)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}; free the space or mend the folder, then run the cell again") from error


def read_run(path: Path) -> Run:
    """Read a run; a ValueError says what is wrong with a missing, truncated, changed or foreign file.

    An OSError says that the file cannot be read; then nothing is known to be wrong with it.
    """
    try:
        content = read(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    try:
        if not content.startswith(HDF5) and not sealed(memoryview(content)):
            raise ValueError("its bytes are not those that were written")
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(backing_store=False)
        access.set_file_image(content)  # from memory: the HDF5 library would lock a file
        with h5py.File(h5py.h5f.open(b"result", h5py.h5f.ACC_RDONLY, access)) as file:
            if (layout := file.attrs.get("layout")) == LAYOUT:
                return parse(file, len(content))
    except Exception as error:  # h5py raises many kinds for what is damaged
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is truncated, corrupt or not a result of sgdnoise ({reason})") from error
    raise ValueError(f"{path} has layout {layout}, not {LAYOUT}: it is not a result of this version of sgdnoise")


def parse(file: h5py.File, size: int) -> Run:
    """Return the run of an open file of so many bytes; a ValueError, or what h5py raises, if it has none."""

    def array(name: str) -> np.ndarray:
        if file[name].nbytes > size:
            raise ValueError(f"{name} is larger than the file")
        return file[name][:]

    run = Run(
        spec=json.loads(file.attrs["spec"]),
        step=array("step"),
        lr=array("lr"),
        seed=array("seed"),
        status=[status.decode() for status in array("status")],
        curves={metric: array(f"curves/{metric}") for metric in file["curves"]},
        provenance=json.loads(file.attrs["provenance"]),
    )
    check(run)
    return run


def check(run: Run) -> None:
    """Refuse a record whose parts do not fit each other."""
    num_seeds, num_evaluations = len(run.seed), len(run.step)
    arrays: dict[str, tuple[np.ndarray, tuple[int, ...]]]
    arrays = {"step": (run.step, (num_evaluations,)), "lr": (run.lr, (num_evaluations,)), "seed": (run.seed, (num_seeds,))}
    arrays |= {f"curves/{metric}": (curve, (num_seeds, num_evaluations)) for metric, curve in run.curves.items()}
    for name, (values, shape) in arrays.items():
        if values.shape != shape or values.dtype.kind != ("i" if name in ("step", "seed") else "f") or not values.size:
            raise ValueError(f"{name} is {values.dtype} of the shape {values.shape}")
    if not run.curves or len(run.status) != num_seeds or not set(run.status) <= {COMPLETED, DIVERGED}:
        raise ValueError("a curve or a status is missing")
    made = run.provenance
    if not (isinstance(run.spec, dict) and isinstance(made, dict)):
        raise ValueError("spec or provenance is not a record")
    if not (isinstance(made.get("bounds"), dict) and isinstance(made.get("examples_per_second"), (int, float))):
        raise ValueError("provenance lacks bounds or examples_per_second")
