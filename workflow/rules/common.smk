# The study: its config, its cells, and what the rules ask of them.
import gc
import os
import signal
import threading

from snakemake.exceptions import WorkflowError
from pathlib import Path
from sgdnoise import benchmarks
from sgdnoise.machine import datasets, sources
from sgdnoise.machine.files import logs_of
from sgdnoise.study.cell import PATH
from sgdnoise.study import cost, feasible, grid, looks, progress, windows
from sgdnoise.study.config import grid_part, load_config, validate
from sgdnoise.study.figures import caption, curves_arguments, figure_arguments, figure_paths
from sgdnoise.study.figures import curves_wanted as curves_of

# Planning makes millions of objects, and keeps them: to look through them for garbage again and again takes a fifth of its time.
gc.set_threshold(100_000, 50, 100)

# Of every process that is started here: a file random.py in the working folder is not the library's.
os.environ.update(PYTHONSAFEPATH="1")


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
CONFIGS = list(map(str, workflow.overwrite_configfiles))
# As a module of another workflow this one has a config that is part of the other's.
IS_PART = __name__ is not None and "benchmarks" in config
if "benchmarks" not in config:
    default = "config.yaml" if os.path.exists("config.yaml") else str(workflow.current_basedir.join("../../config.yaml"))
    CONFIGS.insert(0, default)
    workflow.configfiles.append(default)

try:
    # Snakemake's own reader takes the last of two equal keys, and 032 for 26.
    config.update(validate(config) if IS_PART else load_config(*CONFIGS, changes=workflow.config_settings.config))
    # Whatever may be trained: the cells of the study, or of its windows at their widest.
    WIDEST = windows.widest(config) if config["extend_grid"] else config
    REACHABLE = {f"{config['results']}/{cell.path}": cell for cell in grid.cells(WIDEST)}
    NOISE_CELLS = grid.noise_cells(config)
    if config["decide"]:
        from sgdnoise.claims import statements  # takes time that a study without does not need

        statements.to_decide(config)
    TWO_RATES = {f"{config['results']}/{cell.path}": cell for cell in grid.two_rate_cells(config)}
    for name, wanted in config["figures"]["curves"].items():
        grid.curve_cells(config, name, wanted, REACHABLE.values())
except ValueError as error:
    raise WorkflowError(str(error))

SHARD, SHARDS = map(int, config["shard"].split("/"))
RESULTS, DATA = config["results"], config["data"]
# Where the results lie if another workflow uses this one as a module with a prefix: Snakemake puts it before inputs and outputs only.
PLACE = str(workflow.modifier.modify_path(RESULTS))
PLACED = config | {"results": PLACE}
# What derives the tables, a param of their rules: by another version of the package they are made again. Windows and looks are not,
# since what they decided is trained.
DERIVED_BY = sources.package_digest("analysis", "benchmarks", "claims", "results", "study")
FOLDER, FORMATS = config["figures"]["folder"], config["figures"]["formats"]
LOGS, FIGURE_LOGS = map(logs_of, (RESULTS, FOLDER))
progress.watched.append(progress.Watched(PLACED, Path(str(workflow.modifier.modify_path(LOGS)))))


def file_of(benchmark):
    """The user's own file of a benchmark, or None."""
    return config["benchmarks"][benchmark].get("file")


def dataset_of(benchmark):
    return benchmarks.protocol(benchmark, file_of(benchmark))["dataset"]


def data_of(dataset):
    return f"{DATA}/{dataset}.npz"


# Who reads a data file, by the recipe that makes it; the file says which recipes it is made by.
READERS = {}
for name in sorted(config["benchmarks"]):
    called = "=".join(filter(None, (name, file_of(name))))
    READERS.setdefault(dataset_of(name), {}).setdefault(benchmarks.recipe(name, file_of(name)), called)

# The data files that are not there, or not what one of their readers asks for. Only these have a rule: to Snakemake, a data file
# that has to be made again for any reason, its rule's text for example, hides all that is to be done after it. A job that was
# sent elsewhere sees the files late, and need not decide.
UNPREPARED = {
    dataset
    for dataset, recipes in READERS.items()
    if workflow.remote_exec or not all(datasets.is_made(Path(data_of(dataset)), recipe) for recipe in recipes)
}


def prepare_arguments(wildcards):
    return list(READERS[wildcards.dataset].values())


def prepare_versions(wildcards):
    readers = [name for name in config["benchmarks"] if dataset_of(name) == wildcards.dataset]
    return sorted({listed(benchmarks.depends_on(name, file_of(name))) for name in readers})


def listed(versions):
    return " ".join(f"{name}:{version}" for name, version in versions.items())


# A cell of each learning rate: looks add cells of which only the seeds are not known before.
ANY_SEEDS = looks.any_seeds(REACHABLE.values()) if config["decide"] else {}


def cell_of(wildcards):
    path = PATH.format_map(wildcards)
    if (known := REACHABLE.get(f"{RESULTS}/{path}") or TWO_RATES.get(f"{RESULTS}/{path}")) or not ANY_SEEDS:
        return known
    return looks.with_seeds(path, ANY_SEEDS)


