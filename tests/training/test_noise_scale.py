"""Gradient noise scales and the stable learning rate, against models whose answers are known in closed form."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from sgdnoise import figures
from sgdnoise.benchmarks import Benchmark
from sgdnoise.study import grid
from sgdnoise.study.cell import make_cell
from sgdnoise.study.optimizers import OPTIMIZERS, optimizer
from sgdnoise.study.regularisers import REGULARISERS
from sgdnoise.tasks.batches import index_stream
from sgdnoise.training import gradients, noise_run, noise_scale
from sgdnoise.training.cell import load_data, plan_of, use_device
from sgdnoise.training.loop import train
from sgdnoise.training.rules import RULES
from sgdnoise.training.state import State

CPU = use_device("cpu", threads=1)
BATCH_SIZE, NUM_BATCHES = 8, 24


def cell_of(name, batch_size=32, lr=0.1, settings="{}", budget="steps4"):
    return make_cell(name, "sgd", budget, batch_size, lr, "0-0", settings, 1, None)


# Estimators, on a quadratic: gradients N(G, Sigma / B), Hessian H


def quadratic(seed=0, dimension=12):
    """Return G, the standard deviations of an example's gradient, and H, with |G|^2 well below tr(Sigma) / B."""
    random = torch.Generator().manual_seed(seed)
    deviations = torch.linspace(0.2, 2, dimension, dtype=torch.double)
    factor = torch.randn(dimension, dimension, generator=random, dtype=torch.double)
    return torch.full((dimension,), 0.5, dtype=torch.double), deviations, factor @ factor.T / dimension


def draw_products(mean, deviations, hessian, random):
    """Return the products of NUM_BATCHES gradients, and those weighted by Hessians that are noisy, too."""
    noise = torch.randn(NUM_BATCHES, len(mean), generator=random, dtype=torch.double)
    gradients = mean + noise * deviations / BATCH_SIZE**0.5
    size = (NUM_BATCHES, len(mean), len(mean))
    wiggle = 0.3 * torch.randn(size, generator=random, dtype=torch.double)
    weighted = torch.einsum("bij,bj->bi", hessian + (wiggle + wiggle.mT) / 2, gradients)
    return gradients @ gradients.T, weighted @ gradients.T


def test_signal_and_noise_are_mccandlishs_from_two_batch_sizes():
    """Eq. A.2 and A.3: B_big averages all K batches."""
    gradients = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double) + 1
    small, big = BATCH_SIZE, 6 * BATCH_SIZE
    square_small, square_big = gradients.square().sum(dim=1).mean(), gradients.mean(dim=0).square().sum()
    signal = (big * square_big - small * square_small) / (big - small)
    noise = (square_small - square_big) / (1 / small - 1 / big)
    equal, different = noise_scale.equal_and_different(gradients @ gradients.T)
    torch.testing.assert_close(different[0], signal)
    torch.testing.assert_close(small * (equal - different)[0], noise)
    for index in range(6):  # and without each batch in turn
        kept = torch.cat([gradients[:index], gradients[index + 1 :]])
        for whole, alone in zip((equal, different), noise_scale.equal_and_different(kept @ kept.T), strict=True):
            torch.testing.assert_close(whole[1 + index], alone[0])


def test_estimates_are_unbiased_and_their_intervals_cover():
    mean, deviations, hessian = quadratic()
    covariance = torch.diag(deviations**2)
    truths = [
        (mean @ mean, covariance.trace()),
        (mean @ hessian @ mean, (hessian @ covariance).trace()),
    ]
    random = torch.Generator().manual_seed(1)
    draws = [draw_products(mean, deviations, hessian, random) for _ in range(400)]
    for kind, (signal, noise) in enumerate(truths):
        means = [noise_scale.equal_and_different(draw[kind]) for draw in draws]
        for truth, found in (
            (signal, torch.stack([different[0] for _, different in means])),
            (noise, BATCH_SIZE * torch.stack([(equal - different)[0] for equal, different in means])),
        ):
            assert abs(found.mean() - truth) < 4 * found.std() / len(draws) ** 0.5
        scales = [noise_scale.noise_scale(draw[kind], BATCH_SIZE) for draw in draws]
        covered = np.mean([scale.low <= noise / signal <= scale.high for scale in scales])
        assert 0.92 <= covered <= 0.99
        known = [scale for scale in scales if not math.isnan(scale.value)]
        assert all(scale.low <= scale.value <= scale.high < math.inf for scale in known)
        assert len(known) > 0.9 * len(draws)


