"""What a Python file says, and what it imports."""

import ast
import shutil
from pathlib import Path

import pytest

from sgdnoise.machine import sources

PROGRAM = '''"""A docstring."""
import helper
from pkg import deep as d, name
from pkg.sub.leaf import *
import random, torch.nn, sgdnoise.benchmarks  # installed

def f(x=1, *, y="a"):
    """Another."""
    from . import sibling
    import importlib
    return importlib.import_module("dynamic").g(f"{x!r:>{y}}", {**{}}, -1.5e3, b"z", ..., None)

class A:
    """Third."""
'''
FILES = {
    "net.py": PROGRAM,
    "helper.py": "import second",
    "second.py": "import helper",  # in a circle
    "pkg/__init__.py": "",
    "pkg/deep.py": "from ..helper import x\nfrom .other import y",
    "pkg/other.py": "",
    "pkg/sub/leaf.py": "",  # in a folder without __init__.py
    "sibling.py": "",
    "dynamic.py": "",
    "random.py": "",  # Python's own is imported instead
    "unused.py": "",
}


def write(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "net.py"


def test_local_modules_are_found_wherever_they_are_imported(tmp_path, monkeypatch):
    file = write(tmp_path)
    assert set(sources.trees(file)) == set(FILES) - {"random.py", "unused.py"}
    monkeypatch.chdir(tmp_path / "pkg")
    assert sources.trees(Path("../net.py")).keys() == sources.trees(file).keys()


def digest(text):
    return sources.digest(ast.parse(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A docstring."""\n', "# nothing\n\n"),
        ('    """Another."""\n', ""),
        ('"""Third."""', '"""Fourth."""'),
        ('y="a"', "y = 'a'"),
        ("-1.5e3", "(-1500.)"),
        ('"z"', "'''z'''"),
    ],
)
def test_how_it_is_written_is_no_part_of_the_digest(old, new):
    assert old in PROGRAM
    assert digest(PROGRAM.replace(old, new)) == digest(PROGRAM)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x=1", "x=2"),
        ("x=1", "x=True"),
        ("x=1", "x=1.0"),
        ("x=1, *,", "x=1,"),
        ('y="a"', 'y=b"a"'),
        ("-1.5e3", "+1.5e3"),
        ("deep as d", "deep as e"),
        ("import helper", "import second"),
        ("!r", "!s"),
        ("class A:", "class B:"),
        ("...", "None"),
        ("None)", "())"),
    ],
)
def test_what_it_says_is(old, new):
    assert old in PROGRAM
    assert digest(PROGRAM.replace(old, new)) != digest(PROGRAM)


def test_the_digest_is_the_same_in_every_python():
    """Found by Python 3.11, 3.12 and 3.13."""
    assert digest(PROGRAM) == "7da21d204f92"


@pytest.mark.parametrize("content", [b"a = [", b"a = '\xf6'", b"\0", b"  a"])
def test_a_file_that_is_no_python_is_named(tmp_path, content):
    (tmp_path / "net.py").write_text("import helper")
    (tmp_path / "helper.py").write_bytes(content)
    with pytest.raises(ValueError, match=r"helper.py"):
        sources.trees(tmp_path / "net.py")


def test_a_declared_encoding_is_read(tmp_path):
    (tmp_path / "net.py").write_bytes("# coding: latin-1\na = 'ö'".encode("latin-1"))
    assert sources.digest(sources.trees(tmp_path / "net.py")["net.py"]) == digest("a = 'ö'")


def test_a_very_long_sum_has_a_digest():
    assert digest("a = " + "+".join(["1"] * 900)) != digest("a = " + "+".join(["1"] * 901))


def test_a_folder_has_the_digest_of_its_files_behind_links_too(tmp_path):
    (tmp_path / "plain/zero").mkdir(parents=True)
    (tmp_path / "plain/zero/a.png").write_bytes(b"a")
    (tmp_path / "plain/b.png").write_bytes(b"b")
    assert sources.content_digest(tmp_path / "plain") == "6ae81bf75e20"
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/zero").symlink_to(tmp_path / "plain/zero", target_is_directory=True)
    (tmp_path / "linked/b.png").symlink_to(tmp_path / "plain/b.png")
    (tmp_path / "whole").symlink_to(tmp_path / "linked", target_is_directory=True)
    assert {sources.content_digest(tmp_path / name) for name in ("linked", "whole")} == {"6ae81bf75e20"}
    (tmp_path / "linked/one").symlink_to(tmp_path / "plain/zero", target_is_directory=True)  # the same again is another class
    both = sources.content_digest(tmp_path / "linked")
    assert both != "6ae81bf75e20"
    (tmp_path / "plain/zero/a.png").write_bytes(b"c")
    assert sources.content_digest(tmp_path / "linked") != both


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "two/a.png").touch()
    empty = sources.content_digest(tmp_path / "one")
    (tmp_path / "one/self").symlink_to(tmp_path / "one", target_is_directory=True)
    (tmp_path / "one/gone").symlink_to(tmp_path / "nowhere")
    assert sources.content_digest(tmp_path / "one") == empty
    (tmp_path / "one/two").symlink_to(tmp_path / "two", target_is_directory=True)
    (tmp_path / "two/back").symlink_to(tmp_path / "one", target_is_directory=True)
    assert [path.name for path in sources.files_below(tmp_path / "one")] == ["a.png"]


def test_a_package_has_the_digest_of_its_files_wherever_it_lies(tmp_path, monkeypatch):
    package = tmp_path / "sgdnoise"
    shutil.copytree(
        Path(sources.__file__).parents[1] / "claims", package / "claims", ignore=shutil.ignore_patterns("__pycache__")
    )
    here = sources.package_digest("claims")
    monkeypatch.setattr(sources, "__file__", str(package / "machine/sources.py"))
    assert sources.package_digest("claims") == here
    for changed in (package / "claims/paper.csv", package / "claims/arms.py", package / "claims/new.py"):
        before = sources.package_digest("claims")
        with open(changed, "a") as file:
            file.write("\n")
        assert sources.package_digest("claims") != before
