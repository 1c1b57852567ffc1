# The gradient noise of one run per benchmark that the config names under noise_scale.
rule noise_scale:
    input:
        cell_data,
    output:
        f"{RESULTS}/noise_scale/{{benchmark}}.csv",
    log:
        f"{LOGS}/noise_scale/{{benchmark}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        device=config["device"],
        gpu=int(config["device"] == "cuda"),
    params:
        run=noise_arguments,
        versions=noise_versions,
    shell:
        'python -m sgdnoise noise-scale {params.run} --data="$(dirname {input:q})" --device={resources.device}'
        " --threads={threads} --out={output:q} 2>&1 | tee {log:q}"