def test_a_gradient_of_zero_is_not_identifiable():
    mean, deviations, hessian = quadratic()
    random = torch.Generator().manual_seed(2)
    draws = [draw_products(0 * mean, deviations, hessian, random) for _ in range(200)]
    for kind in range(2):
        scales = [noise_scale.noise_scale(draw[kind], BATCH_SIZE) for draw in draws]
        assert np.mean([math.isnan(scale.value) for scale in scales]) > 0.95
        assert np.mean([scale.high == math.inf for scale in scales]) > 0.9
    indefinite = torch.diag(torch.tensor([1.0, -1.0] * 6, dtype=torch.double))
    _, weighted = draw_products(mean, torch.ones_like(mean), indefinite, random)  # tr(H Sigma) = 0
    assert all(map(math.isnan, noise_scale.noise_scale(weighted, BATCH_SIZE)))


# Curvature


@pytest.mark.parametrize(
    ("spectrum", "top"),
    [
        ([5, 2, 1, 0.5], 5),
        ([3, -7, 1, 0], 3),  # the largest absolute is negative
        ([4, -4, 1, 0], 4),  # power iteration alone does not converge
        ([-1, -2, -5, -8], -1),
        ([0, 0, 0, 0], 0),
    ],
)
def test_the_top_eigenvalue_of_a_known_matrix(spectrum, top):
    random = torch.Generator().manual_seed(0)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=random, dtype=torch.double))
    matrix = rotation @ torch.diag(torch.tensor(spectrum, dtype=torch.double)) @ rotation.T
    start = torch.randn(4, generator=random, dtype=torch.double)
    for tolerance in (0.05, 1e-3):
        found = noise_scale.top_eigenvalue(lambda v: matrix @ v, start, tolerance)
        assert abs(found.value - top) <= found.residual + 1e-12
        assert found.residual <= tolerance * 2 * max(map(abs, spectrum))
    torch.testing.assert_close(matrix @ found.vector, top * found.vector, atol=1e-2, rtol=0)
    stopped = noise_scale.top_eigenvalue(lambda v: matrix @ v, start, 1e-9, max_iterations=2)
    assert abs(torch.linalg.eigvalsh(matrix) - stopped.value).min() <= stopped.residual + 1e-12


def test_the_interval_of_the_eigenvalue_covers():
    """Hessians with noise, of which a few are iterated on: their top eigenvalue is too large."""
    _, _, hessian = quadratic()
    truth, random = float(torch.linalg.eigvalsh(hessian)[-1]), torch.Generator().manual_seed(3)
    found = []
    for _ in range(100):
        own, fresh = (torch.randn(count, *hessian.shape, generator=random, dtype=torch.double) for count in (6, 24))
        own, fresh = (hessian + (noise + noise.mT) / 2 for noise in (own, fresh))
        start = torch.randn(len(hessian), generator=random, dtype=torch.double)
        top = noise_scale.top_eigenvalue(lambda v, own=own: own.mean(dim=0) @ v, start)
        found.append(noise_scale.eigenvalue_estimate(top, *(hessians @ top.vector @ top.vector for hessians in (own, fresh))))
    values = np.array(found)
    assert values[:, 0].mean() > truth
    assert np.mean((values[:, 1] <= truth) & (truth <= values[:, 2])) >= 0.95


@pytest.mark.parametrize("name", ["sgd", "momentum"])
@pytest.mark.parametrize(("share", "stable"), [(0.98, True), (1.02, False)])
def test_the_stable_learning_rate_is_where_training_a_quadratic_diverges(name, share, stable):
    optimizer, (_, _, hessian) = OPTIMIZERS[name], quadratic()
    top = noise_scale.top_eigenvalue(lambda v: hessian @ v, torch.ones(len(hessian), dtype=torch.double), 1e-6, 10_000)
    weights, state = [torch.ones(len(hessian), dtype=torch.double)], {}
    for _ in range(1000):
        lr = share * noise_scale.stable_lr(top.value, optimizer.momentum)
        RULES[optimizer.rule](optimizer, weights, [hessian @ weights[0]], state, lr)
    assert (weights[0].norm() < 10) == stable
    assert noise_scale.stable_lr(-1, optimizer.momentum) == math.inf


