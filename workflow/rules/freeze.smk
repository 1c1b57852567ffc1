# The grid as the config has it: its cells, and the frozen grid that the tables belong to.
CELLS = chosen(REACHABLE)


rule freeze:
    output:
        f"{RESULTS}/grid.json",
    log:
        f"{LOGS}/freeze.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        grid=grid_part(PLACED),
    shell:
        "printf '%s\\n' {params.grid:q} > {output:q} 2> {log:q}"
