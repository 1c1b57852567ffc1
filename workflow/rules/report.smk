# The study as one HTML page.
rule report:
    input:
        grid=rules.freeze.output[0],
        cells=rules.collect.output[0],
        optimum=rules.optimum.output[0],
        claims=rules.claims.output[0],
        regimes=rules.regimes.output[0],
        figures=SHOWN,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=DERIVED_BY + sources.package_digest("figures/__init__.py", "report"),
    shell:
        "python -m sgdnoise report --config={input.grid:q} --cells={input.cells:q} --optimum={input.optimum:q}"
        " --claims={input.claims:q} --regimes={input.regimes:q} --figures {input.figures:q} --out={output:q} 2>&1 | tee {log:q}"
