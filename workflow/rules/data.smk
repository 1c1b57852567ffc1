# Data files, made once before the cells that read them start.
rule prepare:
    output:
        f"{DATA}/{{dataset}}.npz",
    log:
        "logs/prepare/{dataset}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        benchmark=prepare_arguments,
    shell:
        'python -m sgdnoise prepare {params.benchmark:q} --data="$(dirname {output:q})" 2>&1 | tee {log:q}'
