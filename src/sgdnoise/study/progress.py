"""Say how far a study is, from the files that its cells write. Light: importing this imports neither torch, numpy nor pandas."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from sgdnoise.machine.files import publish
from sgdnoise.study import grid, looks, windows
from sgdnoise.study.cell import Cell, seed_range
from sgdnoise.study.config import Config

INTERVAL, SOON = 2.0, 0.3  # seconds between two notes of a running cell, and until the first
SILENT = 600.0  # seconds without a note after which a cell on another machine counts as ended
ERROR, TRACEBACK = "sgdnoise: error: ", "Traceback (most recent call last):"
STOPPED = ("sgdnoise: interrupted", "KeyboardInterrupt")  # how the last line begins of a cell that was asked to end
SAID_SECONDS = re.compile(r", ([0-9.]+) s$")  # how the line ends that `train` prints of a cell that is done


@dataclass(frozen=True)
class Note:
    """What a running cell says of itself: updates of all its seeds, those that a checkpoint gave it included, and seconds since."""

    done: int
    first: int
    total: int
    seconds: float
    host: str
    pid: int


@dataclass
class Progress:
    """How far a study is; `seconds_left` counts no cell of `unmeasured` benchmarks, and is None where no other is left."""

    cells: list[Cell]
    done: list[Cell] = field(default_factory=list)
    running: dict[str, Note] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds_left: float | None = None
    unmeasured: list[str] = field(default_factory=list)


def path_of(out: Path) -> Path:
    """Return where a running cell says how far it is: hidden, beside its result."""
    return out.with_name(f".{out.name}.progress")


@contextmanager
def noted(out: Path, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told the updates finished, of `total`, and every few seconds notes them beside the result."""
    started, first = time.monotonic(), None
    due = started + SOON

    def tell(done: int) -> None:
        nonlocal due, first
        first = done - 1 if first is None else first
        if (now := time.monotonic()) >= due:
            due = now + INTERVAL
            note = Note(done, first, total, now - started, socket.gethostname(), os.getpid())
            with suppress(OSError):  # of a full disk the checkpoints speak
                publish(path_of(out), json.dumps(vars(note)).encode())

    try:
        yield tell
    finally:
        with suppress(OSError):
            path_of(out).unlink(missing_ok=True)


def checkpoint_of(out: Path) -> Path:
    """Return where the checkpoint of the result `out` is kept: hidden, beside it. Here since training/checkpoint.py imports torch."""
    return out.with_name(f".{out.name}.checkpoint")


def may_grow(config: Config) -> bool:
    """Say whether cells may be added to those that are known."""
    return config["extend_grid"] or config["decide"] is not None


def read_note(out: Path) -> Note | None:
    """Read how far a cell is; None if it is not running."""
    path = path_of(out)
    try:
        note, age = Note(**json.loads(path.read_text(encoding="utf-8"))), time.time() - path.stat().st_mtime
        if note.host == socket.gethostname():
            os.kill(note.pid, 0)
    except PermissionError:  # it is somebody else's process
        return note
    except (OSError, ValueError, TypeError):
        return None
    return note if note.host == socket.gethostname() or age < SILENT else None


def known_cells(config: Config) -> list[Cell]:
    """List the cells that a study is known to have so far: with windows as they have been extended, and seeds that looks added."""
    number, shards = map(int, config["shard"].split("/"))
    results, widest = Path(config["results"]), windows.widest(config) if config["extend_grid"] else config
    if config["extend_grid"]:
        ladders, few = windows.ladders(widest), config["bracket_seeds"]
        last = [windows.furthest(start, results) for start in windows.starts(config)]
        found = [cell for window in last for cell in windows.cells_of(window, ladders[window.point], few)]
    else:
        found = grid.cells(config)[number - 1 :: shards]
    if config["decide"] is not None:
        paths = (results / looks.PATH.format(number=one + 1) for one in range(looks.most(config)))
        there = takewhile(Path.exists, paths)
        before = {cell.path for cell in grid.cells(widest)}
        added = grid.cells(widest | {"looks": [looks.read(path) for path in looks.files(there)]})
        found += [cell for cell in added if cell.path not in before]
    return found + grid.two_rate_cells(config)[number - 1 :: shards]


