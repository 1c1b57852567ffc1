"""The curves of a cell as TensorBoard's event files, a folder per seed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from sgdnoise.results.run import Run


def write_events(run: Run, folder: Path) -> list[Path]:
    """Write every metric and the learning rate of each seed against updates finished; return the folders. NaN where it diverged is left out.

    Needs the extra `tensorboard`.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folders = []
    for row, seed in enumerate(run.seed):
        folders.append(folder / f"seed{seed}")
        writer = EventFileWriter(str(folders[-1]))
        for column, step in enumerate(run.step):
            values = {name: curve[row, column] for name, curve in run.curves.items()} | {"lr": run.lr[column]}
            scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if np.isfinite(value)]
            writer.add_event(Event(wall_time=time.time(), step=int(step), summary=Summary(value=scalars)))
        writer.close()
    return folders