def cell_arguments(wildcards):
    # From the wildcards: Snakemake does not record a param that is computed from the output, so its change would go unnoticed.
    return cell_of(wildcards).arguments


def cell_versions(wildcards):
    # Apart from the arguments, so that Snakemake's reason for a job names what has changed. If there is nothing, the arguments
    # again: that adds nothing to the set of params that Snakemake compares.
    cell = cell_of(wildcards)
    return listed(cell.depends_on) or cell.arguments


def longest_first(wildcards):
    # Else the longest cells of a study may be trained last, beside idle cores.
    return cost.rank(cell_of(wildcards))


def cell_processes(wildcards):
    return feasible.processes(config, wildcards.benchmark, wildcards.batch_size)


# A function only where it is needed, since Snakemake calls it for every cell.
PROCESSES = cell_processes if any("processes" in entry for entry in config["benchmarks"].values()) else 1
GPUS = PROCESSES if config["device"] == "cuda" else 0


def cell_data(wildcards):
    dataset = dataset_of(wildcards.benchmark)
    if dataset in UNPREPARED and not workflow.remote_exec:
        checkpoints.prepare.get(dataset=dataset)  # then Snakemake asks of each cell by itself whether it is to be trained
    return ancient(data_of(dataset))


def noise_arguments(wildcards):
    entry = config["noise_scale"][wildcards.benchmark]
    at = " ".join(map(str, entry["at"]))
    return f"{NOISE_CELLS[wildcards.benchmark].arguments} --at {at} --num-batches={entry['num_batches']}"


def noise_versions(wildcards):
    return listed(NOISE_CELLS[wildcards.benchmark].depends_on) or noise_arguments(wildcards)


# The tables that a figure draws besides those of all figures, by the options that name them.
OWN_TABLES = {
    "noise_scale": {"noise": "noise_scale/{benchmark}.csv", "regimes": "regimes.csv"},
    "two_rates": {"two-rates": "two_rates/{benchmark}.csv"},
    "curves": {"curves": "curves/{benchmark}.csv"},
    "time_to_target": {"time-to-target": "time_to_target/{benchmark}.csv"},
    "gap": {"gap": "gap/{benchmark}.csv"},
}


def own_tables(wildcards):
    return [f"{RESULTS}/{path.format_map(wildcards)}" for path in OWN_TABLES.get(wildcards.figure, {}).values()]


def arguments_of_figure(wildcards):
    paths = [path.replace(RESULTS, PLACE, 1) for path in own_tables(wildcards)]
    options = [f"--{name}={path}" for name, path in zip(OWN_TABLES.get(wildcards.figure, {}), paths)]
    return figure_arguments(config, f"{wildcards.benchmark}/{wildcards.figure}") + options


def curves_wanted(wildcards):
    return curves_arguments(config, wildcards.benchmark)


def target_of(wildcards):
    return config["figures"]["targets"][wildcards.benchmark]


def drawn_by(figure):
    # The same of a figure: also by its own file, and what figures share.
    return DERIVED_BY + sources.package_digest(
        "figures/__init__.py", "figures/_axes.py", "figures/_sweeps.py", f"figures/{figure}.py"
    )


def figure_code(wildcards):
    return drawn_by(wildcards.figure)


def compare_arguments(wildcards):
    return figure_arguments(config, wildcards.figure)


def figure_caption(wildcards):
    return caption(wildcards.figure)


def figure_files(name, category):
    """The files of one figure, marked for Snakemake's own report."""
    shared = {"caption": "../report/figure.rst", "category": category}
    labels = {"figure": name.removeprefix("{benchmark}/")}
    return [report(f"{FOLDER}/{name}.{format}", labels=labels | {"format": format}, **shared) for format in FORMATS]


def chosen(paths):
    """Of the files of cells those that this study makes: with `allow_missing` those that are there; a shard has every so manieth."""
    there = [path for path in paths if not config["allow_missing"] or os.path.exists(workflow.modifier.modify_path(path))]
    return there[SHARD - 1 :: SHARDS]


def two_rate_cells(wildcards):
    return chosen([path for path, cell in TWO_RATES.items() if cell.benchmark == wildcards.benchmark])


def is_begun(path):
    """Whether a figure can be drawn: with `allow_missing`, one of cells of its own waits until one of them is there."""
    benchmark, name = os.path.split(path)
    if not config["allow_missing"] or name not in ("two_rates", "curves", "time_to_target"):
        return True
    own = [cell for cell in TWO_RATES.values() if cell.benchmark == benchmark]
    if name == "curves":
        own = grid.curve_cells(config, benchmark, curves_of(config, benchmark), REACHABLE.values())
    elif name == "time_to_target":
        own = grid.target_cells(config, benchmark, REACHABLE.values())
    return any(os.path.exists(workflow.modifier.modify_path(f"{RESULTS}/{cell.path}")) for cell in own)


FIGURES = [f"{FOLDER}/{path}.{format}" for path in figure_paths(config) if is_begun(path) for format in FORMATS]

# What the HTML page can show.
SHOWN = [path for path in FIGURES if path.endswith("png" if "png" in FORMATS else "svg")]