def look(config: Config, logs: Path, seen: dict[str, float] | None = None, at_once: int = 1, since: float = 0.0) -> Progress:
    """Look how far a study is; `logs` is the folder of the logs of its cells, and `seen` keeps what they said of cells that are done.

    A cell is done if its result is there; whether that is up to date is for Snakemake to say. So many cells as run now will run
    `at_once`, or more. What failed before the time `since` is to be trained again.
    """
    found, results, seen = Progress(known_cells(config)), Path(config["results"]), {} if seen is None else seen
    spent: dict[tuple[str, int], list[float]] = {}  # by benchmark and batch size: seconds, and the updates that they took
    left: list[tuple[Cell, float]] = []
    for cell in found.cells:
        out, updates = results / cell.path, cell.num_steps * len(seed_range(cell.seeds))
        if out.exists():
            found.done.append(cell)
            if cell.path not in seen:
                seen[cell.path] = said_seconds(logs / f"{cell.path}.log")
            took, of = seen[cell.path], float(updates)
        elif note := read_note(out):
            found.running[cell.path] = note
            took, of = note.seconds, float(note.done - note.first)
            left.append((cell, note.total - note.done))
        else:
            took, of = math.nan, 0.0
            if reason := failure(logs / f"{cell.path}.log", since):
                found.failed[cell.path] = reason
            else:
                left.append((cell, updates))
        if took > 0:
            sums = spent.setdefault((cell.benchmark, cell.batch_size), [0.0, 0.0])
            sums[0] += took
            sums[1] += of
    rates = {key: seconds / updates for key, (seconds, updates) in spent.items()}
    times = [updates * seconds_per_update(cell, rates) for cell, updates in left]
    found.unmeasured = sorted({cell.benchmark for (cell, _), one in zip(left, times, strict=True) if math.isnan(one)})
    if known := [one for one in times if not math.isnan(one)]:
        found.seconds_left = max(*known, sum(known) / max(at_once, len(found.running)))
    return found


def seconds_per_update(cell: Cell, rates: dict[tuple[str, int], float]) -> float:
    """Return the seconds of an update at the batch size measured nearest to that of a cell, more for more examples; NaN if none is.

    >>> from types import SimpleNamespace as Cell
    >>> rates = {("net", 8): 0.5, ("net", 64): 1.0}
    >>> [seconds_per_update(Cell(benchmark="net", batch_size=size), rates) for size in (4, 64, 128)]
    [0.5, 1.0, 2.0]
    """
    near = [(abs(math.log2(cell.batch_size / size)), size) for benchmark, size in rates if benchmark == cell.benchmark]
    if not near:
        return math.nan
    size = min(near)[1]
    return rates[cell.benchmark, size] * max(1.0, cell.batch_size / size)


def said_seconds(log: Path) -> float:
    """Read how long a cell took from its log, NaN if that is not there."""
    match = SAID_SECONDS.search(last_line(log))
    return float(match[1]) if match else math.nan


def failure(log: Path, since: float) -> str:
    """Return the error with which the log of a cell ends, if that is no older than `since`; nothing if there is none.

    It is one that sgdnoise names, or what Python says of any other, of the user's own code for example.
    """
    text = read_log(log)
    line = text.rpartition("\n")[2]
    named = line.startswith(ERROR) or (TRACEBACK in text and not line.startswith(STOPPED))
    return line.removeprefix(ERROR) if named and log.stat().st_mtime >= since else ""


def last_line(log: Path) -> str:
    """Return the last line of a log, as far as it is there."""
    return read_log(log).rpartition("\n")[2]


def read_log(log: Path) -> str:
    """Return the text of a log, as far as it is there."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").rstrip()
    except OSError:
        return ""


def words(found: Progress) -> str:
    """Say in a line how far a study is.

    >>> words(Progress([], running={"a": None, "b": None}, seconds_left=200.0))
    '0 of 0 cells done, 2 running; ETA 0:03:20'
    """
    parts = [f"{len(found.done)} of {len(found.cells)} cells done"]
    parts += [f"{len(some)} {word}" for word, some in (("running", found.running), ("failed", found.failed)) if some]
    left = []
    if found.seconds_left is not None:
        left = [f"ETA {'more than ' * bool(found.unmeasured)}{clock(found.seconds_left)}"]
    elif found.unmeasured:
        left = ["ETA after the first seconds of training"]
    return "; ".join([", ".join(parts), *left])


def clock(seconds: float) -> str:
    """Write a time as h:mm:ss.

    >>> clock(200.4)
    '0:03:20'
    """
    return str(timedelta(seconds=round(seconds)))


class Watched(NamedTuple):
    """The study that Snakemake works on in this process, and where the logs of its cells are."""

    config: Config
    logs: Path


watched: list[Watched] = []  # of the workflow for its display, which is handed no config: the last one counts
