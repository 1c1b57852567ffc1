"""The examples of docs/your_own_network.md: how long they are, and that they lead to advice from a folder outside the repository."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from workflows import snakemake

LINES = {"pictures": ("cnn", 25), "table": ("mlp", 25), "text": ("gpt", 40)}
PAGE = (ROOT / "docs/your_own_network.md").read_text()


def lines(path):
    """Count the lines that a user writes: none that are empty, and no documentation."""
    text = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())


@pytest.mark.parametrize("example", LINES)
def test_an_example_is_short_and_the_page_has_it(example):
    name, most = LINES[example]
    files = [ROOT / "examples" / example / file for file in (f"{name}.py", "study.yaml")]
    assert sum(map(lines, files)) <= most
    for file in files:
        assert re.sub(r'^""".*?"""\n\n', "", file.read_text(), flags=re.DOTALL).strip() in PAGE, file
    assert f"| {sum(map(lines, files))} |" in next(line for line in PAGE.splitlines() if line.startswith(f"| [`{example}`]"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The examples with their data, in a folder of their own."""
    folder = tmp_path_factory.mktemp("mine") / "examples"
    shutil.copytree(ROOT / "examples", folder)
    subprocess.run([sys.executable, folder / "make_data.py"], check=True)
    return folder


@pytest.mark.workflow
@pytest.mark.parametrize("example", LINES)
def test_an_example_leads_to_advice(example, examples, sgdnoise):
    """Smaller than it stands there: one epoch, one seed, no extension."""
    folder, (name, _) = examples / example, LINES[example]
    entry = yaml.safe_load((folder / "study.yaml").read_text())["benchmarks"][name]
    small = {name: {"seeds": {"num": 2, "keep": 2}, "constant_epoch": {"epochs": 1}}}
    changes = ["extend_grid=false", "evaluations=1", f"benchmarks={json.dumps(small)}"]
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    words = ["results/cells.csv", "-s", str(ROOT / "Snakefile"), "--configfile", "study.yaml", "--config", *changes]
    said = snakemake(folder, *words, **paths)
    assert f"{name} can be trained: checked in" in said
    advice = sgdnoise("recommend", cwd=folder).stdout
    optimizer = next(key for key in entry["constant_epoch"] if key != "epochs")
    for size in entry["constant_epoch"][optimizer]:
        assert re.search(rf"^{size} .*lr=[\d.]+", advice, re.MULTILINE), advice
    assert ("Learning rates are torch's own." in advice) == (optimizer == "adamw")
