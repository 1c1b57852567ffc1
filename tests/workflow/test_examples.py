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


@pytest.mark.workflow
def test_examples_lead_to_advice(tmp_path, sgdnoise):
    """All three in one call, smaller than they stand there: an epoch, a seed, a learning rate; with their data, in another folder."""
    folder = tmp_path / "mine"
    shutil.copytree(ROOT / "examples", folder)
    subprocess.run([sys.executable, folder / "make_data.py"], check=True)
    small, sizes = {}, set()
    for example, (name, _) in LINES.items():
        entry = yaml.safe_load((folder / example / "study.yaml").read_text())["benchmarks"][name]["constant_epoch"]
        (optimizer,) = set(entry) - {"epochs"}
        windows = {size: [window[0]] * 2 for size, window in entry[optimizer].items()}
        small[name] = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, optimizer: windows}}
        sizes |= {(name, size) for size in windows}
    changes = ["extend_grid=false", "evaluations=1", f"benchmarks={json.dumps(small)}"]
    configs = [f"{example}/study.yaml" for example in LINES]
    words = ["results/cells.csv", "-s", str(ROOT / "Snakefile"), "--configfile", *configs, "--config", *changes]
    said = snakemake(folder, *words, PYTHONPATH=os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    for name, _ in LINES.values():
        assert f"{name} can be trained: checked in" in said
    advised = json.loads(sgdnoise("recommend", "--json", cwd=folder).stdout)
    rows = [
        (one["benchmark"], row["batch_size"], row["lr"]) for one in advised for own in one["optimizers"] for row in own["rows"]
    ]
    assert {(name, size) for name, size, _ in rows} == sizes
    assert all(lr > 0 for _, _, lr in rows)
    assert [one["benchmark"] for one in advised if "Learning rates are torch's own." in one["text"]] == ["gpt"]