# A whole measurement, on linear regression


INPUTS = torch.randn(256, 6, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.3, 2, 6)
TARGETS = INPUTS.sum(dim=1, keepdim=True) + torch.randn(256, 1, generator=torch.Generator().manual_seed(1))
L2 = 0.1


def batches(data, batch_size, order, start, shard):
    for index in index_stream(len(INPUTS), batch_size, order, start):
        yield INPUTS[index[shard]], TARGETS[index[shard]]


def squared_error(model, batch, carry):
    inputs, targets = batch
    return F.mse_loss(model(inputs), targets, reduction="sum") / 2, None


REGRESSION = Benchmark(
    arrays=lambda folder: {},
    build=lambda: nn.Linear(6, 1),
    batches=batches,
    loss=squared_error,
    evaluate=lambda model, data, split: {"loss": 0.0},
    l2=L2,
)


def regression(batch_size, scope="weights", micro_batch=0):
    """Return a model, a plan, and the exact G, gradients of all examples (without L2) and H."""
    plan = replace(plan_of(cell_of("autoencoder_digits")), batch_size=batch_size)
    plan = replace(plan, settings=plan.settings | {"l2_scope": scope, "micro_batch": micro_batch})
    torch.manual_seed(0)
    model = nn.Linear(6, 1)
    inputs = torch.cat([INPUTS, torch.ones(256, 1)], dim=1)
    weights = torch.cat([model.weight.flatten(), model.bias]).detach()
    decay = L2 * torch.tensor([1.0] * 6 + [float(scope == "all")])
    examples = inputs * (inputs @ weights[:, None] - TARGETS)
    return model, plan, examples.mean(dim=0) + decay * weights, examples, inputs.T @ inputs / 256 + torch.diag(decay)


@pytest.mark.parametrize("scope", ["weights", "all"])
@pytest.mark.parametrize("micro_batch", [0, 64])
def test_gradients_and_hessian_products_are_exact(scope, micro_batch):
    model, plan, gradient, _, hessian = regression(256, scope, micro_batch)
    terms = noise_run.objective(REGRESSION, model, plan, (INPUTS, TARGETS))
    assert len(terms) == (5 if micro_batch else 2)
    parameters = list(model.parameters())
    torch.testing.assert_close(noise_scale.gradient(terms, parameters), gradient)
    vector = torch.arange(7.0)
    torch.testing.assert_close(noise_scale.hessian_product(terms, parameters, vector), hessian @ vector)


@pytest.mark.parametrize("convention", ["half", "full"])
def test_the_objective_has_the_weight_decay_of_the_optimizer(convention):
    model, plan, gradient, _, hessian = regression(256, "all")
    one = optimizer("mine@10", '{"momentum": 0.9, "regulariser": "weight_decay"}')
    plan = replace(plan, optimizer=one, settings=plan.settings | {"l2_convention": convention})
    more = 10 + (L2 if convention == "full" else 0)
    parameters = list(model.parameters())
    weights, vector = torch.cat([one.detach().flatten() for one in parameters]), torch.arange(7.0)
    terms = noise_run.objective(REGRESSION, model, plan, (INPUTS, TARGETS))
    torch.testing.assert_close(noise_scale.gradient(terms, parameters), gradient + more * weights)
    torch.testing.assert_close(noise_scale.hessian_product(terms, parameters, vector), hessian @ vector + more * vector)


def test_a_linear_loss_has_no_curvature():
    weights, vector = torch.ones(3, requires_grad=True), torch.arange(3.0)
    terms = [lambda: weights.sum(), lambda: weights.square().sum()]
    torch.testing.assert_close(noise_scale.hessian_product(terms[:1], [weights], vector), torch.zeros(3))
    torch.testing.assert_close(noise_scale.hessian_product(terms, [weights], vector), 2 * vector)


def test_the_objective_has_the_label_smoothing_of_the_optimizer():
    plan = tiny.plan(optimizer("mine@0.4", '{"regulariser": "label_smoothing"}'))
    torch.manual_seed(0)
    model, batch = tiny.network(), (torch.randn(8, 1, 8, 8), torch.arange(8) % tiny.CLASSES)
    loss, _ = noise_run.objective(tiny.BENCHMARK, model, plan, batch)
    torch.testing.assert_close(loss(), F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.4))


