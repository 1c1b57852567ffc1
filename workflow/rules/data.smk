# Data files, made before the cells that read them start. A checkpoint, since it is no reason to train a cell again: the plan
# has the cells that may follow, and what each needs is asked after it.
checkpoint prepare:
    output:
        update(data_of("{dataset}")),  # what is there is kept if it cannot be made
    log:
        "logs/prepare/{dataset}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        benchmarks=prepare_arguments,
        versions=prepare_versions,  # a change of them makes it again
    shell:
        'python -m sgdnoise prepare {params.benchmarks:q} --data="$(dirname {output:q})" 2>&1 | tee {log:q}'
