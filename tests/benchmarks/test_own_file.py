"""A benchmark in a user's own file: what it depends on, and that nothing stale is imported."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from own_net import OWN, write_own

from sgdnoise import benchmarks
from sgdnoise.machine import datasets
from sgdnoise.results.collect import check_spec
from sgdnoise.study import optimizers
from sgdnoise.study.cell import make_cell
from sgdnoise.study.optimizers import Optimizer


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The files of an own benchmark; what is imported from there is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    write_own(tmp_path)
    yield tmp_path
    sys.modules.pop("shape", None)


def asked_anew():
    """Forget what this process has read, as another would begin."""
    benchmarks.depends_on.cache_clear()
    benchmarks.protocol.cache_clear()


def edit(folder, name="shape.py", old="20", new="30"):
    assert old in (folder / name).read_text()
    (folder / name).write_text((folder / name).read_text().replace(old, new))
    asked_anew()


def cell(folder, optimizer="sgd", name="my_net"):
    return make_cell(name, optimizer, "steps2", 64, 0.08, "0-0", "{}", 1, str(folder / "my_net.py"))


def test_it_depends_on_its_files(own):
    before = cell(own).depends_on
    assert set(before) == set(OWN)
    for name, old, new in (("shape.py", "20", "30"), ("my_net.py", "=5", "=6"), ("scale.csv", "3", "4")):
        edit(own, name, old, new)
        after = cell(own).depends_on
        assert {one for one in after if after[one] != before[one]} == {name}
        before = after


def test_shipped_benchmarks_depend_on_their_version_from_the_second_on(monkeypatch, own):
    shipped = make_cell("autoencoder_digits", "momentum", "steps2", 64, 0.08, "0-0", "{}", 1, None)
    assert shipped.depends_on == {}
    assert "depends_on" not in shipped.spec
    read = benchmarks.protocol
    monkeypatch.setattr(benchmarks, "protocol", lambda *words: read(*words) | {"version": 1 + (words[0] == "autoencoder_digits")})
    benchmarks.depends_on.cache_clear()
    assert shipped.depends_on == {"autoencoder_digits": "2"}
    assert cell(own).depends_on["autoencoder_digits"] == "2"  # it builds on that
    assert benchmarks.recipe("autoencoder_digits") == "2"
    variant = make_cell("mine", "sgd", "steps2", 64, 0.08, "0-0", "{}", 1, "autoencoder_digits")
    assert variant.depends_on == {"autoencoder_digits": "2"}
    benchmarks.depends_on.cache_clear()


def test_a_copy_of_a_shipped_benchmark_stands_for_none_of_the_papers(tmp_path):
    """It keeps no version of the package's: whoever copies a file means to change it."""
    copy = tmp_path / "copy.py"
    copy.write_text(benchmarks.source("wrn_cifar10").read_text())
    assert benchmarks.is_papers(benchmarks.protocol("wrn_cifar10"))
    assert not benchmarks.is_papers(benchmarks.protocol("mine", str(copy)))


def test_results_of_other_versions_are_named(own):
    from made_up import made_up_run

    old = made_up_run(cell(own))
    check_spec(old, cell(own), Path("a.h5"))
    edit(own)
    with pytest.raises(
        ValueError, match=r"a.h5 was trained with another version of shape.py than there is now \(shape.py: \w+; now"
    ):
        check_spec(old, cell(own), Path("a.h5"))
    shipped = make_cell("autoencoder_digits", "sgd", "steps2", 64, 0.08, "0-0", "{}", 1, None)
    later = made_up_run(shipped)
    later.spec["depends_on"] = {"autoencoder_digits": "2"}  # by a later version of the package
    with pytest.raises(ValueError, match=r"another version of autoencoder_digits .*\(autoencoder_digits: 2; now .*: the first"):
        check_spec(later, shipped, Path("b.h5"))


def test_the_modules_of_now_are_imported(own, tmp_path_factory):
    """Not those of another folder or of before, not even if the file has kept its size and time."""

    def widths(folder):
        model = benchmarks.load("my_net", str(folder / "my_net.py")).build()
        return next(iter(model.parameters())).shape[0]

    time = os.stat(own / "shape.py")
    assert widths(own) == 20
    edit(own)
    os.utime(own / "shape.py", ns=(time.st_atime_ns, time.st_mtime_ns))
    assert widths(own) == 30
    other = tmp_path_factory.mktemp("other")
    write_own(other)
    edit(other, new="40")
    assert (widths(other), widths(own)) == (40, 30)


def test_a_file_that_changes_meanwhile_is_refused(own):
    cell(own)
    (own / "shape.py").write_text("WIDTHS = [64, 9]")
    with pytest.raises(ValueError, match=r"my_net.py, or what it imports or reads, has changed while this was running"):
        benchmarks.load("my_net", str(own / "my_net.py"))
    asked_anew()


DATACLASS = """

@dataclass
class Chosen:
    widths: list[int]


def arrays("""


