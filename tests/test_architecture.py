"""The rooms of the package: what stands in them, and that an import which they forbid is noticed."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "src/sgdnoise"
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
LINT = Path(sys.executable).with_name("lint-imports")


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def test_the_package_holds_rooms_and_nothing_else():
    assert {path.name for path in PACKAGE.iterdir()} - {"__pycache__"} == {"__init__.py", "__main__.py", *ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_and_has_its_place_in_the_docs_and_the_tests(room):
    assert docstring(PACKAGE / room / "__init__.py").splitlines()[0].endswith(".")
    assert f"`{room}/`" in (ROOT / "docs/architecture.md").read_text()


def test_tests_stand_in_folders_of_the_names_of_what_they_test():
    known = {*ROOMS, "performance", "slurm", "workflow"}
    assert {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"} <= known


def lint(folder):
    command = [LINT, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder / "src")}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("tasks/batches.py", "from sgdnoise.benchmarks import Benchmark", "a room imports only the floors below it"),
        ("tasks/batches.py", "from sgdnoise.networks import lstm", "a room imports only the floors below it"),
        ("training/loop.py", "from sgdnoise.analysis import optimum", "a room imports only the floors below it"),
        ("study/grid.py", "import numpy", "planning imports neither torch, numpy nor pandas"),
        ("benchmarks/__init__.py", "from sgdnoise.networks import lstm", "planning imports neither torch, numpy nor pandas"),
        ("analysis/curves.py", "import torch", "tables and verdicts are made without torch"),
        ("claims/contrasts.py", "from sgdnoise.networks import lstm", "tables and verdicts are made without torch"),
        ("training/cell.py", "from sgdnoise.results import collect", "training imports no pandas"),
        ("report/reference.py", "from sgdnoise.training import checkpoint", "figures and reports do not train"),
        ("figures/schedule.py", "import h5py", "figures and the page read tables, not HDF5"),
    ],
)
def test_a_forbidden_import_is_noticed(tmp_path, file, line, broken):
    shutil.copytree(PACKAGE, tmp_path / "src/sgdnoise", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module = tmp_path / "src/sgdnoise" / file
    module.write_text(f"{module.read_text()}\n\ndef unused():\n    {line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert f"{broken} BROKEN" in done.stdout


def test_no_import_is_forbidden():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_text_is_read_and_written_in_utf8_whatever_the_locale():
    """Streams that a process was given are as the locale has them."""
    missing = []
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"), ROOT / "Snakefile"]:
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            calls = re.findall(r"\b(?:read_text|write_text|(?<!os\.)(?<!Image\.)(?<!h5f\.)open|TextIOWrapper)\((?!\d).*", text)
            if any("encoding=" not in call and not re.search(r'"[rwa]b"', call) for call in calls) or "text=True" in text:
                missing.append(f"{path.relative_to(ROOT)}:{line}")
    assert missing == []
