"""SVRG: no variance at the snapshot, an unbiased mean, and what is left of the run by the extra gradients."""

import json
import math
from fractions import Fraction

import pytest
import torch

from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop
from sgdnoise.training.cell import plan_of, train_cell, use_device
from sgdnoise.training.gradients import taken
from sgdnoise.training.state import trained_parameters
from sgdnoise.training.svrg import falling, full_gradient, starts_epoch

CPU = use_device("cpu", threads=1)


def plan_for(name, optimizer="svrg", batch_size=16, steps=8, lr=0.05, settings="{}", definition=None):
    return plan_of(make_cell(name, optimizer, f"steps{steps}", batch_size, lr, "0-0", settings, 2, None, definition=definition))


def started(load, name, settings="{}", **more):
    benchmark, data = load(name, **json.loads(settings))
    plan = plan_for(name, settings=settings, **more)
    state = loop.start(benchmark, plan, 0, CPU, None)
    return benchmark, data, plan, state, loop.source(benchmark, data, plan, state, 0)


def flat(state):
    return torch.cat([one.flatten() for one in taken(trained_parameters(state.model))])


@pytest.mark.parametrize(("num_train", "batch_size"), [(128, 16), (100, 16)])
def test_the_gradient_at_the_snapshot_is_that_of_all_examples(load, num_train, batch_size):
    """Whatever the batch: its variance is 0. An epoch may end within a batch."""
    settings = json.dumps({"num_train": num_train})
    benchmark, data, plan, state, gradient = started(load, "autoencoder_digits", settings, batch_size=batch_size)
    pixels = data["train_pixels"][:num_train].float() / 255
    (benchmark.loss(state.model, (pixels,), None)[0] / num_train).backward()
    full = flat(state)
    stream = loop.batches_of(benchmark, data, plan, 0, 0)
    for _ in range(3):
        gradient(next(stream))
        torch.testing.assert_close(flat(state), full, rtol=1e-3, atol=1e-4 * float(full.abs().max()))


