# Figures: one job per benchmark and figure; the schedule once.
rule figure:
    input:
        cells=rules.collect.output[0],
        optimum=rules.optimum.output[0],
        noise=noise_table,
        code="src/sgdnoise/figures/{figure}.py",
    output:
        expand("{folder}/{{benchmark}}/{{figure}}.{format}", folder=FOLDER, format=FORMATS),
    log:
        f"logs/{FOLDER}/{{benchmark}}/{{figure}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        arguments=figure_arguments,
    shell:
        "python -m sgdnoise figure {wildcards.figure} --benchmark={wildcards.benchmark} {params.arguments:q}"
        " --cells={input.cells:q} --optimum={input.optimum:q} --out {output:q} 2>&1 | tee {log:q}"


rule schedule:
    input:
        "src/sgdnoise/figures/schedule.py",
    output:
        expand("{folder}/schedule.{format}", folder=FOLDER, format=FORMATS),
    log:
        f"logs/{FOLDER}/schedule.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        style=json.dumps(STYLE),
    shell:
        "python -m sgdnoise figure schedule --style={params.style:q} --out {output:q} 2>&1 | tee {log:q}"
