# One study: every cell of the grid is trained, gathered into tables and drawn.
#
#     snakemake --cores 8                                                  the study of config.yaml
#     snakemake --cores 8 --configfile workflow/config/smoke.yaml          another study, instead of it
#
# What is computed, and how, lives in src/sgdnoise; here is only when and where.
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version
from sgdnoise import benchmarks, grid

min_version("9.27")


# A config named on the command line replaces the default grid, it never merges with it.
if "benchmarks" not in config:

    configfile: "config.yaml"


try:
    STUDY = grid.validate(config)
    CELLS = {f"{STUDY['results']}/{cell.path}": cell for cell in grid.cells(STUDY)}
except ValueError as error:
    raise WorkflowError(str(error))

RESULTS, DATA = STUDY["results"], STUDY["data"]


wildcard_constraints:
    benchmark=r"[a-z][a-z0-9_]*",
    optimizer=r"[a-z_]+",
    budget=r"(epochs|steps)\d+",
    batch_size=r"\d+",
    lr=r"[0-9.e+-]+",
    seeds=r"\d+-\d+",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/plot.smk"


rule:
    name:
        "figures/all"
    default_target: True
    localrule: True
    input:
        CELLS,  # so that a deleted cell is noticed although the tables and figures are there
        FIGURES,
