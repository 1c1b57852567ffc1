"""SOAP, of an optional package whose first step moves nothing: here every update moves the weights."""

import json
import sys

import pytest
import tiny
import torch
from torch import nn

from sgdnoise.cli.main import main
from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop
from sgdnoise.training.cell import load_data, plan_of
from sgdnoise.training.updates import soap, step

CPU, BETA, LR = torch.device("cpu"), 0.95, 0.1


def by_hand(weights, gradients):
    """Yield the weights after each update: the first by Adam, then Adam in the eigenbases of what the first gradient says."""
    first = gradients[0]
    bases = [torch.linalg.eigh(first @ first.T)[1], torch.linalg.eigh(first.T @ first)[1]]
    left, right = [torch.eye(len(one)) for one in bases]
    mean, square = torch.zeros_like(first), torch.zeros_like(first)
    for update, gradient in enumerate(gradients, start=1):
        mean = BETA * mean + (1 - BETA) * gradient
        square = BETA * square + (1 - BETA) * (left.T @ gradient @ right) ** 2
        correction = (1 - BETA**update) ** 0.5 / (1 - BETA**update)
        direction = left @ ((left.T @ mean @ right) / (square.sqrt() + 1e-8)) @ right.T
        weights = weights - LR * correction * direction
        if update == 1:
            left, right = bases
            square = (1 - BETA) * (left.T @ gradient @ right) ** 2
        yield weights


def test_updates_are_those_by_hand():
    """Until the basis changes, at the tenth."""
    torch.manual_seed(0)
    model, gradients = nn.Linear(4, 4, bias=False), torch.randn(9, 4, 4)
    made, wanted = soap(model, LR), by_hand(model.weight.detach().clone(), gradients)
    made.param_groups[0]["initial_lr"] = LR
    for gradient, weights in zip(gradients, wanted, strict=True):
        model.weight.grad = gradient
        step(made, LR, LR)
        torch.testing.assert_close(model.weight.detach(), weights, rtol=1e-4, atol=1e-5)


def test_every_update_moves_every_weight():
    seen = []
    loop.train(
        tiny.BENCHMARK,
        tiny.data(),
        tiny.plan("soap", num_steps=12),
        0,
        CPU,
        lambda state: seen.append([one.detach().clone() for one in state.model.parameters()]),
    )
    start = [one.detach() for one in loop.start(tiny.BENCHMARK, tiny.plan("soap"), 0, CPU, None).model.parameters()]
    for before, after in zip([start, *seen], seen, strict=False):
        assert all(bool((one != other).any()) for one, other in zip(before, after, strict=True))


def test_without_the_package_the_error_names_the_extra(tmp_path, data_folder, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytorch_optimizer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    words = ["train", "--benchmark=autoencoder_digits", "--optimizer=soap", "--budget=steps1", "--batch-size=8", "--lr=0.1"]
    assert main([*words, f"--data={data_folder}", f"--out={tmp_path / 'a.h5'}"]) == 1
    assert "pytorch_optimizer is not installed: pip install 'sgdnoise[optimizers]'" in capsys.readouterr().err


@pytest.mark.parametrize("schedule", ["paper", "cosine"])
def test_its_learning_rate_follows_the_schedule(schedule, data_folder):
    """Of one that a config defines with another schedule, too."""
    definition = json.dumps({"optimizer": "soap", "schedule": schedule})
    cell = make_cell("autoencoder_digits", "mine", "steps6", 8, 0.01, "0-0", "{}", 1, None, definition=definition)
    benchmark, data = load_data(cell, data_folder, CPU)
    plan, seen = plan_of(cell), []
    loop.train(benchmark, data, plan, 0, CPU, lambda state: seen.append(state.torch_optimizer.param_groups[0]["lr"]))
    assert seen == pytest.approx([plan.lr_at(step) for step in range(6)])
    assert len(set(seen)) > 2
