"""What the package, its lock file and the workflow catalog say of each other."""

import re
import tomllib

import yaml
from conftest import ROOT

from sgdnoise.machine.imports import EXTRAS, install

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.match(r"[A-Za-z0-9_-]+", one)[0].lower().replace("_", "-") for one in requirements} - {"sgdnoise"}


def test_the_lock_file_has_all_that_this_repository_needs():
    """Dependencies and every extra but that of clusters, which has a lock file of its own."""
    optional = PROJECT["optional-dependencies"]
    locked = names(line for line in (ROOT / "envs/requirements.lock").read_text().splitlines())
    wanted = names([*PROJECT["dependencies"], *(one for name, some in optional.items() if name != "cluster" for one in some)])
    assert wanted <= locked
    assert names(optional["cluster"]) <= names((ROOT / "envs/cluster.lock").read_text().splitlines())


def test_what_a_command_asks_for_is_an_extra():
    assert set(EXTRAS.values()) | {"cluster"} <= set(PROJECT["optional-dependencies"])
    assert install("digits") == "pip install 'sgdnoise[digits]'"
    assert not names(PROJECT["dependencies"]) & {"torchvision", "scikit-learn", "tensorboard", "snakemake-executor-plugin-slurm"}


def test_the_workflow_catalog_finds_what_it_asks_for():
    """A Snakefile under either name, rules, a README that says what it is, and of standardized usage config/README.md and its file."""
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert 'include: "workflow/Snakefile"' in (ROOT / "Snakefile").read_text()
    assert list((ROOT / "workflow/rules").glob("*.smk"))
    said = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(said) == {"mandatory-flags", "software-stack-deployment"}
    assert said["software-stack-deployment"]["conda"] == (ROOT / "envs/sgdnoise.yaml").exists()
    assert (ROOT / "config/config.yaml").samefile(ROOT / "config.yaml")
    for path in re.findall(r"`(workflow/config/[a-z_]+\.yaml)`", (ROOT / "config/README.md").read_text()):
        assert (ROOT / path).exists()
