# The grid that finds its optimum (extend_grid): at each point the window moves until it encloses every optimum.
# The file of a window names the window that comes next, or itself; what is not known before is asked of the checkpoints.
START = {windows.point_of(window): window for window in windows.starts(config)}
LADDER = windows.ladders(WIDEST)


def window_of(wildcards):
    return windows.Window(**dict(wildcards.items()) | {"batch_size": int(wildcards.batch_size)})


def window_cells(wildcards):
    window = window_of(wildcards)
    cells = windows.cells_of(window, LADDER[windows.point_of(window)], config["bracket_seeds"])
    return [f"{RESULTS}/{cell.path}" for cell in cells]


def window_ladder(wildcards):
    ladder = LADDER[windows.point_of(window_of(wildcards))]
    return [config["bracket_seeds"]] + [(cell.lr, cell.seeds, cell.keep) for cell in ladder]


def last_window(wildcards):
    window = START[wildcards.benchmark, wildcards.optimizer, wildcards.budget, int(wildcards.batch_size)]
    while True:
        path = checkpoints.extend.get(**{key: str(value) for key, value in vars(window).items()}).output[0]
        with open(path) as file:
            after = windows.Window(**json.load(file))
        if after == window:
            return path
        window = after


def CELLS(wildcards):
    with open(checkpoints.freeze.get().output[0]) as file:
        return [f"{RESULTS}/{cell.path}" for cell in grid.cells(json.load(file))]


rule study:
    output:
        f"{RESULTS}/study.json",
    log:
        f"logs/{RESULTS}/study.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        grid=grid_part(config),
    shell:
        "printf '%s\\n' {params.grid:q} > {output:q} 2> {log:q}"


checkpoint extend:
    input:
        window_cells,
        study=ancient(rules.study.output[0]),  # a change at another point does not matter here
    output:
        f"{RESULTS}/{windows.PATH}",
    log:
        f"logs/{RESULTS}/{windows.PATH}.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    params:
        ladder=window_ladder,  # only so that a change of the limit or of the runs that count runs this again
    shell:
        "python -m sgdnoise extend --config={input.study:q} --benchmark={wildcards.benchmark} --optimizer={wildcards.optimizer}"
        " --budget={wildcards.budget} --batch-size={wildcards.batch_size} --low={wildcards.low} --high={wildcards.high}"
        " --stage={wildcards.stage} --out={output:q} 2>&1 | tee {log:q}"


rule settle:
    input:
        last_window,
    output:
        f"{RESULTS}/{windows.SETTLED}",
    log:
        f"logs/{RESULTS}/{windows.SETTLED}.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    shell:
        "cp {input:q} {output:q} 2> {log:q}"


checkpoint freeze:
    input:
        [f"{RESULTS}/{windows.SETTLED.format_map(vars(window))}" for window in START.values()],
        study=rules.study.output[0],
    output:
        f"{RESULTS}/grid.json",
    log:
        f"logs/{RESULTS}/freeze.log",
    localrule: True
    conda:
        "../../envs/sgdnoise.yaml"
    shell:
        "python -m sgdnoise settle --config={input.study:q} --out={output:q} 2>&1 | tee {log:q}"
