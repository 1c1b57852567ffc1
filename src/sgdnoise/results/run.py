"""The one HDF5 layout of a cell's results.

/                 attributes: layout, spec (JSON), provenance (JSON)
/step             (E,) updates finished at each evaluation
/lr               (E,) effective learning rate of the last update before each evaluation
/seed             (S,) seeds
/status           (S,) "completed" or "diverged"
/curves/<metric>  (S, E) float64; NaN from the evaluation at which a run was found diverged
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sgdnoise.machine.files import publish

LAYOUT = 1
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
    with h5py.File(content, "w") as file:
        file.attrs["layout"] = LAYOUT
        file.attrs["spec"] = json.dumps(run.spec, sort_keys=True)
        file.attrs["provenance"] = json.dumps(run.provenance, sort_keys=True)
        file["step"], file["lr"], file["seed"] = run.step, run.lr, run.seed
        file.create_dataset("status", data=run.status, dtype=h5py.string_dtype())
        for metric, curve in run.curves.items():
            file[f"curves/{metric}"] = curve
    try:
        publish(path, content.getbuffer())
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}; free the space or mend the folder, then run the cell again") from error


def read_run(path: Path) -> Run:
    """Read a run; a ValueError says what is wrong with a missing, truncated or foreign file."""
    try:
        with h5py.File(path, "r") as file:
            if (layout := file.attrs.get("layout")) != LAYOUT:
                raise ValueError(f"{path} has layout {layout}, not {LAYOUT}: it is not a result of this version of sgdnoise")
            return Run(
                spec=json.loads(file.attrs["spec"]),
                step=file["step"][:],
                lr=file["lr"][:],
                seed=file["seed"][:],
                status=[status.decode() for status in file["status"][:]],
                curves={metric: curve[:] for metric, curve in file["curves"].items()},
                provenance=json.loads(file.attrs["provenance"]),
            )
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    except (OSError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated, corrupt or not a result of sgdnoise ({error})") from error
