# One study: every cell of the grid is trained, gathered into tables and drawn.
#
#     snakemake --cores 8                                                  the study of config.yaml
#     snakemake --cores 8 --configfile workflow/config/smoke.yaml          another study, instead of it
#     snakemake --cores 8 figures/all report                               and as one HTML page
#
# What is computed, and how, lives in src/sgdnoise; here is only when and where.
import os
import sys

# Last, not first, where Snakemake has put them: a file random.py in the folder of a Snakefile is not the library's.
sys.path.sort(key=lambda folder: os.path.abspath(folder) in (workflow.basedir, str(workflow.current_basedir)))

from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


wildcard_constraints:
    benchmark=r"[a-z][a-z0-9_]*",
    optimizer=r"[a-z_]+",
    budget=r"(epochs|steps)\d+",
    batch_size=r"\d+",
    lr=r"[0-9.e+-]+(to[0-9.e+-]+)?",
    low=r"[0-9.e+-]+",
    high=r"[0-9.e+-]+",
    stage="bracket|full",
    number=r"\d+",
    seeds=r"\d+-\d+",
    dataset="|".join(UNPREPARED) or "(?!)",
    figure=r"[a-z_]+",


include: "workflow/rules/data.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/extend.smk" if config["extend_grid"] or config["decide"] else "workflow/rules/freeze.smk"
include: "workflow/rules/noise.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/own_tables.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/report.smk"


rule:
    name:
        "figures/all"
    default_target: True
    input:
        CELLS,  # so that a deleted cell is noticed although the tables and figures are there
        chosen(TWO_RATES),
        [FIGURES, rules.regimes.output] if SHARDS == 1 else [],
    localrule: True