def test_a_measurement_holds_the_exact_answers():
    """Batches of a quarter of the data: without the correction for finite data the noise would be a quarter too small."""
    model, plan, gradient, examples, hessian = regression(64)
    covariance = examples.T.cov()
    top = float(torch.linalg.eigvalsh(hessian)[-1])
    truths = {
        "noise_scale": covariance.trace() / gradient.square().sum(),
        "hessian_noise_scale": (hessian @ covariance).trace() / (gradient @ hessian @ gradient),
        "top_eigenvalue": top,
        "stable_lr": 2 / top,
    }
    protocol = {"num_train": 256}
    found = [noise_run.measure(REGRESSION, model, None, plan, protocol, 16, np.random.default_rng(seed)) for seed in range(30)]
    for name, truth in truths.items():
        covered = sum(one[f"{name}_low"] <= float(truth) <= one[f"{name}_high"] for one in found)
        assert covered >= 25, name  # of 30; an interval that covers 95 % has fewer three times in 1,000
    means = pd.DataFrame(found).mean()
    for name in ("noise_scale", "hessian_noise_scale"):
        assert means[name] == pytest.approx(float(truths[name]), rel=0.12)


class Recurrent(nn.Module):
    """A layer that takes the inputs as a sequence, and has dropout inside."""

    def __init__(self, dropout, attends):
        super().__init__()
        torch.manual_seed(0)
        self.widen = nn.Linear(1, 4)
        self.layer = nn.MultiheadAttention(4, 2, dropout, batch_first=True) if attends else nn.LSTM(4, 4, 2, dropout=dropout)
        self.attends, self.last = attends, nn.Linear(4, 1)

    def forward(self, inputs):
        wide = self.widen(inputs[:, :, None])
        seen, _ = self.layer(wide, wide, wide) if self.attends else self.layer(wide)
        return self.last(seen[:, -1])


def dropping(kind, probability):
    """Make a network with a kind of dropout."""
    if kind in ("lstm", "attention"):
        return Recurrent(probability, kind == "attention")
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (8, 1)), kind(probability), nn.Flatten(), nn.Linear(8, 1))


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout, "lstm", "attention"])
def test_dropout_of_every_kind_is_turned_off_and_not_shared_by_processes(kind, monkeypatch):
    model, without = dropping(kind, 0.5), dropping(kind, 0.0)
    assert not torch.equal(model(INPUTS), model(INPUTS))
    _, plan, *_ = regression(64)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert gradients.micro_batch_of(plan, without) == 32
    with pytest.raises(ValueError, match="a network with dropout cannot share its batches"):
        gradients.micro_batch_of(plan, model)
    gradients.turn_off_dropout(model)
    torch.testing.assert_close(model(INPUTS), without(INPUTS))


def test_a_measurement_is_as_without_dropout(monkeypatch):
    _, plan, *_ = regression(64)
    monkeypatch.setattr(noise_run, "top_eigenvalue", lambda product, start: noise_scale.top_eigenvalue(product, start, 0.5, 2))
    found, wanted = (
        noise_run.measure(REGRESSION, dropping(nn.Dropout1d, share), None, plan, {"num_train": 256}, 8, np.random.default_rng(0))
        for share in (0.5, 0.0)
    )
    assert found == pytest.approx(wanted, nan_ok=True)


# In a run


def tensors_of(packed):
    """List every tensor and number of a packed state."""
    if isinstance(packed, dict):
        return [leaf for value in packed.values() for leaf in tensors_of(value)]
    if isinstance(packed, list | tuple):
        return [leaf for value in packed for leaf in tensors_of(value)]
    return [packed.clone() if isinstance(packed, torch.Tensor) else packed]


