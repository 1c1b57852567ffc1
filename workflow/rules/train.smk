# One cell of the grid: a process that trains its seeds and writes one HDF5 file.
rule train:
    input:
        cell_data,
    output:
        f"{RESULTS}/{PATH}",
    log:
        f"{LOGS}/{PATH}.log",
    priority: longest_first
    conda:
        "../../envs/sgdnoise.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        # Resources, since a change of them does not re-run cells.
        device=config["device"],
        processes=PROCESSES,
        gpu=GPUS,
        checkpoint_seconds=config["checkpoint_seconds"],
        engine=config["engine"],
        # Cells that follow one another here share a process that has imported torch; a job of a cluster is alone.
        module="sgdnoise" if workflow.remote_exec or config["device"] != "cpu" or PROCESSES != 1 else "sgdnoise.cli.warm",
    params:
        # All that the cell's numbers depend on. A change of it re-runs the cell.
        cell=cell_arguments,
        versions=cell_versions,
    shell:
        'python -m {resources.module} train {params.cell} --data="$(dirname {input:q})" --device={resources.device} --threads={threads}'
        " --engine={resources.engine} --processes={resources.processes} --checkpoint-seconds={resources.checkpoint_seconds} --out={output:q}"
        " 2>&1 | tee {log:q}"
