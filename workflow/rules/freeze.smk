# The grid as the config has it: its cells, and the frozen grid that the tables belong to.
CELLS = list(REACHABLE)


rule freeze:
    output:
        f"{RESULTS}/grid.json",
    log:
        f"logs/{RESULTS}/freeze.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        grid=grid_part(config),
    shell:
        "printf '%s\\n' {params.grid:q} > {output:q} 2> {log:q}"