@pytest.mark.parametrize("name", ["wrn_digits", "wrn_skipinit_digits", "lstm_synthetic", "autoencoder_digits"])
def test_measuring_changes_nothing(name, data_folder, monkeypatch):
    """Ghost batch norm and augmentation, dropout, a carried state: state, random numbers and curves stay bitwise."""
    cell = cell_of(name, batch_size=32 if "wrn" in name else 16)
    benchmark, data = load_data(cell, data_folder, CPU)
    plan = plan_of(cell)
    alone = train(benchmark, data, plan, 0, CPU)
    measure, unchanged = noise_run.measure, []

    def watched(benchmark, model, *arguments):
        state = State(model, CPU)
        before = tensors_of([state.packed(), [*model.buffers()], [module.training for module in model.modules()]])
        found = measure(benchmark, model, *arguments)
        after = tensors_of([state.packed(), [*model.buffers()], [module.training for module in model.modules()]])
        equal = (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(before, after, strict=True))
        unchanged.append(all(equal) and all(parameter.grad is None for parameter in model.parameters()))
        return found

    monkeypatch.setattr(noise_run, "measure", watched)
    monkeypatch.setattr(noise_run, "top_eigenvalue", lambda product, start: noise_scale.top_eigenvalue(product, start, 0.5, 3))
    steps = [2]
    protocol = {"num_train": 1024} | ({"unroll": 16} if "lstm" in name else {})
    curves, found = noise_run.train_measured(benchmark, data, plan, 0, CPU, steps, protocol, 4)
    assert unchanged == [True]
    assert curves.rows == alone.rows
    assert sorted(found) == steps


def test_what_a_run_that_diverges_does_not_reach_is_missing(data_folder):
    (row,) = noise_run.measure_run(cell_of("autoencoder_digits", lr=1e30), data_folder, CPU, [1.0], 8)
    assert row["step"] == 4
    assert all(math.isnan(row[name]) for name in noise_run.COLUMNS)


