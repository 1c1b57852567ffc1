"""Run the workflow in folders of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, WORKFLOW

STUB = """
import os, sys
if "train" in sys.orig_argv:
    from {module} import {name}
    from sgdnoise.cli.main import parser
    from sgdnoise.cli.verbs import cell_of
    from sgdnoise.results.run import write_run

    options = parser().parse_args(sys.orig_argv[sys.orig_argv.index("train"):])
    write_run(options.out, {name}(cell_of(options)))
    os._exit(0)
"""


def copy_workflow(folder):
    """Make a folder with copies of the workflow's files, which may be changed; it still needs a config.yaml."""
    folder.mkdir(exist_ok=True)
    for name in WORKFLOW:
        source = ROOT / name
        if source.is_symlink():
            (folder / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return folder


def snakemake(folder, *arguments, check=True, cores=2, **variables):
    """Run snakemake in a folder with the workflow, whose folder `shim` comes before all other programs; return what it says."""
    # The package of the folder, as if it were installed from there.
    environment = os.environ | ({"PYTHONPATH": str(folder / "src")} if (folder / "src").exists() else {}) | variables
    environment["PATH"] = f"{folder / 'shim'}:{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "snakemake", *([f"--cores={cores}"] if cores else []), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    output = done.stdout + done.stderr
    assert check == (done.returncode == 0), output
    return output


def stub_training(folder, made_up="made_up.made_up_run"):
    """Let the cells of a study be made up by a function of the tests, instead of trained, wherever `run_stubbed` runs it."""
    module, _, name = made_up.rpartition(".")
    (folder / "stub").mkdir()
    (folder / "stub/sitecustomize.py").write_text(STUB.format(module=module, name=name))


def run_stubbed(folder, *arguments):
    """Run the workflow on made-up results; return what it says."""
    paths = (folder / "stub", ROOT / "src", ROOT / "tests", ROOT / "tests/workflow")
    return snakemake(folder, *arguments, PYTHONPATH=os.pathsep.join(map(str, paths)))


def made_cells(said):
    """Return the paths of the cells whose jobs ran."""
    return sorted(line.split()[-1] for line in said.splitlines() if line.startswith("    output: results/cells/"))


def copy_of(study, folder):
    """Copy a study with its times and Snakemake's records."""
    subprocess.run(["cp", "-a", study, folder / "study"], check=True)
    return folder / "study"


def jobs(folder, *arguments):
    """Read the job counts and the planned outputs of the train rule from Snakemake's dry run."""
    output = snakemake(folder, "-n", *arguments)
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", output, re.DOTALL)
    if not table:
        assert "Nothing to be done" in output
        return {}, []
    counts = {name: int(count) for name, count in (line.split() for line in table[1].splitlines())}
    counts.pop("total")
    return counts, sorted(re.findall(r"rule train:.*?output: (\S+)", output, re.DOTALL))
