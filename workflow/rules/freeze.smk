# The grid as the config has it: its cells, and the frozen grid that the tables belong to.
# With `allow_missing` they are those that are there; a shard has every so manieth.
CELLS = [path for path in REACHABLE if not config["allow_missing"] or os.path.exists(workflow.modifier.modify_path(path))][
    SHARD - 1 :: SHARDS
]


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