def test_measurements_repeat_bitwise_and_differ_between_seeds(data_folder):
    cell = replace(cell_of("autoencoder_digits"), seeds="0-1")
    tables = [pd.DataFrame(noise_run.measure_run(cell, data_folder, CPU, [0.25, 1], 8)) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert tables[0]["step"].tolist() == [1, 4, 1, 4]
    assert tables[0]["noise_scale_low"].nunique() == 4


@pytest.mark.parametrize(
    ("batch_size", "at", "num_batches", "message"),
    [
        (32, [0, 0.5], 8, "write shares of the run, above 0 and up to 1"),
        (32, [1.0], 7, "an interval needs at least 8"),
        (1024, [1.0], 8, "an epoch has one whole batch, so there is no noise to measure"),
    ],
)
def test_what_cannot_be_measured_is_refused(data_folder, batch_size, at, num_batches, message):
    with pytest.raises(ValueError, match=message):
        noise_run.measure_run(cell_of("autoencoder_digits", batch_size), data_folder, CPU, at, num_batches)


@pytest.mark.parametrize("name", [name for name, one in REGULARISERS.items() if one.micro])
def test_what_a_regulariser_makes_of_gradients_is_refused_before_training(tmp_path, name):
    words = json.dumps({"regulariser": name, "micro_batch": 4})
    cell = make_cell("autoencoder_digits", "mine@0.1", "steps4", 32, 0.1, "0-0", "{}", 1, None, definition=words)
    with pytest.raises(ValueError, match=f"optimizer mine@0.1: what {name} makes of gradients is not measured"):
        noise_run.measure_run(cell, tmp_path, CPU, [1.0], 8)
    assert not list(tmp_path.iterdir())


RUN = ("--benchmark=autoencoder_digits", "--optimizer=momentum", "--budget=epochs2", "--batch-size=64", "--lr=0.04")


def test_the_verb_writes_a_table_and_the_figure_draws_it(sgdnoise, tmp_path, data_folder):
    out, picture = tmp_path / "noise.csv", tmp_path / "noise.png"
    words = (*RUN, "--at", "0.5", "1", "--num-batches=8", f"--data={data_folder}", f"--out={out}")
    done = sgdnoise("noise-scale", *words)
    assert done.stdout.startswith("seed 0, epoch 1, lr 0.04\n  noise_scale")
    table = pd.read_csv(out)
    assert table[["seed", "step", "epoch"]].to_numpy().tolist() == [[0, 16, 1], [0, 32, 2]]
    np.testing.assert_allclose(table["stable_lr"], 38 / table["top_eigenvalue"])  # 2 (1 + m) / ((1 - m) lambda)
    sgdnoise("figure", "noise_scale", "--benchmark=autoencoder_digits", f"--noise={out}", f"--out={picture}", cwd=tmp_path)
    assert picture.stat().st_size > 10_000
    with pytest.raises(ValueError, match="needs --noise, the table of `sgdnoise noise-scale`"):
        figures.read_noise(None, tmp_path, tmp_path, "autoencoder_digits")


def noise_table():
    table = pd.DataFrame(
        {"benchmark": "b", "optimizer": "sgd", "batch_size": 32, "initial_lr": 0.5, "seed": 0, "epoch": [1.0, 2.0]}
    )
    table["num_train"] = 1024
    for name, value in (("noise_scale", 100.0), ("hessian_noise_scale", math.nan), ("stable_lr", 2.0)):
        table[name], table[f"{name}_low"], table[f"{name}_high"] = value, 50.0, math.inf if math.isnan(value) else 200.0
    table["stable_lr_low"], table["stable_lr_high"] = 1.0, 3.0
    return table


def test_the_figure_compares_with_what_the_sweep_measured():
    optimum = pd.DataFrame({"batch_size": [16, 32, 128], "lr": [0.25, 0.5, 1], "at_edge": [True, False, False]})
    optimum = optimum.assign(
        lr_low=optimum["lr"], lr_high=optimum["lr"], benchmark="b", optimizer="sgd", metric="train_objective"
    )
    optimum["mode"] = "constant_epoch"
    regimes = pd.DataFrame({"break": [70.0, math.nan], "break_low": [40.0, 0], "break_high": [math.inf] * 2})
    regimes = regimes.assign(benchmark="b", optimizer=["sgd", "momentum"], metric="train_objective")
    tables = {"noise": noise_table(), "optimum": optimum, "regimes": regimes}
    protocol = {"title": "b", "metrics": {"test_accuracy": "max", "train_objective": "min"}}
    sizes, lrs = figures.draw("noise_scale", tables, "b", protocol, {}).axes
    drawn = {line.get_label(): list(line.get_ydata()) for axes in (sizes, lrs) for line in axes.lines}
    assert drawn["measured break, 70"] == [70, 70]
    assert drawn["largest optimum measured, 1 (batch 128)"] == [1, 1]
    scaled = next(c for c in sizes.containers if c.get_label() == "where linear scaling reaches the stable rate")
    assert scaled.lines[0].get_ydata().tolist() == [128, 128]  # 2.0 * 32 / 0.5; the optimum at the edge is not to be trusted
    (triangles,) = [line for line in sizes.lines if line.get_linestyle() == "None" and line.get_markersize() == 9]
    assert triangles.get_ydata().tolist() == [50, 50]
    alone = figures.draw("noise_scale", {"noise": noise_table()}, "b", protocol, {})
    assert not any("measured" in line.get_label() for axes in alone.axes for line in axes.lines)


def test_the_config_names_runs_of_its_benchmarks(tmp_path):
    from sgdnoise.study.config import validate

    study = {
        "benchmarks": {
            "wrn_digits": {"seeds": {"first": 3, "num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {64: [1, 1]}}}
        }
    }
    run = {"optimizer": "sgd", "budget": "epochs2", "batch_size": 64, "lr": 1}
    config = validate(study | {"noise_scale": {"wrn_digits": run}})
    (cell,) = grid.noise_cells(config).values()
    assert (cell.num_steps, cell.seeds, config["noise_scale"]["wrn_digits"]["num_batches"]) == (32, "3-3", 64)
    assert grid.noise_cells(validate(study)) == {}
    with pytest.raises(ValueError, match="noise_scale.lstm: no such benchmark"):
        validate(study | {"noise_scale": {"lstm": run}})
    with pytest.raises(ValueError, match="noise_scale.wrn_digits: unknown optimizer 'adamm'"):
        grid.noise_cells(validate(study | {"noise_scale": {"wrn_digits": run | {"optimizer": "adamm"}}}))


@pytest.mark.parametrize(
    "made", [nn.utils.weight_norm, nn.utils.spectral_norm, partial(prune.l1_unstructured, name="weight", amount=1)]
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_network_whose_weights_are_made_of_others_is_measured(made):
    """By hooks of torch.nn.utils: what a forward pass leaves of them cannot be copied by itself."""

    def build():
        model = tiny.network()
        made(model[-1])
        return model

    plan, protocol = tiny.plan("sgd", num_steps=2), {"num_train": tiny.NUM_TRAIN}
    curves, found = noise_run.train_measured(replace(tiny.BENCHMARK, build=build), tiny.data(), plan, 0, CPU, [2], protocol, 8)
    assert np.isfinite(found[2]["top_eigenvalue"])
    assert curves.rows == train(replace(tiny.BENCHMARK, build=build), tiny.data(), plan, 0, CPU).rows
