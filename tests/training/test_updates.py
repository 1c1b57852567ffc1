"""The update rules."""

from dataclasses import replace

import pytest
import tiny
import torch
from torch import nn

from sgdnoise.study.optimizers import OPTIMIZERS, optimizer
from sgdnoise.tasks import classification
from sgdnoise.training import loop
from sgdnoise.training.rules import RULES, is_matrix, orthogonalised

CPU = torch.device("cpu")


def quadratic_run(one, lr, num_steps, curvature):
    weights = [torch.ones(len(curvature), dtype=torch.double)]
    state = {}
    for _ in range(num_steps):
        RULES[one.rule](one, weights, [curvature * weights[0]], state, lr)
    return weights[0]


@pytest.mark.parametrize("name", [name for name, one in OPTIMIZERS.items() if one.is_sgd])
def test_update_equals_torch_sgd_with_coupled_l2(name):
    one, l2, lr = OPTIMIZERS[name], 0.01, 0.3
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    reference = torch.optim.SGD(theirs.parameters(), lr * (1 - one.momentum), one.momentum, weight_decay=l2)
    state = {}
    for _ in range(5):
        inputs = torch.randn(8, 5)
        for model in (ours, theirs):
            model.zero_grad()
            model(inputs).square().mean().backward()
        reference.step()
        with torch.no_grad():
            parameters = list(ours.parameters())
            gradients = [parameter.grad + l2 * parameter for parameter in parameters]
            RULES[one.rule](one, parameters, gradients, state, lr)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_curvature_limit_of_a_quadratic(name):
    """eps < 2 (1 + m) / curvature converges, above it diverges (Goh 2017; ICLR v5 sec. 2)."""
    one, curvature = OPTIMIZERS[name], torch.tensor([1.0], dtype=torch.double)
    critical = 2 * (1 + one.momentum) / (1 - one.momentum)  # as an effective learning rate
    assert quadratic_run(one, 0.98 * critical, 2000, curvature).abs() < 1e-3
    assert quadratic_run(one, 1.02 * critical, 2000, curvature).abs() > 1e3


def test_effective_learning_rate_gives_both_optimizers_one_drift():
    """At small rates SGD and momentum move alike for equal eps / (1 - m)."""
    curvature = torch.tensor([1.0, 0.1], dtype=torch.double)
    sgd, momentum = (quadratic_run(OPTIMIZERS[name], 1e-3, 3000, curvature) for name in ("sgd", "momentum"))
    torch.testing.assert_close(sgd, momentum, rtol=0.02, atol=0)


def loop_and_torch(one, make, settings=tiny.SETTINGS, benchmark=tiny.BENCHMARK):
    """Train in the loop, and as torch's documentation does; return the networks."""
    plan, data, states = replace(tiny.plan(one), settings=settings), tiny.data(), []
    loop.train(benchmark, data, plan, 0, CPU, states.append)
    model = loop.start(benchmark, plan, 0, CPU, None).model
    made, batches = make(model), loop.batches_of(benchmark, data, plan, 0, 0)
    for step in range(plan.num_steps):
        made.zero_grad()
        (classification.loss(model, next(batches), None)[0] / plan.batch_size).backward()
        for group in made.param_groups:
            group["lr"] = plan.lr_at(step)
        made.step()
    return states[-1].model, model


def test_adam_is_bitwise_torchs():
    ours, theirs = loop_and_torch(
        "adam", lambda model: torch.optim.Adam(model.parameters()), benchmark=replace(tiny.BENCHMARK, l2=0)
    )
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_l2_of_adam_is_part_of_its_gradients():
    ours, theirs = loop_and_torch(
        "adam", lambda model: torch.optim.Adam(model.parameters(), weight_decay=0.01), tiny.SETTINGS | {"l2_scope": "all"}
    )
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("scope", ["all", "weights"])
@pytest.mark.parametrize("penalty", [0.0, 0.25])
def test_decoupled_l2_is_bitwise_torchs_and_of_the_covered_alone(scope, penalty):
    """The benchmark's and that of a regulariser; in the scope "weights" of those alone."""
    one = OPTIMIZERS["adam_decoupled"]
    if penalty:
        one = optimizer(f"mine@{penalty}", '{"optimizer": "adam_decoupled", "regulariser": "weight_decay"}')

    def make(model):
        covered = [parameter for parameter in model.parameters() if scope == "all" or parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if scope != "all" and parameter.ndim == 1]
        groups = [{"params": covered}] + ([{"params": others, "weight_decay": 0.0}] if others else [])
        return torch.optim.AdamW(groups, weight_decay=0.01 + penalty)

    ours, theirs = loop_and_torch(one, make, tiny.SETTINGS | {"l2_scope": scope})
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, wanted)


