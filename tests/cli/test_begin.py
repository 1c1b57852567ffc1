"""`sgdnoise new` and `sgdnoise range`: what they write trains as it is."""

import math
import re
from functools import partial

import pytest
import torch
import yaml
from torch import nn

from sgdnoise.benchmarks import Benchmark
from sgdnoise.cli.main import main
from sgdnoise.cli.templates import TASKS
from sgdnoise.study import grid
from sgdnoise.study.cell import lr_string
from sgdnoise.study.config import load_config
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.study.reader import read_file, with_windows
from sgdnoise.training import loop, lr_range, svrg
from sgdnoise.training.lr_range import Tried, try_rates, window
from sgdnoise.training.state import Plan


@pytest.mark.parametrize("task", TASKS)
def test_a_new_network_can_be_trained_at_once(task, tmp_path, capsys):
    file, study = tmp_path / "my_net.py", tmp_path / "study.yaml"
    assert main(["new", str(file), "--task", task]) == 0
    said = capsys.readouterr().out
    assert f"sgdnoise check my_net --file {file}" in said
    assert f"sgdnoise range {study} --write" in said
    assert main(["check", "my_net", "--file", str(file), "--data", str(tmp_path / "data")]) == 0
    assert "my_net can be trained" in capsys.readouterr().out
    config = load_config(study)
    assert config["extend_grid"]
    assert {cell.batch_size for cell in grid.cells(config)} == {8, 32, 128}
    assert min(float(cell.lr) for cell in grid.cells(config)) > 0.01  # where it learns, not where noise of the loss is low
    written = study.read_text()
    (more,) = re.findall(r"by overrides: (.*)", written)
    added = grid.cells(config | {"overrides": yaml.safe_load(more)})
    assert [cell.seeds for cell in added] == ["0-2", "3-4"] * len(grid.cells(config))
    assert written.count("#") >= 8  # commented line by line
    commented = yaml.safe_load(written.split("# optimizers")[1].partition("\n")[2].replace("#", " "))
    definitions = load_config(study) | {"optimizers": commented}
    definitions["benchmarks"]["my_net"]["constant_epoch"] = {"epochs": 1, "adamw": {8: [1, 1]}}
    assert "AdamW" in grid.cells(definitions)[0].definition


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text("mine")
    assert main(["new", str(tmp_path / "my_net.py"), "--task=other"]) == 1
    assert "study.yaml is there already; choose another name, or remove it" in capsys.readouterr().err
    assert not (tmp_path / "my_net.py").exists()
    for name in ("My-Net.py", "my_net", "wrn_digits.py"):
        assert main(["new", str(tmp_path / name), "--task=other"]) == 1
        assert "write NAME.py" in capsys.readouterr().err


STUDY = """\
# Mine.
data: {data}
benchmarks:
  autoencoder_digits: # small
    seeds: {{num: 1, keep: 1}}
    constant_epoch: {{epochs: 1, sgd: {{64: [1, 2]}}, momentum: {{64: [1, 2], "128": [1, 2]}}}}
    constant_step:
      steps: 10
      sgd:
        64: [1, 2] # stays
"""


def test_windows_are_found_and_written_where_they_stand(tmp_path, data_folder, capsys):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(data=data_folder))
    assert main(["range", str(path), "--device=cpu"]) == 0
    said = capsys.readouterr().out
    assert path.read_text() == STUDY.format(data=data_folder)
    assert said.startswith("benchmarks.autoencoder_digits.constant_epoch.sgd\n  64: [")
    assert main(["range", str(path), "--device=cpu", "--write"]) == 0
    lines = STUDY.format(data=data_folder).splitlines()
    found = path.read_text().splitlines()
    assert [index for index, (one, other) in enumerate(zip(lines, found, strict=True)) if one != other] == [5]
    entry = yaml.safe_load(path.read_text())["benchmarks"]["autoencoder_digits"]["constant_epoch"]
    for size, ends in entry["momentum"].items():
        assert f"{size}: [{', '.join(map(lr_string, ends))}]" in said
        assert ends[1] == pytest.approx(4 * ends[0], rel=1e-3)


def test_windows_that_cannot_be_written_are_named(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a:\n  64:\n    - 1\n    - 2\n")
    for place in (("a", "64"), ("a", "32")):
        with pytest.raises(
            ValueError, match=rf"study.yaml: a\.{place[1]}: only a window that is written there as \[lowest, highest\]"
        ):
            with_windows(path, {place: ("1", "2")})


ONE = ("1e-05", "0.5")


@pytest.mark.parametrize(
    "text",
    [
        "{sgd: {64: &w [1, 2]}, momentum: {64: *w}}",  # a window
        "{sgd: {64: &w [1, 2]}, adam: {64: *w}, momentum: {64: [1, 2]}}",  # whose anchor goes with it
        "{sgd: &same {64: [1, 2]}, momentum: *same}",  # a mapping of windows
        "{sgd: &same {64: [1, 2]}, momentum: {64: [1, 2]}, adam: *same}",  # for one that is not asked for
        "{sgd: &same {64: [1, 2]}, momentum: {64: [1, 2]}, adam: {<<: *same, 32: [1, 2]}}",
    ],
)
def test_a_window_that_stands_there_once_for_several_is_not_written(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"study.yaml: a window stands there once for several, .* write out the window of each"):
        with_windows(path, {("sgd", "64"): ONE, ("momentum", "64"): ("0.00025", "16")})
    assert path.read_text() == text


def test_that_is_said_before_any_rate_is_tried(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sgdnoise.cli.begin.windows_of", lambda *words: pytest.fail("tried"))
    text = STUDY.format(data=tmp_path).replace(
        "sgd: {64: [1, 2]}, momentum: {", "sgd: &same {64: [1, 2]}, adam: *same, momentum: {"
    )
    (tmp_path / "study.yaml").write_text(text)
    assert main(["range", str(tmp_path / "study.yaml"), "--write"]) == 1
    assert "a window stands there once for several" in capsys.readouterr().err
    assert (tmp_path / "study.yaml").read_text() == text


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("other: &w [1, 2]\nagain: *w\nsgd: {64: [1, 2]}\nmomentum:\n  64: [1, 2] # seen\n", [1, 2]),
        ("other: &same {8: [1, 2]}\nsgd: {<<: *same, 64: [1, 2]}\nmomentum: {<<: *same, 64: &unused [1, 2]}", {"8": [1, 2]}),
        ('{\n\t"other": 1e-05, "sgd": {"64": [1, 2]},\n\t"momentum": {"64":\t[1, 2]}}', 1e-05),
    ],
)
def test_other_aliases_are_in_nobodys_way_and_small_rates_are_numbers(tmp_path, text, other):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    path.write_text(with_windows(path, {("sgd", "64"): ONE, ("momentum", "64"): ("1e+05", "2.5e+05")}))
    found = read_file(path)
    assert (found["sgd"]["64"], found["momentum"]["64"], found["other"]) == ([1e-05, 0.5], [1e5, 2.5e5], other)


