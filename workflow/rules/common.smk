# The study: its config, its cells, and what the rules ask of them.
import json

from snakemake.exceptions import WorkflowError
from sgdnoise import benchmarks, grid
from sgdnoise.config import grid_part, validate

# A config named on the command line replaces the default grid, it never merges with it.
if "benchmarks" not in config:

    configfile: "config.yaml"


try:
    config.update(validate(config))
    CELLS = {f"{config['results']}/{cell.path}": cell for cell in grid.cells(config)}
    NOISE_CELLS = grid.noise_cells(config)
except ValueError as error:
    raise WorkflowError(str(error))

RESULTS, DATA = config["results"], config["data"]
FOLDER, FORMATS = config["figures"]["folder"], config["figures"]["formats"]
STYLE = {key: config["figures"][key] for key in ("dpi", "context")}


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
    return CELLS[f"{RESULTS}/{grid.PATH.format_map(wildcards)}"].arguments


def cell_processes(wildcards):
    return grid.processes(config, wildcards.benchmark, wildcards.batch_size)


def cell_data(wildcards):
    return ancient(f"{DATA}/{dataset_of(wildcards.benchmark)}.npz")


def noise_arguments(wildcards):
    entry = config["noise_scale"][wildcards.benchmark]
    at = " ".join(map(str, entry["at"]))
    return f"{NOISE_CELLS[wildcards.benchmark].arguments} --at {at} --num-batches={entry['num_batches']}"


def noise_table(wildcards):
    """The table that the figure noise_scale draws, besides those of all figures."""
    return [f"{RESULTS}/noise_scale/{wildcards.benchmark}.csv"] * (wildcards.figure == "noise_scale")


def figure_names(benchmark):
    modes = [mode for mode in grid.MODES if mode in config["benchmarks"][benchmark]]
    sweep = ["lr_sweep"] * (benchmark in config["figures"]["lr_sweep"])
    return modes + sweep + ["noise_scale"] * (benchmark in NOISE_CELLS)


def figure_arguments(wildcards):
    style = dict(STYLE)
    if wildcards.figure == "lr_sweep":
        style["lr_sweep"] = config["figures"]["lr_sweep"][wildcards.benchmark]
    file = file_of(wildcards.benchmark)
    noise = [f"--noise={path}" for path in noise_table(wildcards)]
    noise += [f"--regimes={RESULTS}/regimes.csv"] * bool(noise)
    return [f"--style={json.dumps(style)}"] + [f"--file={file}"] * bool(file) + noise


FIGURES = [
    f"{FOLDER}/{name}.{format}"
    for name in ["schedule"] + [f"{benchmark}/{name}" for benchmark in config["benchmarks"] for name in figure_names(benchmark)]
    for format in FORMATS
]
