# Tables of figures that have one of their own: both learning rates (two_rates), learning curves (figures.curves), time to a target,
# what regularisers recover of the gap between batch sizes.
rule two_rates:
    input:
        two_rate_cells,
        grid=rules.freeze.output[0],
    output:
        f"{RESULTS}/two_rates/{{benchmark}}.csv",
    log:
        f"{LOGS}/two_rates/{{benchmark}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
    shell:
        "python -m sgdnoise two-rates --config={input.grid:q} --benchmark={wildcards.benchmark} --out={output:q} 2>&1 | tee {log:q}"


rule curves:
    input:
        cells=rules.collect.output[0],  # so that the cells are there
        grid=rules.freeze.output[0],
    output:
        f"{RESULTS}/curves/{{benchmark}}.csv",
    log:
        f"{LOGS}/curves/{{benchmark}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
        wanted=curves_wanted,
    shell:
        "python -m sgdnoise curves --config={input.grid:q} {params.wanted:q} --out={output:q} 2>&1 | tee {log:q}"


rule time_to_target:
    input:
        cells=rules.collect.output[0],
        grid=rules.freeze.output[0],
    output:
        f"{RESULTS}/time_to_target/{{benchmark}}.csv",
    log:
        f"{LOGS}/time_to_target/{{benchmark}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
        target=target_of,
    shell:
        "python -m sgdnoise time-to-target --config={input.grid:q} --benchmark={wildcards.benchmark} --target={params.target}"
        " --cells={input.cells:q} --out={output:q} 2>&1 | tee {log:q}"


rule gap:
    input:
        cells=rules.collect.output[0],
        grid=rules.freeze.output[0],
    output:
        f"{RESULTS}/gap/{{benchmark}}.csv",
    log:
        f"{LOGS}/gap/{{benchmark}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
    shell:
        "python -m sgdnoise gap --config={input.grid:q} --benchmark={wildcards.benchmark} --cells={input.cells:q} --out={output:q}"
        " 2>&1 | tee {log:q}"
