# The study: its config, its cells, and what the rules ask of them.
import gc
import json
import os
import signal
import threading

import sgdnoise
from snakemake.exceptions import WorkflowError
from sgdnoise import benchmarks
from sgdnoise.study import grid, windows
from sgdnoise.study.config import grid_part, validate
from sgdnoise.study.figures import caption, figure_arguments, figure_paths

# Planning makes millions of objects, and keeps them: to look through them for garbage again and again takes a fifth of its time.
gc.set_threshold(100_000, 50, 100)

# Of every process that is started here: a file random.py in the working folder is not the library's.
os.environ["PYTHONSAFEPATH"] = "1"


def hang_up(signum, frame):
    """The terminal was closed: end as after Ctrl-C, so that no lock stays; the cells, of this process group, write checkpoints."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGHUP)
    raise KeyboardInterrupt


if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
    signal.signal(signal.SIGHUP, hang_up)

# A config named on the command line replaces the default grid, it never merges with it. The default is that of the folder in
# which snakemake runs, or else the workflow's own.
if "benchmarks" not in config:

    configfile: "config.yaml" if os.path.exists("config.yaml") else str(workflow.current_basedir.join("../../config.yaml"))


try:
    config.update(validate(config))
    # Whatever may be trained: the cells of the study, or of its windows at their widest.
    WIDEST = windows.widest(config) if config["extend_grid"] else config
    REACHABLE = {f"{config['results']}/{cell.path}": cell for cell in grid.cells(WIDEST)}
    NOISE_CELLS = grid.noise_cells(config)
except ValueError as error:
    raise WorkflowError(str(error))

SHARD, SHARDS = map(int, config["shard"].split("/"))
RESULTS, DATA = config["results"], config["data"]
# Where the results lie if another workflow uses this one as a module with a prefix: Snakemake puts it before inputs and outputs only.
PLACE = str(workflow.modifier.modify_path(RESULTS))
PLACED = config | {"results": PLACE}
# What draws, as it is seen from here. As an input it is `local`: no prefix goes before it.
CODE = os.path.relpath(os.path.dirname(sgdnoise.__file__))
FOLDER, FORMATS = config["figures"]["folder"], config["figures"]["formats"]


def file_of(benchmark):
    """The user's own file of a benchmark, or None."""
    return config["benchmarks"][benchmark].get("file")


def dataset_of(benchmark):
    return benchmarks.protocol(benchmark, file_of(benchmark))["dataset"]


DATASETS = {dataset_of(benchmark): benchmark for benchmark in config["benchmarks"]}


def prepare_arguments(wildcards):
    benchmark = DATASETS[wildcards.dataset]
    file = file_of(benchmark)
    return [benchmark] + [f"--file={file}"] * bool(file)


def cell_arguments(wildcards):
    # From the wildcards: Snakemake does not record a param that is computed from the output, so its change would go unnoticed.
    return REACHABLE[f"{RESULTS}/{grid.PATH.format_map(wildcards)}"].arguments


def cell_processes(wildcards):
    return grid.processes(config, wildcards.benchmark, wildcards.batch_size)


# A function only where it is needed, since Snakemake calls it for every cell.
PROCESSES = cell_processes if any("processes" in entry for entry in config["benchmarks"].values()) else 1
GPUS = PROCESSES if config["device"] == "cuda" else 0


def cell_data(wildcards):
    return ancient(f"{DATA}/{dataset_of(wildcards.benchmark)}.npz")


def noise_arguments(wildcards):
    entry = config["noise_scale"][wildcards.benchmark]
    at = " ".join(map(str, entry["at"]))
    return f"{NOISE_CELLS[wildcards.benchmark].arguments} --at {at} --num-batches={entry['num_batches']}"


def noise_table(wildcards):
    """The table that the figure noise_scale draws, besides those of all figures."""
    tables = [f"{RESULTS}/noise_scale/{wildcards.benchmark}.csv", f"{RESULTS}/regimes.csv"]
    return tables if wildcards.figure == "noise_scale" else []


def arguments_of_figure(wildcards):
    paths = [path.replace(RESULTS, PLACE, 1) for path in noise_table(wildcards)]
    options = [f"--{name}={path}" for name, path in zip(("noise", "regimes"), paths)]
    return figure_arguments(config, f"{wildcards.benchmark}/{wildcards.figure}") + options


def figure_caption(wildcards):
    return caption(wildcards.figure)


def figure_files(name, category):
    """The files of one figure, marked for Snakemake's own report."""
    shared = {"caption": "../report/figure.rst", "category": category}
    labels = {"figure": name.removeprefix("{benchmark}/")}
    return [report(f"{FOLDER}/{name}.{format}", labels=labels | {"format": format}, **shared) for format in FORMATS]


FIGURES = [f"{FOLDER}/{path}.{format}" for path in figure_paths(config) for format in FORMATS]

# What the HTML page can show.
SHOWN = [path for path in FIGURES if path.endswith("png" if "png" in FORMATS else "svg")]
