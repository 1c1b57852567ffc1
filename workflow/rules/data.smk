# Data files, made once before the cells that read them start.
DATASETS = {
    benchmarks.protocol(name, entry.get("file"))["dataset"]: (name, entry.get("file"))
    for name, entry in STUDY["benchmarks"].items()
}


def prepare_arguments(wildcards):
    name, file = DATASETS[wildcards.dataset]
    return f"{name} --file={file}" if file else name


rule prepare:
    output:
        f"{DATA}/{{dataset}}.npz",
    wildcard_constraints:
        dataset="|".join(DATASETS),
    params:
        benchmark=prepare_arguments,
    log:
        "logs/prepare/{dataset}.log",
    shell:
        "python -m sgdnoise prepare {params.benchmark} --data {STUDY[data]:q} 2>&1 | tee {log:q}"
