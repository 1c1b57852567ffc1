# The workflow under the name that `snakemake -s .../Snakefile` looks for; it is workflow/Snakefile.
include: "workflow/Snakefile"


workflow.default_target = workflow.modifier.avail_rulename("figures/all")  # what is included has none
