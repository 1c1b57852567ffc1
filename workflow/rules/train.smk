# One cell of the grid: a process that trains its seeds and writes one HDF5 file.
def cell_arguments(wildcards, output):
    return CELLS[output[0]].arguments


def cell_data(wildcards):
    name = wildcards.benchmark
    file = STUDY["benchmarks"][name].get("file")
    return ancient(f"{DATA}/{benchmarks.protocol(name, file)['dataset']}.npz")


rule train:
    input:
        cell_data,
    output:
        f"{RESULTS}/{grid.PATH}",
    params:
        # The only param: what the cell's numbers depend on. A change of it re-runs the cell.
        cell=cell_arguments,
    log:
        f"logs/train/{RESULTS}/{grid.PATH}.log",
    benchmark:
        f"logs/train/{RESULTS}/{grid.PATH}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
    shell:
        "python -m sgdnoise train {params.cell} --data={STUDY[data]:q} --device={STUDY[device]} --out={output:q} 2>&1 | tee {log:q}"