def test_a_file_may_have_dataclasses_with_postponed_annotations(own):
    """They look for their module by its name, also when it is run again; one that fails leaves none."""
    edit(
        own,
        "my_net.py",
        "from dataclasses import replace",
        "from __future__ import annotations\nfrom dataclasses import dataclass, replace",
    )
    edit(own, "my_net.py", "\n\ndef arrays(", DATACLASS)
    edit(own, "my_net.py", "shape.WIDTHS", "Chosen(shape.WIDTHS).widths")
    for _ in range(2):
        benchmarks.load("my_net", str(own / "my_net.py")).build()
    edit(own, "my_net.py", "import shape", "import shape; 1 / 0")
    with pytest.raises(ZeroDivisionError):
        benchmarks.load("my_net", str(own / "my_net.py"))
    assert "sgdnoise.benchmarks.my_net" not in sys.modules


def test_python_and_its_own_modules_come_first(own):
    (own / "random.py").write_text("raise RuntimeError('the wrong one')")
    sys.modules.pop("random")
    benchmarks.load("my_net", str(own / "my_net.py"))
    import random

    assert "python3" in random.__file__


def test_imports_from_elsewhere_are_warned_of(own, tmp_path_factory, caplog):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "strange_module.py").write_text("")
    sys.path.append(str(elsewhere))
    edit(own, "my_net.py", "import shape", "import strange_module, shape")
    benchmarks.load("my_net", str(own / "my_net.py"))
    assert f"imports {elsewhere / 'strange_module.py'}, a change of which goes unnoticed" in caplog.text
    sys.modules.pop("strange_module")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("my_net.py", "scale.csv", "none.csv", r"my_net.py: PROTOCOL reads 'none.csv', which cannot be read"),
        ("shape.py", "[", "", r"shape.py, line 1"),
    ],
)
def test_what_cannot_be_read_is_named(own, name, old, new, message):
    (own / name).write_text((own / name).read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        cell(own)
    asked_anew()


@pytest.mark.parametrize("name", ["autoencoder_mnist", "wrn_digits"])  # the paper's; a sibling
def test_a_name_of_the_package_is_not_given_to_another_network(own, name):
    """Its results would be evidence about the paper."""
    message = f"'{name}' is a benchmark of the package; give the network of .*my_net.py a name of its own"
    with pytest.raises(ValueError, match=message):
        cell(own, name=name)


def test_a_module_that_is_not_there_is_named(own):
    edit(own, "my_net.py", "import shape", "import nowhere")
    with pytest.raises(ValueError, match=r"my_net.py: No module named 'nowhere'; a module of your own belongs into the folder"):
        benchmarks.load("my_net", str(own / "my_net.py"))


# Optimizers


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Optimizer("plain"), ""),
        (Optimizer("heavy", momentum=0.95), "momentum=0.95"),
        (Optimizer("slow", momentum=0.9, warmup_epochs=3), "momentum=0.9 warmup_epochs=3"),
    ],
)
def test_the_options_of_an_optimizer_are_part_of_a_cell(monkeypatch, optimizer, said):
    monkeypatch.setitem(optimizers.OPTIMIZERS, "mine", optimizer)
    mine = make_cell("autoencoder_digits", "mine", "steps2", 64, 0.08, "0-0", "{}", 1, None)
    assert mine.spec.get("depends_on", {}) == ({"mine": said} if said else {})


def test_the_options_of_the_papers_optimizers_are_only_if_they_change(monkeypatch):
    assert [optimizers.depends_on(name) for name in ("sgd", "momentum", "momentum_warmup")] == [{}, {}, {}]
    monkeypatch.setitem(optimizers.OPTIMIZERS, "momentum", Optimizer("momentum", momentum=0.8))
    assert optimizers.depends_on("momentum") == {"momentum": "momentum=0.8"}
    monkeypatch.setitem(optimizers.OPTIMIZERS, "momentum", Optimizer("momentum"))
    assert optimizers.depends_on("momentum") == {"momentum": ""}


def test_another_update_rule_is_part_of_a_cell(monkeypatch):
    monkeypatch.setitem(optimizers.OPTIMIZERS, "mine", Optimizer("mine", rule="lion"))
    assert optimizers.depends_on("mine") == {"mine": "rule='lion'"}
    assert optimizers.depends_on("adam") == {"adam": "rule='adam' version=1"}


# Data files


def test_a_data_file_knows_its_recipes(tmp_path):
    path, made = tmp_path / "data.npz", []

    def arrays(value):
        return lambda folder: made.append(value) or {"a": np.full(3, value)}

    datasets.prepare(path, arrays(1), "one")
    datasets.prepare(path, arrays(1), "two")
    assert datasets.recipes(path) == ["one", "two"]
    datasets.prepare(path, arrays(9), "one")
    assert made == [1, 1]
    with pytest.raises(ValueError, match="benchmarks of this study, which make different arrays; give one another dataset"):
        datasets.prepare(path, arrays(2), "three", beside=["two", "three"])
    assert datasets.recipes(path) == ["one", "two"]
    datasets.prepare(path, arrays(2), "three")
    assert datasets.recipes(path) == ["three"]
    with np.load(path) as archive:
        assert archive["a"].tolist() == [2, 2, 2]


def test_a_file_from_before_is_of_the_first_version(tmp_path):
    np.savez(tmp_path / "data.npz", a=np.zeros(3))
    assert datasets.recipes(tmp_path / "data.npz") == [benchmarks.recipe("autoencoder_digits")] == ["1"]
    assert datasets.recipes(tmp_path / "none.npz") == []
    assert not datasets.is_made(tmp_path / "none.npz", "1")
