# Figures: one job per benchmark and figure; the schedule and the claims once.
rule figure:
    input:
        cells=rules.collect.output[0],
        optimum=rules.optimum.output[0],
        own=own_tables,
    output:
        figure_files("{benchmark}/{figure}", category="{benchmark}"),
    log:
        f"{FIGURE_LOGS}/{{benchmark}}/{{figure}}.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=figure_code,
        arguments=arguments_of_figure,
        caption=figure_caption,
    shell:
        "python -m sgdnoise figure {params.arguments:q} --cells={input.cells:q} --optimum={input.optimum:q} --out {output:q}"
        " 2>&1 | tee {log:q}"


rule schedule:
    output:
        figure_files("schedule", category="The study"),
    log:
        f"{FIGURE_LOGS}/schedule.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=drawn_by("schedule"),
        arguments=figure_arguments(config, "schedule"),
        caption=caption("schedule"),
    shell:
        "python -m sgdnoise figure {params.arguments:q} --out {output:q} 2>&1 | tee {log:q}"


rule compare:
    input:
        cells=rules.collect.output[0],
        optimum=rules.optimum.output[0],
    output:
        figure_files("{figure}", category="The study"),
    log:
        f"{FIGURE_LOGS}/{{figure}}.log",
    wildcard_constraints:
        figure="variants|ablation",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=figure_code,
        arguments=compare_arguments,
        caption=figure_caption,
    shell:
        "python -m sgdnoise figure {params.arguments:q} --cells={input.cells:q} --optimum={input.optimum:q} --out {output:q}"
        " 2>&1 | tee {log:q}"


rule draw_claims:
    input:
        claims=rules.claims.output[0],
    output:
        figure_files("claims", category="The study"),
    log:
        f"{FIGURE_LOGS}/claims.log",
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        code=drawn_by("claims"),
        arguments=figure_arguments(config, "claims"),
        caption=caption("claims"),
    shell:
        "python -m sgdnoise figure {params.arguments:q} --claims={input.claims:q} --out {output:q} 2>&1 | tee {log:q}"
