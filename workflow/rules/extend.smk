# The grid that finds its optimum (extend_grid): at each point the window moves until it encloses every optimum. And the one that finds
# its seeds (decide): a study is looked at a few times, and where it is open, it gets more. Checkpoints, since only results tell which
# cells are trained next.
include: "windows.smk"


rule study:
    output:
        f"{RESULTS}/study.json",
    log:
        f"{LOGS}/study.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        grid=grid_part(PLACED),
    shell:
        "printf '%s\\n' {params.grid:q} > {output:q} 2> {log:q}"


checkpoint extend:
    input:
        window_cells,
    output:
        f"{RESULTS}/{windows.PATH}",
    log:
        f"{LOGS}/{windows.PATH}.log",
    priority: 100  # before cells: it says which come next
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        study=window_study,  # of this point alone: a change at another one does not run this again
    shell:
        "python -m sgdnoise extend --study={params.study:q} --low={wildcards.low} --high={wildcards.high}"
        " --stage={wildcards.stage} --out={output:q} 2>&1 | tee {log:q}"


checkpoint look:
    input:
        look_cells,
        last_windows,
        looks=earlier_looks,
        study=rules.study.output[0],
    output:
        f"{RESULTS}/{looks.PATH}",
    log:
        f"{LOGS}/{looks.PATH}.log",
    priority: 100  # before cells: it says which come next
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    shell:
        "python -m sgdnoise look --config={input.study:q} --looks {input.looks:q} --out={output:q} 2>&1 | tee {log:q}"


# A file of its own has the study: Snakemake looks at a change of params too late where the inputs come from checkpoints.
rule freeze:
    input:
        last_windows,
        looks=all_looks,
        study=rules.study.output[0],
    output:
        f"{RESULTS}/grid.json",
    log:
        f"{LOGS}/freeze.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    shell:
        "python -m sgdnoise settle --config={input.study:q}"
        + (" --looks {input.looks:q}" if config["decide"] else "")
        + " --out={output:q} 2>&1 | tee {log:q}"
