# Benchmarks of one's own are checked before their first cell, once for each version of them; those shipped are by the tests. And of
# all that have cells to train, whether optimizers, batch sizes, engine and device go together.
# Before Snakemake starts, not by a rule: of cells behind a rule that has to run, Snakemake forgets which are to be trained
# although their input is there ("1 of 1 steps"), or it trains all of them although they are there.
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from sgdnoise.machine.files import check_writable
from sgdnoise.study import arms, text, warmups

for folder in (RESULTS, DATA, FOLDER):  # Snakemake's own words for it are a traceback
    if files := [part for part in (Path(folder), *Path(folder).parents) if part.is_file()]:
        raise WorkflowError(f"config: the folder {folder} cannot be made: {files[0]} is a file; choose another")


def check_command(benchmark):
    """The command that checks a benchmark; its record has a name that changes with all that is checked."""
    entry = config["benchmarks"][benchmark]
    cells = [cell for cell in REACHABLE.values() if cell.benchmark == benchmark]
    words = [benchmark, f"--file={entry['file']}", f"--settings={cells[0].settings}"]
    words += [f"--batch-size={min(32, *(cell.batch_size for cell in cells))}"]
    words += ["--second-derivative"] * (benchmark in config["noise_scale"])
    used = {cell.optimizer: json.loads(cell.definition) for cell in cells if cell.definition}
    words += [f"--optimizers={json.dumps(used, sort_keys=True)}"] * bool(used)
    version = hashlib.sha256(repr([words, cells[0].depends_on]).encode()).hexdigest()[:12]
    return ["check", *words, f"--data={DATA}", f"--out={RESULTS}/checked/{benchmark}-{version}.json"]


def check(benchmarks):
    """Check benchmarks of one's own; return those that failed."""
    failed = []
    for benchmark in benchmarks:
        words, log = check_command(benchmark), Path(f"{LOGS}/checked/{benchmark}.log")
        if Path(words[-1].removeprefix("--out=")).exists():
            continue
        done = subprocess.run([sys.executable, "-m", "sgdnoise", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(done.stdout)
        print(done.stdout.decode(errors="replace"), end="", file=sys.stderr)
        failed += [benchmark] * (done.returncode != 0)
    return failed


def check_study(benchmarks):
    """Check what the cells of benchmarks would refuse when they start; return whether nothing."""
    words = ["check-study", "--config=/dev/stdin", *["--elsewhere"] * (not workflow.local_exec), "--benchmarks", *benchmarks]
    # As a job, by the process that the first cells share, whose variables are those of a job: it is their wait for torch, not one more.
    runs = "sgdnoise.cli.warm" if workflow.local_exec and config["device"] == "cpu" else "sgdnoise"
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "GOTO", "OPENBLAS", "MKL")}
    study = json.dumps(config | {"frozen": True}).encode()
    done = subprocess.run(["python", "-m", runs, *words], input=study, stdout=subprocess.DEVNULL, env=os.environ | threads)
    return done.returncode == 0


onstart:
    try:
        for first in (f"{RESULTS}/cells.csv", f"{FOLDER}/claims.{FORMATS[0]}"):
            check_writable(Path(first))
    except ValueError as error:
        raise WorkflowError(str(error))
    for warning in (*text.warnings(config), *arms.warnings(config), *warmups.warnings(config)):
        print(f"sgdnoise: warning: {warning}", file=sys.stderr)
    # A Snakemake without torch is one whose rules have environments of their own.
    can = not workflow.touch and importlib.util.find_spec("torch")
    asked = {job.wildcards.benchmark for job in workflow.dag.needrun_jobs() if job.rule.name in ("train", "noise_scale")}
    failed = check(sorted(benchmark for benchmark in asked if can and file_of(benchmark)))
    rest = sorted(asked.difference(failed))
    if can and rest and not check_study(rest):
        failed.append("the study")
    if failed:
        raise WorkflowError(f"nothing was trained: mend {', '.join(failed)} as said above")