def test_clipping_sees_no_decoupled_l2(monkeypatch):
    """At a huge L2 the gradient is clipped as without it."""
    seen = []
    monkeypatch.setitem(
        RULES, "adam", lambda one, parameters, gradients, state, lr: seen.append([gradient.clone() for gradient in gradients])
    )
    plan = tiny.plan("adam_decoupled", num_steps=1)
    for l2 in (0.0, 100.0):
        loop.train(replace(tiny.BENCHMARK, l2=l2, clip_norm=0.1), tiny.data(), plan, 0, CPU)
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def ill_conditioned(rows, columns):
    u, _, v = torch.linalg.svd(torch.randn(rows, columns), full_matrices=False)
    return u @ torch.diag(torch.logspace(0, -2, min(rows, columns))) @ v


@pytest.mark.parametrize("matrix", [torch.randn, ill_conditioned])
@pytest.mark.parametrize("shape", [(5, 5), (40, 7), (7, 40)])
def test_orthogonalised_singular_values_are_near_one(matrix, shape):
    torch.manual_seed(0)
    given = matrix(*shape)
    made = orthogonalised(1000 * given)
    values = torch.linalg.svdvals(made)
    assert 0.65 < values.min() < values.max() < 1.25
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    across = u.T @ made @ v.T
    torch.testing.assert_close(across, torch.diag(across.diagonal()), rtol=0, atol=1e-3)  # in the singular directions


def test_muon_agrees_with_torchs():
    """On a matrix, to the bfloat16 that torch computes it in; a convolution is the matrix that it flattens to; the others are Adam's."""
    torch.manual_seed(0)
    start = {
        "matrix": torch.randn(6, 18),
        "convolution": torch.randn(6, 2, 3, 3),
        "bias": torch.randn(6),
        "row": torch.randn(1, 6),
    }
    start["convolution"] = start["matrix"].reshape(6, 2, 3, 3).contiguous(memory_format=torch.channels_last)
    ours = {name: one.clone() for name, one in start.items()}
    theirs = {name: nn.Parameter(one.clone()) for name, one in start.items() if name != "convolution"}
    muon = torch.optim.Muon([theirs["matrix"]], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    adam, state = torch.optim.Adam([theirs["bias"], theirs["row"]], lr=0.1), {}
    for _ in range(5):
        gradients = {name: torch.randn_like(one) for name, one in start.items()}
        gradients["convolution"].copy_(gradients["matrix"].view(6, 2, 3, 3))
        RULES["muon"](OPTIMIZERS["muon"], list(ours.values()), list(gradients.values()), state, 0.1)
        for name, one in theirs.items():
            one.grad = gradients[name]
        muon.step()
        adam.step()
    moved, wanted = ours["matrix"] - start["matrix"], theirs["matrix"].detach() - start["matrix"]
    assert (moved - wanted).norm() < 0.02 * wanted.norm()
    torch.testing.assert_close(ours["convolution"].reshape(6, 18), ours["matrix"])
    for name in ("bias", "row"):
        assert torch.equal(ours[name], theirs[name])
    assert [name for name, one in ours.items() if is_matrix(one)] == ["matrix", "convolution"]


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_a_first_gradient_may_come_late_as_in_torch(name):
    one, state = OPTIMIZERS[name], {}
    ours, theirs = ([torch.ones(3, requires_grad=wanted) for _ in range(2)] for wanted in (False, True))
    reference = torch.optim.SGD(theirs, 0.1 * (1 - one.momentum), one.momentum)
    for late in (None, torch.ones(3), None, torch.ones(3)):
        gradients = [torch.ones(3), late]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        reference.step()
        RULES[one.rule](one, ours, gradients, state, 0.1)
    torch.testing.assert_close(ours, [parameter.detach() for parameter in theirs])


def test_a_layer_without_factors_has_momentum_alone():
    """One that is skipped at random has a gradient, but perhaps no pass yet at the targets that are drawn."""
    parameters, state = [torch.ones(2, 2)], {"layers": [{"parameters": [0]}]}
    RULES["kfac"](OPTIMIZERS["kfac"], parameters, [torch.ones(2, 2)], state, 0.1)
    torch.testing.assert_close(parameters[0], torch.full((2, 2), 0.9))


@pytest.mark.parametrize("name", ["adam", "muon", "kfac"])
def test_without_a_gradient_a_parameter_stays(name):
    """Until it has one; Adam then counts its own updates."""
    parameters, state = [torch.ones(2, 2), torch.ones(2), torch.ones(2)], {}
    gradient = [None, torch.ones(2), None]
    RULES[OPTIMIZERS[name].rule](OPTIMIZERS[name], parameters, gradient, state, 0.1)
    assert [one.tolist() for one in (parameters[0], parameters[2])] == [[[1, 1], [1, 1]], [1, 1]]
    assert parameters[1].max() < 1
    first = parameters[1].clone()
    RULES[OPTIMIZERS[name].rule](OPTIMIZERS[name], parameters, [None, None, torch.ones(2)], state, 0.1)
    assert torch.equal(parameters[2], first)
