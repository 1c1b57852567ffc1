"""Begin: a network of your own, its first learning rates."""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path
from shlex import quote

from sgdnoise.benchmarks import NAME, names, protocol
from sgdnoise.cli.templates import STUDY, TASKS
from sgdnoise.cli.verbs import THREADS, option, to_path, verb
from sgdnoise.machine.files import check_writable, publish
from sgdnoise.study import grid
from sgdnoise.study.cell import Cell, lr_string
from sgdnoise.study.config import load_config
from sgdnoise.study.reader import with_windows


@verb(
    "new",
    "write a file for a network of your own, and a study of it: both run as they are, and say what is yours to change",
    option("file", type=to_path, help="the Python file to write, for example my_net.py"),
    option("--task", required=True, choices=tuple(TASKS), help="a ready task, or other"),
    option("--study", type=to_path, help="the config to write (default: study.yaml beside the file)"),
)
def new(options: argparse.Namespace) -> None:
    """Write the two files; the windows of the study come from a range test."""
    file, study = options.file, options.study or options.file.with_name("study.yaml")
    if file.suffix != ".py" or not re.fullmatch(NAME, file.stem) or file.stem in names():
        raise ValueError(
            f"{file}: write NAME.py, with a name of lower-case letters, digits and _ that no benchmark of the package has"
        )
    for path in (file, study):
        if path.exists():
            raise ValueError(f"{path} is there already; choose another name, or remove it")
        check_writable(path)
    publish(file, TASKS[options.task].encode())
    beside = study.absolute().parent == file.absolute().parent
    publish(study, STUDY.format(name=file.stem, file=file.name if beside else file.absolute()).encode())
    with tempfile.TemporaryDirectory() as folder:
        write_windows(study, windows_of(study, Path(folder), 1, "cpu"))
    print(f"{file}: put in your network and your data; it says where\n{study}: what is trained. Then")
    print(f"  sgdnoise check {file.stem} --file {quote(str(file))}   says in seconds whether it can be trained")
    print(f"  sgdnoise range {quote(str(study))} --write   finds the learning rates to begin with")
    print(f"  sgdnoise run {quote(str(study))}   trains, and advises")


@verb(
    "range",
    "find in seconds the learning rates to begin a study with: windows for its config",
    option("config", type=to_path, help="the study, of whose constant_epoch windows are looked for"),
    option("--write", action="store_true", help="put them into the config"),
    option("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s"),
    THREADS,
)
def lr_range(options: argparse.Namespace) -> None:
    """Print a window for every optimizer and batch size, as lines of the config."""
    started = time.perf_counter()
    config = load_config(options.config)
    if options.write:  # or it is refused before it takes time: no window is below 0
        with_windows(
            options.config, {place: (f"-{number}", f"-{number}") for number, place in enumerate(swept(options.config), 1)}
        )
    found = windows_of(options.config, Path(config["data"]), options.threads, options.device)
    above: tuple[str, ...] = ()
    for (*where, size), (low, high), said in found:
        if tuple(where) != above:
            above = tuple(where)
            print(".".join(where))
        print(f"  {size}: [{low}, {high}]  # {said}")
    if options.write:
        write_windows(options.config, found)
        print(f"written into {options.config}", end="; ")
    print(f"{time.perf_counter() - started:.1f} s")


Found = tuple[tuple[str, ...], tuple[str, str], str]


def write_windows(study: Path, found: list[Found]) -> None:
    """Write windows that were found into the config of a study."""
    publish(study, with_windows(study, {place: ends for place, ends, _ in found}).encode())


def windows_of(study: Path, data_folder: Path, threads: int, device_name: str) -> list[Found]:
    """Look for the window of every optimizer and batch size of a study under constant_epoch: its place, its ends, what was seen."""
    from sgdnoise.training import lr_range
    from sgdnoise.training.cell import load_data, plan_of, use_device

    device, loaded = use_device(device_name, threads), {}
    found: list[Found] = []
    for place, cell in swept(study).items():
        if cell.benchmark not in loaded:
            loaded[cell.benchmark] = load_data(cell, data_folder, device)
        anchor = protocol(cell.benchmark, cell.file)["lr_grid"]["anchor"]
        benchmark, data = loaded[cell.benchmark]
        tried = lr_range.try_rates(benchmark, data, plan_of(cell, benchmark), anchor, device)
        low, high = map(lr_string, lr_range.window(tried))
        best = min(tried, key=lambda one: one.loss)
        said = f"loss {', '.join(f'{one.loss:.3g} at {lr_string(one.lr)}' for one in sorted({tried[0], best, tried[-1]}))}"
        found.append((place, (low, high), said))
    return found


def swept(study: Path) -> dict[tuple[str, ...], Cell]:
    """Return a cell of each window of a study under constant_epoch, by its place in the config."""
    cells = [cell for cell in grid.whole_cells(load_config(study)) if "constant_epoch" in cell.modes]
    if not cells:
        raise ValueError(
            f"{study}: no benchmark has constant_epoch; add it, with any window [lowest, highest] for each batch size"
        )
    return {("benchmarks", cell.benchmark, "constant_epoch", cell.optimizer, str(cell.batch_size)): cell for cell in cells}
