# One cell of the grid: a process that trains its seeds and writes one HDF5 file.
rule train:
    input:
        cell_data,
    output:
        f"{RESULTS}/{grid.PATH}",
    log:
        f"logs/{RESULTS}/{grid.PATH}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        device=config["device"],  # a resource, since it does not re-run cells
    params:
        # The only param: all that the cell's numbers depend on. A change of it re-runs the cell.
        cell=cell_arguments,
    shell:
        'python -m sgdnoise train {params.cell} --data="$(dirname {input:q})" --device={resources.device} --out={output:q}'
        " 2>&1 | tee {log:q}"
