"""The packed engine is taken for what it can train, and says why for what it cannot."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sgdnoise.study.cell import make_cell
from sgdnoise.study.config import validate
from sgdnoise.study.cost import cost
from sgdnoise.study.grid import trained
from sgdnoise.study.optimizers import optimizer
from sgdnoise.training import calibrate, graph, packed
from sgdnoise.training.cell import load_data, plan_of, train_cell, use_device
from sgdnoise.training.state import Curves, State

CPU = use_device("cpu", threads=1)


def cell_of(name, **settings):
    batch_size, text = 32, str(settings).replace("'", '"')
    return make_cell(name, "momentum", "steps12", batch_size, 0.08, "0-2", text, 2, None)


@pytest.mark.parametrize(("name", "tolerance"), [("autoencoder_digits", 1e-5), ("wrn_digits", 1e-2)])  # for a ReLU that turns
def test_the_engine_is_chosen_and_recorded(data_folder, name, tolerance):
    runs = {engine: train_cell(cell_of(name), data_folder, CPU, engine=engine) for engine in ("auto", "plain", "packed")}
    assert {name: run.provenance["engine"] for name, run in runs.items()} == {
        "auto": "packed",
        "plain": "plain",
        "packed": "packed",
    }
    for metric, curve in runs["plain"].curves.items():
        np.testing.assert_allclose(runs["packed"].curves[metric], curve, rtol=tolerance)
        np.testing.assert_array_equal(runs["packed"].curves[metric], runs["auto"].curves[metric])
    assert runs["packed"].provenance["steps_done"] == [12, 12, 12]


def test_calibrate_times_the_engine_that_trains_cells(monkeypatch, data_folder):
    trained = []

    def recording(benchmark, data, plan, seeds, *rest):
        trained.append(seeds)
        return together(benchmark, data, plan, seeds, *rest)

    together = packed.train
    monkeypatch.setattr(packed, "train", recording)
    assert calibrate.examples_per_second(cell_of("autoencoder_digits"), data_folder, CPU, 0.05) > 0
    assert trained == [[0, 1, 2]]


@pytest.mark.parametrize("first", ["sgd", "svrg", "kfac", "ascent@0.1", "penalty@0.1"])
def test_a_plan_costs_the_same_whichever_optimizer_was_timed(monkeypatch, first):
    """100 gradients a second on a machine made up: of an optimizer whose update takes three an example, 33 examples."""
    monkeypatch.setattr(calibrate, "evaluation_seconds", lambda *_: 0.0)
    monkeypatch.setattr(
        calibrate, "examples_per_second", lambda cell, *_: 100 / optimizer(cell.optimizer, cell.definition).evaluations
    )
    windows = {name: {32: [0.01, 0.01]} for name in (first, "svrg", "sgd")}
    entry = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 20} | windows}
    own = {"ascent": {"regulariser": "sam", "micro_batch": 4}, "penalty": {"regulariser": "gradient_norm", "micro_batch": 4}}
    config = validate({"optimizers": own, "benchmarks": {"autoencoder_digits": entry}})
    (row,) = calibrate.calibrate(config, Path(), CPU, 1)
    assert row.examples_per_second == 100
    for cell in trained(config):
        gradients = cell.num_steps * 32 * optimizer(cell.optimizer, cell.definition).evaluations
        assert cost(cell, {(row.benchmark, 32): row}).hours * 3600 == pytest.approx(gradients / 100)


@pytest.mark.parametrize("window", [1, 64])
def test_calibrate_counts_updates_however_many_an_engine_makes_at_once(monkeypatch, data_folder, window):
    """A second each on a clock of its own: 3 seeds x 32 examples."""

    def endless(benchmark, data, plan, seeds, device, on_step, resume):
        curves = Curves(steps_done=1)
        while True:
            on_step([State(None, device, curves=curves) for _ in seeds])
            curves.steps_done += window

    monkeypatch.setattr(graph, "train", endless)
    monkeypatch.setattr(graph, "groups", lambda benchmark, seeds, batch_size: [list(seeds)])
    clock = iter(range(0, 10**6, window))
    monkeypatch.setattr(calibrate.time, "perf_counter", lambda: next(clock))
    assert calibrate.examples_per_second(cell_of("autoencoder_digits"), data_folder, CPU, 500, "graph") == 3 * 32


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (cell_of("lstm_synthetic", micro_batch=16), "micro-batches are not packed"),
        (cell_of("autoencoder_digits", micro_batch=16), "micro-batches are not packed"),
    ],
)
def test_what_cannot_be_packed(data_folder, cell, message):
    with pytest.raises(ValueError, match=f"engine packed: {message}"):
        train_cell(cell, data_folder, CPU, engine="packed")
    assert train_cell(cell, data_folder, CPU).provenance["engine"] == "plain"


def test_processes_and_other_optimizers_are_not_packed(monkeypatch, data_folder):
    cell = cell_of("autoencoder_digits")
    benchmark, plan = load_data(cell, data_folder, CPU)[0], plan_of(cell)
    assert packed.obstacle(benchmark, plan, CPU) is None
    assert packed.obstacle(benchmark, plan, torch.device("cuda")) == "seeds are packed in one process on a CPU only"
    noisy = replace(benchmark, batches=lambda *where: benchmark.batches(*where))
    kinds = "the fully connected autoencoder or the LSTM language model or a Wide-ResNet on small images"
    assert packed.obstacle(noisy, plan, CPU) == f"only {kinds} can be packed"
    other = replace(plan, optimizer=replace(plan.optimizer, rule="adam"))
    assert packed.obstacle(benchmark, other, CPU) == "only SGD and momentum can be packed"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert packed.obstacle(benchmark, plan, CPU) == "seeds are packed in one process on a CPU only"
