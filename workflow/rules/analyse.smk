# Tables: every run, the optima, the regimes, the paper's claims.
rule collect:
    input:
        CELLS,
        grid=rules.freeze.output[0],
    output:
        f"{RESULTS}/cells.csv",
    log:
        f"{LOGS}/collect.log",
    conda:
        "../../envs/sgdnoise.yaml"
    threads: 8
    params:
        code=DERIVED_BY,
    shell:
        "python -m sgdnoise collect --config={input.grid:q} --workers={threads} --out={output:q} 2>&1 | tee {log:q}"


rule optimum:
    input:
        grid=rules.freeze.output[0],
        cells=rules.collect.output[0],
    output:
        report(f"{RESULTS}/optimum.csv", caption="../report/optimum.rst", category="The study", labels={"table": "optimum"}),
    log:
        f"{LOGS}/optimum.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
    shell:
        "python -m sgdnoise optimum --config={input.grid:q} --cells={input.cells:q} --out={output:q} 2>&1 | tee {log:q}"


rule claims:
    input:
        grid=rules.freeze.output[0],
        cells=rules.collect.output[0],
        optimum=rules.optimum.output[0],
    output:
        report(f"{RESULTS}/claims.csv", caption="../report/claims.rst", category="The study", labels={"table": "claims"}),
    log:
        f"{LOGS}/claims.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
    shell:
        "python -m sgdnoise claims --config={input.grid:q} --cells={input.cells:q} --optimum={input.optimum:q}"
        " --out={output:q} 2>&1 | tee {log:q}"


rule regimes:
    input:
        grid=rules.freeze.output[0],
        cells=rules.collect.output[0],
    output:
        f"{RESULTS}/regimes.csv",
    log:
        f"{LOGS}/regimes.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY,
    shell:
        "python -m sgdnoise regimes --config={input.grid:q} --cells={input.cells:q} --out={output:q} 2>&1 | tee {log:q}"