def test_the_mean_over_an_epoch_is_the_full_gradient_where_the_weights_are(load):
    """And its variance grows from 0 as the weights leave the snapshot, staying below that of SGD near it."""
    settings = json.dumps({"num_train": 128})
    benchmark, data, plan, state, gradient = started(load, "autoencoder_digits", settings)
    stream = loop.batches_of(benchmark, data, plan, 0, 0)
    gradient(next(stream))  # takes the snapshot
    taken(trained_parameters(state.model))
    torch.manual_seed(5)
    with torch.no_grad():
        for one in trained_parameters(state.model):
            one += 0.002 * torch.randn_like(one)
    state.curves.steps_done = 1  # within the epoch
    made, plain = [], []
    stream = loop.batches_of(benchmark, data, plan, 0, 0)
    for _ in range(8):
        batch = next(stream)
        gradient(batch)
        made.append(flat(state))
        (benchmark.loss(state.model, batch, None)[0] / 16).backward()
        plain.append(flat(state))
    made, plain = torch.stack(made), torch.stack(plain)
    torch.testing.assert_close(made.mean(dim=0), plain.mean(dim=0), rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    spread = [float((one - one.mean(dim=0)).norm()) for one in (made, plain)]
    assert 0 < spread[0] < 0.2 * spread[1]


def test_a_text_has_its_full_gradient_along_its_own_hidden_state(load, monkeypatch):
    """Without dropout, at the weights of the snapshot, every update of the epoch has the mean of all of them."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, inputs: inputs)
    settings = json.dumps({"num_train": 512})
    benchmark, data, plan, state, gradient = started(load, "lstm_synthetic", settings, batch_size=4, steps=14)
    assert plan.epoch_steps == 7
    stream, found = loop.batches_of(benchmark, data, plan, 0, 0), []
    for step in range(7):
        state.curves.steps_done = step
        gradient(next(stream))
        found.append(flat(state))
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["wrn_digits", "lstm_synthetic"])
def test_extra_gradients_leave_random_numbers_carries_and_statistics_as_they_were(load, name):
    benchmark, data, plan, state, _ = started(load, name)
    before = [torch.get_rng_state(), *(buffer.clone() for buffer in state.model.buffers())]
    gradient = loop.source(benchmark, data, plan_for(name, "sgd"), state, 0)
    full_gradient(benchmark, data, plan, state, 0, gradient)
    assert state.carries == {}
    for one, other in zip([torch.get_rng_state(), *state.model.buffers()], before, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "num_train", "batch_size", "epoch_steps"),
    [
        ("lstm_synthetic", 4 * (16 * 49 + 1), 4, 49),  # of 49, 98 and 103 the inverse of the inverse is a bit more
        ("lstm_synthetic", 2 * (16 * 98 + 1), 2, 98),
        ("autoencoder_digits", 9, 7, Fraction(9, 7)),  # of which a float is a bit more, too
        ("autoencoder_digits", 128, 16, 8),
    ],
)
def test_epochs_start_with_the_first_update_that_begins_in_them(name, num_train, batch_size, epoch_steps):
    plan = plan_for(name, batch_size=batch_size, settings=json.dumps({"num_train": num_train}))
    assert plan.epoch_steps == epoch_steps
    found = [step for step in range(500) if starts_epoch(step, plan.epoch_steps)]
    assert found == [step for step in (math.ceil(epoch * Fraction(epoch_steps)) for epoch in range(500)) if step < 500]


def test_alpha_falls_from_three_quarters_to_zero(load):
    plan = plan_for("autoencoder_digits", "alpha_svrg")
    assert [falling(plan, step) for step in (0, 4, 8)] == [0.75, 0.375, 0.0]
    benchmark, data = load("autoencoder_digits")
    rows = {
        name: loop.train(benchmark, data, plan_for("autoencoder_digits", name), 0, CPU).rows
        for name in ("svrg", "alpha_svrg", "sgd")
    }
    assert rows["svrg"] != rows["alpha_svrg"] != rows["sgd"]


@pytest.mark.parametrize("name", ["wrn_digits", "lstm_synthetic"])
@pytest.mark.parametrize(
    ("optimizer", "definition"),
    [
        ("svrg", None),
        ("alpha_svrg", None),
        ("arm@0.1", {"regulariser": "gradient_norm", "micro_batch": 8, "by": "forward_differences", "momentum": 0.9}),
        ("arm@0.1", {"regulariser": "sam", "micro_batch": 8, "optimizer": "svrg"}),
        ("arm@0.5", {"regulariser": "isotropic_noise", "micro_batch": 8}),
        ("arm@0.5", {"regulariser": "multiplicative_noise", "micro_batch": 8}),
    ],
)
def test_an_interrupted_run_ends_bitwise_where_the_other_does(load, data_folder, tmp_path, name, optimizer, definition):
    """In the middle of an epoch: the snapshot, its mean and its hidden state are in the checkpoint."""
    load(name)
    words = json.dumps(definition) if definition else None
    settings = '{"num_train": 1024}' if name == "lstm_synthetic" else "{}"
    cell = make_cell(name, optimizer, "steps6", 16, 0.05, "0-0", settings, 3, None, definition=words)
    whole = train_cell(cell, data_folder, CPU)
    calls = iter(range(1, 100))
    with pytest.raises(KeyboardInterrupt):
        train_cell(cell, data_folder, CPU, checkpoint_path=tmp_path / "kept", asked_to_stop=lambda: next(calls) == 4)
    torch.rand(3)
    again = train_cell(cell, data_folder, CPU, checkpoint_path=tmp_path / "kept")
    assert {key: one.tobytes() for key, one in again.curves.items()} == {key: one.tobytes() for key, one in whole.curves.items()}
