"""Regularisers in place of noise: their gradients against finite differences, and the noise that is put back."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from sgdnoise.study.cell import make_cell
from sgdnoise.study.optimizers import optimizer
from sgdnoise.study.regularisers import REGULARISERS
from sgdnoise.training import loop, regularisers
from sgdnoise.training.cell import plan_of, train_cell, use_device
from sgdnoise.training.gradients import taken
from sgdnoise.training.state import State, trained_parameters

CPU = use_device("cpu", threads=1)
NETWORKS = ["autoencoder_digits", "lstm_synthetic", "wrn_digits"]
MICRO = [name for name, one in REGULARISERS.items() if one.micro]


def definition(name, micro_batch=8, **more):
    return {"regulariser": name} | ({"micro_batch": micro_batch} if REGULARISERS[name].micro else {}) | more


def cell_of(benchmark, said, coefficient, batch_size=16, steps=4, lr=0.1):
    name, words = f"arm@{coefficient}", json.dumps(said)
    return make_cell(benchmark, name, f"steps{steps}", batch_size, lr, "0-0", "{}", 2, None, definition=words)


def in_double(load, name, said, coefficient, batch_size=16):
    """Return the gradient of the first batch of a run, in double precision: a function of the state, the state and the batch."""
    benchmark, data = load(name)
    plan = plan_of(cell_of(name, said, coefficient, batch_size))
    state = loop.start(benchmark, plan, 0, CPU, None)
    state.model.double()
    batch = next(loop.batches_of(benchmark, data, plan, 0, 0))
    batch = tuple(one.double() if one.is_floating_point() else one for one in batch)
    return benchmark, plan, state, batch


def gradient_of(benchmark, plan, state, batch):
    """Return the gradient and the summed loss of a batch; of the run nothing is left, and it begins with the same random numbers."""
    torch.manual_seed(7)
    state.carries = {}
    loss_sum = regularisers.source(benchmark, plan, state)(batch)
    return torch.cat([one.flatten() for one in taken(trained_parameters(state.model))]), float(loss_sum)


def move(state, by):
    with torch.no_grad():
        for one, part in zip(
            trained_parameters(state.model), by.split([p.numel() for p in trained_parameters(state.model)]), strict=True
        ):
            one += part.view_as(one)


def mean_losses(benchmark, plan, state, batch, micro_batch):
    """Return loss and gradient of each micro-batch, by autograd alone; dropout as in a run that begins with the same numbers."""
    torch.manual_seed(7)
    found = []
    for micro in zip(*(one.split(micro_batch) for one in batch), strict=True):
        loss = benchmark.loss(state.model, micro, None)[0] / len(micro[0])
        found.append(
            (float(loss.detach()), torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained_parameters(state.model))]))
        )
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("micro_batch", [8, "all"])
@pytest.mark.parametrize("by", ["double_backward", "forward_differences"])
def test_gradient_of_the_penalty_is_that_of_finite_differences(load, monkeypatch, name, micro_batch, by):
    monkeypatch.setattr(regularisers, "STEP", 1e-6)  # in double precision
    benchmark, plan, state, batch = in_double(load, name, definition("gradient_norm", micro_batch, by=by), "0.3")
    size = 16 if micro_batch == "all" else micro_batch
    if name.startswith("wrn"):  # no kink of a ReLU within the differences
        monkeypatch.setattr(F, "relu", lambda inputs, inplace=False: F.softplus(inputs))

    def objective():
        return (
            sum(loss + 0.3 * float(g.square().sum()) for loss, g in mean_losses(benchmark, plan, state, batch, size)) * size / 16
        )

    gradient, _ = gradient_of(benchmark, plan, state, batch)
    along = torch.randn(len(gradient), dtype=torch.double, generator=torch.Generator().manual_seed(1))
    along /= along.norm()
    move(state, 1e-4 * along)
    above = objective()
    move(state, -2e-4 * along)
    below = objective()
    assert float(gradient @ along) == pytest.approx((above - below) / 2e-4, rel=1e-4, abs=1e-5 * float(gradient.norm()))


@pytest.mark.parametrize("name", ["autoencoder_digits", "lstm_synthetic"])
def test_forward_differences_agree_to_first_order(load, monkeypatch, name):
    exact = gradient_of(*in_double(load, name, definition("gradient_norm"), "0.3"))[0]
    errors = []
    for step in (0.02, 0.01, 0.005):
        monkeypatch.setattr(regularisers, "STEP", step)
        made = gradient_of(*in_double(load, name, definition("gradient_norm", by="forward_differences"), "0.3"))[0]
        errors.append(float((made - exact).norm() / exact.norm()))
    assert errors[-1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("micro_batch", [4, "all"])
def test_sharpness_aware_gradient_is_that_uphill_of_each_micro_batch(load, micro_batch):
    benchmark, plan, state, batch = in_double(load, "autoencoder_digits", definition("sam", micro_batch), "0.2")
    made, loss_sum = gradient_of(benchmark, plan, state, batch)
    size = 16 if micro_batch == "all" else micro_batch
    here = mean_losses(benchmark, plan, state, batch, size)
    expected = torch.zeros_like(made)
    for index, (_, gradient) in enumerate(here):
        by = 0.2 * gradient / gradient.norm()
        move(state, by)
        expected += mean_losses(benchmark, plan, state, batch, size)[index][1] * size / 16
        move(state, -by)
    torch.testing.assert_close(made, expected)
    assert loss_sum == pytest.approx(sum(loss for loss, _ in here) * size)  # where the weights are, not uphill


def noises(benchmark, plan, state, batch, number):
    source = regularisers.source(benchmark, plan, state)
    torch.manual_seed(3)
    rows = []
    for _ in range(number):
        source(batch)
        rows.append(torch.cat([one.flatten() for one in taken(trained_parameters(state.model))]))
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["multiplicative_noise", "isotropic_noise"])
def test_noise_has_the_covariance_of_a_micro_batch_chosen_at_random(load, name):
    number, coefficient = 400, 0.5
    benchmark, plan, state, batch = in_double(load, "autoencoder_digits", definition(name, 4), str(coefficient))
    parts = torch.stack([gradient for _, gradient in mean_losses(benchmark, plan, state, batch, 4)])
    away = parts - parts.mean(dim=0)
    trace = float(away.square().sum(dim=1).mean())
    made = noises(benchmark, plan, state, batch, number)
    error = made - parts.mean(dim=0)
    assert float(error.mean(dim=0).norm()) < 5 * (coefficient * trace / number) ** 0.5  # the mean is the plain gradient
    assert float(error.square().sum(dim=1).mean()) == pytest.approx(coefficient * trace, rel=0.3)
    axes = torch.linalg.svd(away, full_matrices=False).Vh[:3]  # K - 1 directions in which micro-batches differ
    wanted = (away @ axes.T).square().mean(dim=0) * coefficient
    if name == "isotropic_noise":
        wanted = torch.full((3,), coefficient * trace / away.shape[1], dtype=torch.double)
    torch.testing.assert_close((error @ axes.T).square().mean(dim=0), wanted, rtol=0.3, atol=0)
    if name == "multiplicative_noise":  # and in no other
        assert float((error - error @ axes.T @ axes).norm()) < 1e-9 * float(error.norm())


@pytest.mark.parametrize("name", ["multiplicative_noise", "isotropic_noise"])
def test_a_micro_batch_that_is_the_batch_adds_no_noise(load, name):
    benchmark, plan, state, batch = in_double(load, "autoencoder_digits", definition(name, 8), "1")
    whole = replace(plan, optimizer=optimizer("arm@1", json.dumps(definition(name, "all"))))  # which no cell may have
    made = noises(benchmark, whole, state, batch, 2)
    torch.testing.assert_close(made[0], made[1])


@pytest.mark.parametrize("regulariser", REGULARISERS)
@pytest.mark.parametrize(
    ("network", "base"),
    [
        ("wrn_skipinit_digits", {"momentum": 0.9}),
        ("lstm_synthetic", {"class": "AdamW"}),
        ("lstm_synthetic", {"optimizer": "svrg"}),
    ],
)
def test_the_coefficient_0_is_bitwise_the_plain_run(data_folder, regulariser, network, base):
    plain = json.dumps(base)
    cell = cell_of(network, definition(regulariser) | base, "0")
    without = make_cell(network, "own", "steps4", 16, 0.1, "0-0", "{}", 2, None, definition=plain)
    one, other = (train_cell(each, data_folder, CPU, engine="plain").curves for each in (cell, without))
    assert {key: curve.tobytes() for key, curve in one.items()} == {key: curve.tobytes() for key, curve in other.items()}


@pytest.mark.parametrize("regulariser", [name for name in REGULARISERS if name != "weight_decay"])
def test_a_small_coefficient_is_near_the_plain_gradient_and_a_larger_is_not(load, regulariser):
    name = "lstm_synthetic"
    benchmark, data = load(name)
    plan = plan_of(cell_of(name, definition(regulariser), "0"))
    state = loop.start(benchmark, plan, 0, CPU, None)
    batch = next(loop.batches_of(benchmark, data, plan, 0, 0))
    in_micros = plan.settings | {"micro_batch": 8 if REGULARISERS[regulariser].micro else 0}  # dropout draws for each
    plain, loss = gradient_of(benchmark, replace(plan, settings=in_micros), state, batch)
    for coefficient, far in (("1e-10", False), ("0.3", True)):
        some = replace(plan, optimizer=optimizer(f"arm@{coefficient}", json.dumps(definition(regulariser))))
        made, loss_sum = gradient_of(benchmark, some, state, batch)
        if regulariser == "multiplicative_noise":  # which draws before dropout does
            continue
        assert float((made - plain).norm() > 0.003 * plain.norm()) == far
        if regulariser != "label_smoothing":
            assert loss_sum == pytest.approx(loss, rel=0.05)


def test_weight_decay_is_added_to_the_penalty_of_the_benchmark_and_measured_without(load):
    benchmark, data = load("autoencoder_digits")
    plan = plan_of(cell_of("autoencoder_digits", definition("weight_decay"), "0.25", lr=1.0))
    state = loop.start(benchmark, plan, 0, CPU, None)
    before = [one.detach().clone() for one in trained_parameters(state.model)]
    for one in trained_parameters(state.model):
        one.grad = torch.zeros_like(one)
    loop.updater(benchmark, plan, state)(1.0)
    for one, was in zip(trained_parameters(state.model), before, strict=True):
        torch.testing.assert_close(one.detach(), was * (1 - 0.25 - benchmark.l2))
    loop.book(benchmark, data, replace(plan, num_steps=1, evaluations=1), state, 1.0, {1})
    row, squares = (
        state.curves.rows[-1],
        sum(float(one.detach().double().square().sum()) for one in trained_parameters(state.model)),
    )
    assert row["train_objective"] == pytest.approx(row["train_loss"] + benchmark.l2 / 2 * squares)


def test_an_update_evaluates_as_many_gradients_as_it_says(load, monkeypatch):
    """Counted in examples; of the penalty by a second backward pass, whose product with the Hessian counts as two, one pass is seen."""
    counted = []
    for said in [definition(name) for name in MICRO] + [definition("gradient_norm", by="forward_differences")]:
        benchmark, plan, state, batch = in_double(load, "autoencoder_digits", said, "0.1")
        seen = []

        def loss(model, micro, carry, whole=benchmark.loss, seen=seen):
            seen.append(len(micro[0]))
            return whole(model, micro, carry)

        gradient_of(replace(benchmark, loss=loss), plan, state, batch)
        hessian = 2 if said.get("regulariser") == "gradient_norm" and "by" not in said else 0
        counted.append((sum(seen) / 16 + hessian, plan.optimizer.evaluations))
    assert all(measured == stated for measured, stated in counted)


@pytest.mark.parametrize(
    ("benchmark", "said", "batch_size", "settings", "message"),
    [
        (
            "autoencoder_digits",
            definition("label_smoothing"),
            16,
            "{}",
            "label_smoothing: the loss of this benchmark has no classes",
        ),
        ("wrn_digits", definition("sam", 4), 16, "{}", "micro_batch 4 is not a multiple of the ghost batch 8"),
        ("autoencoder_digits", definition("sam", 4), 16, '{"micro_batch": 8}', "leave the setting micro_batch at 0"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_the_first_update(load, benchmark, said, batch_size, settings, message):
    record, data = load(benchmark)
    cell = make_cell(benchmark, "arm@0.1", "steps4", batch_size, 0.1, "0-0", settings, 2, None, definition=json.dumps(said))
    with pytest.raises(ValueError, match=message):
        loop.train(record, data, plan_of(cell), 0, CPU)


def test_processes_do_not_share_micro_batches(load, monkeypatch):
    benchmark, data = load("autoencoder_digits")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="arm@0.1: processes cannot share its batches; use 1 process"):
        loop.train(benchmark, data, plan_of(cell_of("autoencoder_digits", definition("sam"), "0.1")), 0, CPU)


def test_statistics_of_norms_move_once_an_update_whatever_is_evaluated(load):
    """The second gradient of a batch, uphill, leaves no trace in what evaluation normalises by."""
    found = []
    for said in ({"momentum": 0.0}, definition("sam", 8)):
        benchmark, data = load("wrn_digits")
        words = json.dumps(said)
        name = "arm@1e-20" if "regulariser" in said else "arm"
        plan = plan_of(make_cell("wrn_digits", name, "steps2", 16, 0.1, "0-0", "{}", 1, None, definition=words))
        states: list[State] = []
        loop.train(benchmark, data, plan, 0, CPU, states.append)
        found.append([buffer.clone() for key, buffer in states[-1].model.named_buffers() if "running" in key])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convention", ["half", "full"])
def test_the_coefficient_of_weight_decay_is_what_is_felt_in_each_convention_of_l2(load, convention):
    benchmark, _ = load("autoencoder_digits")
    plan = plan_of(cell_of("autoencoder_digits", definition("weight_decay"), "0.25", lr=1.0))
    plan = replace(plan, settings=plan.settings | {"l2_convention": convention})
    state = loop.start(benchmark, plan, 0, CPU, None)
    (first, *_), own = trained_parameters(state.model), benchmark.l2 * (2 if convention == "full" else 1)
    before, first.grad = first.detach().clone(), torch.zeros_like(first)
    loop.updater(benchmark, plan, state)(1.0)
    torch.testing.assert_close(first.detach(), before * (1 - 0.25 - own))
