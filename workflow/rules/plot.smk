# Figures: one rule run per benchmark and figure; the schedule once.
import json

FOLDER, FORMATS = STUDY["figures"]["folder"], STUDY["figures"]["formats"]


def figure_names(benchmark):
    names = [mode for mode in grid.MODES if mode in STUDY["benchmarks"][benchmark]]
    return names + ["lr_sweep"] if benchmark in STUDY["figures"]["lr_sweep"] else names


def figure_arguments(wildcards):
    file = STUDY["benchmarks"][wildcards.benchmark].get("file")
    style = {key: STUDY["figures"][key] for key in ("dpi", "context")}
    if wildcards.figure == "lr_sweep":
        style["lr_sweep"] = STUDY["figures"]["lr_sweep"][wildcards.benchmark]
    style = json.dumps(style, sort_keys=True)
    return [f"--benchmark={wildcards.benchmark}", f"--style={style}"] + ([f"--file={file}"] if file else [])


FIGURES = expand(FOLDER + "/schedule.{format}", format=FORMATS) + [
    f"{FOLDER}/{benchmark}/{name}.{format}"
    for benchmark in STUDY["benchmarks"]
    for name in figure_names(benchmark)
    for format in FORMATS
]


rule figure:
    input:
        cells=rules.collect.output[0],
        optimum=rules.optimum.output[0],
        code="src/sgdnoise/figures/{figure}.py",
    output:
        expand(FOLDER + "/{{benchmark}}/{{figure}}.{format}", format=FORMATS),
    wildcard_constraints:
        figure="constant_epoch|constant_step|unlimited|lr_sweep",
    params:
        arguments=figure_arguments,
    log:
        f"logs/{FOLDER}/{{benchmark}}/{{figure}}.log",
    shell:
        "python -m sgdnoise figure {wildcards.figure} {params.arguments:q} --results {RESULTS:q} --out {output:q} 2>&1 | tee {log:q}"


rule schedule:
    input:
        "src/sgdnoise/figures/schedule.py",
    output:
        expand(FOLDER + "/schedule.{format}", format=FORMATS),
    params:
        style=json.dumps({key: STUDY["figures"][key] for key in ("dpi", "context")}),
    log:
        f"logs/{FOLDER}/schedule.log",
    shell:
        "python -m sgdnoise figure schedule --style {params.style:q} --out {output:q} 2>&1 | tee {log:q}"
