# The workflow under the name that `snakemake -s .../Snakefile` looks for; it is workflow/Snakefile.
include: "workflow/Snakefile"
