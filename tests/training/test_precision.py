"""The setting `precision`: what it changes, what it must not, and that the results from before it was offered stay valid."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from conftest import OFFLINE
from torch import nn

from sgdnoise import benchmarks
from sgdnoise.machine import precision
from sgdnoise.machine.precision import Logits
from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop, packed
from sgdnoise.training.cell import load_data, plan_of, train_cell, use_device
from sgdnoise.training.gradients import backward
from sgdnoise.training.state import State

CPU = use_device("cpu", threads=1)


def cell_of(name, chosen, budget="steps6", lr=0.3):
    return make_cell(name, "momentum", budget, 32, lr, "0-0", json.dumps({"precision": chosen}), 2, None)


def trained(name, chosen, folder, **changes):
    return train_cell(cell_of(name, chosen, **changes), folder, CPU)


def tf32_flags():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_float32_is_no_part_of_a_cells_identity():
    """So that it is that of a cell from before the setting was offered; any other precision is."""
    plain, named, other = (
        make_cell("wrn_digits", "sgd", "steps6", 32, 0.3, "0-0", settings, 2, None)
        for settings in ("{}", '{"precision": "float32"}', '{"precision": "bfloat16"}')
    )
    assert plain == named
    assert plain.spec["settings"] == {
        "l2_convention": "half",
        "l2_scope": "all",
        "micro_batch": 0,
        "norm_decay": 0.9,
        "norm_eps": 1e-05,
    }
    assert other.spec["settings"] == plain.spec["settings"] | {"precision": "bfloat16"}
    with pytest.raises(ValueError, match=r"precision: 'float16' is not one of \['float32', 'tf32', 'bfloat16'\]"):
        cell_of("wrn_digits", "float16")


@pytest.mark.parametrize("name", OFFLINE)
def test_bfloat16_is_in_the_products_only(data_folder, name, needs_bfloat16):
    """Layers compute in bfloat16; logits, losses, gradients, weights, velocities and statistics are float32."""
    needs_bfloat16(name)
    cell = cell_of(name, "bfloat16")
    benchmark, data = load_data(cell, data_folder, CPU)
    plan = plan_of(cell)
    state = loop.start(benchmark, plan, 0, CPU, None)
    outputs = []
    for module in state.model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    update, stream = loop.updater(benchmark, plan, state), loop.batches_of(benchmark, data, plan, 0, 0)
    backward(benchmark, state, next(stream), 32, 32)
    gradients = [parameter.grad for parameter in state.model.parameters()]
    update(0.3)
    *hidden, logits = outputs
    assert all(output.dtype == torch.bfloat16 for output in hidden)
    assert hidden or name.startswith("lstm")
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
    kept = [*gradients, *state.model.parameters(), *state.model.buffers(), *state.optimizer["velocities"]]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    with precision.forward("bfloat16", CPU):
        loss, _ = benchmark.loss(state.model, next(stream), None)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("name", OFFLINE)
def test_bfloat16_trains_nearly_as_float32(data_folder, name, needs_bfloat16):
    needs_bfloat16(name)
    lr = 0.08 if name.startswith("autoencoder") else 0.3
    runs = {some: trained(name, some, data_folder, budget="steps60", lr=lr) for some in ("float32", "bfloat16")}
    losses = {some: run.curves["train_loss"][0] for some, run in runs.items()}
    assert not np.array_equal(losses["bfloat16"], losses["float32"])
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)
    first = trained(name, "float32", data_folder, budget="steps1", lr=lr).curves["train_loss"][0, 0]
    assert losses["float32"][-1] < 0.95 * first
    assert runs["float32"].provenance["precision"] == "float32, TF32 off"
    assert runs["bfloat16"].provenance["precision"].startswith("float32, products of training but the logits' in bfloat16")
    assert runs["bfloat16"].provenance["engine"] == "plain"


def test_evaluation_is_float32_whatever_the_training(data_folder):
    cell = cell_of("wrn_digits", "bfloat16")
    benchmark, data = load_data(cell, data_folder, CPU)
    state = loop.start(benchmark, plan_of(cell), 0, CPU, None)
    plain = loop.start(benchmark, plan_of(cell_of("wrn_digits", "float32")), 0, CPU, None)
    assert type(state.model.classifier) is Logits
    assert loop.evaluate(benchmark, state.model, data, [], 0.0) == loop.evaluate(benchmark, plain.model, data, [], 0.0)


def test_tf32_is_on_in_forward_and_backward_and_off_outside():
    seen = []

    def loss(model, batch, carry):
        outputs = model(batch[0])
        outputs.register_hook(lambda gradient: seen.append(tf32_flags()))
        seen.append(tf32_flags())
        return outputs.sum(), None

    benchmark, batch = benchmarks.load("wrn_digits"), (torch.ones(2, 3),)
    for name, flags in (("tf32", (True, True)), ("float32", (False, False))):
        seen.clear()
        state = State(nn.Linear(3, 1), CPU, precision=name)
        backward(replace(benchmark, loss=loss), state, batch, 2, 2)
        assert seen == [flags, flags]
        assert tf32_flags() == (False, False)


@pytest.mark.parametrize(
    ("convert", "name"),
    [
        (lambda model: model.bfloat16(), "0.weight is torch.bfloat16"),
        (lambda model: model.double(), "0.weight is torch.float64"),
        (lambda model: model[2].bfloat16().requires_grad_(False), "2.weight is torch.bfloat16"),
        (
            lambda model: model.register_parameter("phase", nn.Parameter(torch.ones(2, dtype=torch.cfloat))),
            "phase is torch.complex64",
        ),
    ],
)
def test_weights_that_are_not_float32_are_refused(convert, name):
    def build():
        model = tiny.network()
        convert(model)
        return model

    for optimizer in ("momentum", "adam"):
        with pytest.raises(ValueError, match=rf"the parameter {name}, but weights are float32"):
            loop.train(replace(tiny.BENCHMARK, build=build), tiny.data(), tiny.plan(optimizer), 0, CPU)


class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(16, tiny.CLASSES), nn.Linear(64, 16)

    def forward(self, images):
        return self.head(self.body(images.flatten(1)).relu())


@pytest.mark.parametrize(
    "outputs", [lambda logits: logits, lambda logits: (logits, 0), lambda logits: SimpleNamespace(logits=logits)]
)
def test_logits_in_bfloat16_are_refused(outputs):
    """Of a network that registers another linear layer last than the one that makes them."""

    class Network(HeadFirst):
        def forward(self, images):
            return outputs(super().forward(images))

    def loss(model, batch, carry):
        found = model(batch[0])
        found = getattr(found, "logits", found)
        return (found[0] if isinstance(found, tuple) else found).float().sum(), None

    benchmark = replace(tiny.BENCHMARK, build=Network, loss=loss, evaluate=lambda model, data, split: {"loss": 0.0})
    plan = replace(tiny.plan("momentum", num_steps=1), settings=tiny.SETTINGS | {"precision": "bfloat16"})
    with pytest.raises(ValueError, match="precision bfloat16: the network puts out bfloat16, but logits are float32"):
        loop.train(benchmark, tiny.data(), plan, 0, CPU)
    loop.train(benchmark, tiny.data(), tiny.plan("momentum", num_steps=1), 0, CPU)


def test_tf32_needs_a_gpu(data_folder):
    with pytest.raises(ValueError, match="precision tf32: only GPUs of NVIDIA have it; use device cuda, or the precision"):
        trained("wrn_digits", "tf32", data_folder)


def test_an_lstm_in_bfloat16_needs_a_processor_that_has_it(data_folder, monkeypatch):
    monkeypatch.setattr(precision, "recurrent_bfloat16", lambda: False)
    with pytest.raises(ValueError, match="precision bfloat16: this processor has no LSTM in it"):
        trained("lstm_synthetic", "bfloat16", data_folder)
    trained("autoencoder_digits", "bfloat16", data_folder, budget="steps2")


def test_only_float32_is_packed(data_folder):
    cell = cell_of("autoencoder_digits", "bfloat16")
    benchmark, _ = load_data(cell, data_folder, CPU)
    assert packed.obstacle(benchmark, plan_of(cell), CPU) == "only float32 is packed"
    with pytest.raises(ValueError, match="engine packed: only float32 is packed; use --engine auto"):
        train_cell(cell, data_folder, CPU, engine="packed")