class Point(nn.Module):
    """Four weights, which begin far from their optimum at 0."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.full((4,), 10.0))


def test_the_rate_rises_until_a_run_diverges():
    """On a quadratic of curvature 1 with noise, SGD diverges above 2."""

    def batches(*words):
        order = torch.Generator().manual_seed(0)
        while True:
            yield (torch.randn(32, 4, generator=order),)

    def loss(model, batch, carry):
        return (model.w - batch[0]).square().sum() / 2, None

    benchmark = Benchmark(arrays=None, build=Point, batches=batches, loss=loss, evaluate=None)
    plan = Plan(OPTIMIZERS["sgd"], 32, 1.0, 100, 0, 1, {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0})
    tried = try_rates(benchmark, None, plan, 1.0, torch.device("cpu"))
    assert [one.lr for one in tried] == [2.0**power for power in range(-16, 3)]
    assert tried[-1].loss > 2 * tried[0].loss > tried[-2].loss
    assert window(tried) == (0.0625, 0.25)
    assert window([Tried(1.0, 3.0), Tried(2.0, math.inf)]) == (0.5, 2.0)


def rates_of(loss, batch_size=8):
    """The rates tried of four weights that begin at 10, with examples drawn about 0."""
    order = torch.Generator().manual_seed(0)
    batches = iter(lambda: (torch.randn(batch_size, 4, generator=order),), None)
    benchmark = Benchmark(arrays=None, build=Point, batches=lambda *words: batches, loss=loss, evaluate=None)
    plan = Plan(OPTIMIZERS["sgd"], batch_size, 1.0, 100, 0, 1, {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0})
    return try_rates(benchmark, None, plan, 1.0, torch.device("cpu"))


@pytest.mark.parametrize(("batch_size", "updates"), [(1, 256), (3, 86), (32, 8), (512, 8)])
def test_the_loss_of_a_rate_is_a_mean_over_many_examples(monkeypatch, batch_size, updates):
    monkeypatch.setattr(lr_range, "HIGHEST", lr_range.LOWEST)
    seen = []
    rates_of(lambda model, batch, carry: seen.append(len(batch[0])) or (model.w.square().sum(), None), batch_size)
    assert seen == [batch_size] * updates


def test_far_below_the_best_rate_one_that_comes_as_near_is_not_taken():
    assert window([Tried(0.1, 2.0), Tried(0.2, 1.0), Tried(0.4, 2.0), Tried(0.8, 1.0), Tried(1.6, 0.95)]) == (0.4, 1.6)


@pytest.mark.parametrize("level", [-1e3, 0.0])
def test_a_loss_may_be_negative(level):
    """It begins at 0 or far below, and falls by 200."""
    found = rates_of(lambda model, batch, carry: (((model.w - batch[0]).square() / 2 - 50 + level).sum(), None))
    assert found[-1].lr >= 1
    assert 1e-3 < window(found)[0] < 0.5


def test_a_loss_that_is_not_finite_at_first_is_said():
    with pytest.raises(ValueError, match=r"the loss is nan at batch size 8 and learning rate 1\.53e-05; see `sgdnoise check`"):
        rates_of(lambda model, batch, carry: ((model.w * math.nan).sum(), None))


def test_the_rates_are_tried_in_a_run_that_counts_its_updates(load, monkeypatch):
    """By which SVRG knows when its snapshot is due, and K-FAC draws new targets; alpha-SVRG ends where its run would."""
    benchmark, data = load("autoencoder_digits")
    plan = Plan(OPTIMIZERS["alpha_svrg"], 512, 1.0, 4, 0, 1, {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0}, 2.0)
    starts, factors = [], []
    full_gradient, falling = svrg.full_gradient, svrg.falling
    monkeypatch.setattr(svrg, "full_gradient", lambda *words: starts.append(words[3].curves.steps_done) or full_gradient(*words))
    monkeypatch.setitem(
        loop.SOURCES,
        "alpha_svrg",
        partial(svrg.source, factor=lambda plan, step: factors.append(falling(plan, step)) or factors[-1]),
    )
    monkeypatch.setattr(lr_range, "HIGHEST", lr_range.LOWEST)
    try_rates(benchmark, data, plan, 1.0, torch.device("cpu"))
    assert starts == [0, 2, 4, 6]
    assert sorted(set(factors), reverse=True) == [0.75, 0.5625, 0.375, 0.1875, 0.0]
