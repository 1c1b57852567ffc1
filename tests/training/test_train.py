"""The plain training loop."""

import math
import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import OFFLINE
from torch import nn
from torch.nn import functional as F

from sgdnoise import benchmarks
from sgdnoise.study import budgets
from sgdnoise.study.cell import make_cell
from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.tasks import classification
from sgdnoise.training import cell as training_cell
from sgdnoise.training import loop
from sgdnoise.training.cell import train_cell, use_device
from sgdnoise.training.gradients import backward
from sgdnoise.training.rules import RULES
from sgdnoise.training.state import State

CPU = use_device("cpu", threads=1)


def cell_of(name, budget="steps6", batch_size=32, lr=0.5, optimizer="momentum", seeds="0-0", evaluations=2, settings="{}"):
    return make_cell(name, optimizer, budget, batch_size, lr, seeds, settings, evaluations, None)


def plan_of(name, **changes):
    return training_cell.plan_of(cell_of(name, **changes))


def first_batches(benchmark, data, batch_size, number=1):
    order = torch.Generator().manual_seed(0)
    return list(islice(benchmark.batches(data, batch_size, order, 0, slice(0, batch_size)), number))


@pytest.mark.parametrize(("batch_size", "micro_batch"), [(12, 0), (64, 12), (64, 4)])
def test_batches_that_cut_a_ghost_are_refused(load, batch_size, micro_batch):
    benchmark, data = load("wrn_digits")
    settings = f'{{"micro_batch": {micro_batch}}}'
    with pytest.raises(ValueError, match="not a multiple of the ghost batch 8"):
        loop.train(benchmark, data, plan_of("wrn_digits", batch_size=batch_size, settings=settings), 0, CPU)


@pytest.mark.parametrize(
    ("name", "batch_size", "message"),
    [
        ("wrn_digits", 24, "batch size of each of 2 processes 12 is not a multiple of the ghost batch 8"),
        ("wrn_digits", 8, "batch size of each of 2 processes 4 is not a multiple of the ghost batch 8"),
        ("wrn_skipinit_digits", 64, "a network with dropout cannot share its batches"),
    ],
)
def test_batches_that_processes_cannot_share_are_refused(load, monkeypatch, name, batch_size, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    benchmark, data = load(name)
    with pytest.raises(ValueError, match=message):
        loop.train(benchmark, data, plan_of(name, batch_size=batch_size), 0, CPU)


@pytest.mark.parametrize("name", OFFLINE)
def test_micro_batches_add_up_to_the_batch(load, name):
    benchmark, data = load(name)
    torch.manual_seed(0)
    model = benchmark.build().double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    (batch,) = first_batches(benchmark, data, 64)
    batch = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in batch)
    losses, gradients = [], []
    for micro_batch in (64, 32):
        losses.append(float(backward(benchmark, State(model, CPU), batch, micro_batch, 64)))
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        model.zero_grad()
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_a_large_batch_is_the_mean_over_its_ghost_batches(load):
    """Batch size 512, in one pass or in micro-batches, against 16 batches of a ghost batch each."""
    benchmark, data = load("wrn_digits")
    torch.manual_seed(0)
    model = benchmark.build().double()
    (batch,) = first_batches(benchmark, data, 512)
    batch = (batch[0].double(), batch[1])

    def gradient(some, micro_batch, batch_size):
        model.zero_grad()
        backward(benchmark, State(model, CPU), some, micro_batch, batch_size)
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    ghosts = zip(*(tensor.split(32) for tensor in batch), strict=True)
    mean = torch.stack([gradient(ghost, 32, 32) for ghost in ghosts]).mean(dim=0)
    assert mean.norm() > 1e-3
    for micro_batch in (512, 64):
        torch.testing.assert_close(gradient(batch, micro_batch, 512), mean, rtol=1e-9, atol=1e-12)


def test_micro_batches_keep_the_lstms_state(load):
    """Two batches in a row: the second starts from the state of the first, per micro-batch."""
    benchmark, data = load("lstm_synthetic")
    torch.manual_seed(0)
    model = benchmark.build().eval()
    batches = first_batches(benchmark, data, 8, 2)
    losses = {}
    for micro_batch in (8, 2):
        state = State(model, CPU)
        losses[micro_batch] = [float(backward(benchmark, state, batch, micro_batch, 8)) for batch in batches]
    assert losses[8] == pytest.approx(losses[2], rel=1e-5)
    fresh = float(backward(benchmark, State(model, CPU), batches[1], 8, 8))
    assert abs(fresh - losses[8][1]) > 1e-3


def test_train_equals_a_reference_written_with_torch_optim(load):
    """Autoencoder, 20 updates: same order, torch.optim.SGD with weight decay, LambdaLR with the schedule."""
    benchmark, data = load("autoencoder_digits")
    plan = plan_of("autoencoder_digits", budget="steps20", lr=0.08)
    curves = loop.train(benchmark, data, plan, 3, CPU)

    init, order, _ = loop.seed_streams(3)
    torch.manual_seed(init)
    model = benchmark.build()
    optimizer = torch.optim.SGD(model.parameters(), 0.008, momentum=0.9, weight_decay=1e-5)
    factors = [1] * 10 + [2.0**-k for k in range(1, 11)]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[min(step, 19)])
    raw = torch.from_numpy(benchmarks.load("wrn_digits").arrays(None)["train_images"])
    images = (raw.flatten(1).double() * 255 / 16).round().float() / 255
    for index in islice(classification.index_stream(1024, 32, torch.Generator().manual_seed(order)), 20):
        loss = F.binary_cross_entropy_with_logits(model(images[index]), images[index], reduction="sum") / 32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    with torch.no_grad():
        squared_error = (model(images).sigmoid() - images).square().sum(dim=1).mean()
        loss = F.binary_cross_entropy_with_logits(model(images), images, reduction="sum") / 1024
        objective = loss + 1e-5 / 2 * sum(parameter.square().sum() for parameter in model.parameters())
    assert curves.rows[-1]["train_squared_error"] == pytest.approx(float(squared_error), rel=1e-5)
    assert curves.rows[-1]["train_objective"] == pytest.approx(float(objective), rel=1e-5)


@pytest.mark.parametrize("name", OFFLINE)
def test_runs_repeat_bitwise_and_evaluation_does_not_disturb(load, name):
    benchmark, data = load(name)
    often = loop.train(benchmark, data, plan_of(name, evaluations=6), 1, CPU)
    torch.rand(7)  # whatever ran before in this process
    seldom = loop.train(benchmark, data, plan_of(name, evaluations=1), 1, CPU)
    names = [key for key in seldom.rows[-1] if key != "stream_loss"]
    assert [often.rows[-1][key] for key in names] == [seldom.rows[-1][key] for key in names]
    assert often.rows[-1] != loop.train(benchmark, data, plan_of(name), 2, CPU).rows[-1]


@pytest.mark.parametrize("name", OFFLINE)
def test_training_learns(load, name):
    benchmark, data = load(name)
    budget, lr = {"lstm_synthetic": ("epochs3", 1.0), "wrn_skipinit_digits": ("epochs3", 0.5)}.get(name, ("epochs2", 0.5))
    first, last = (
        loop.train(benchmark, data, plan_of(name, budget=some, batch_size=16, lr=lr), 0, CPU).rows[-1]
        for some in ("steps1", budget)
    )
    assert last["train_objective"] < 0.85 * first["train_objective"]


def test_random_streams_are_per_purpose():
    streams = [loop.seed_streams(seed) for seed in range(20)]
    assert len({number for stream in streams for number in stream}) == 60


def test_l2_scope():
    model = benchmarks.load("wrn_digits").build()
    assert len(loop.l2_parameters(model, "all")) == len(list(model.parameters()))
    assert {parameter.ndim for parameter in loop.l2_parameters(model, "weights")} == {2, 4}


def test_clipping_bounds_the_global_norm(load, monkeypatch):
    benchmark, data = load("lstm_synthetic")
    seen = []

    def record(optimizer, parameters, gradients, state, lr):
        seen.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))

    monkeypatch.setitem(RULES, "record", record)
    plan = replace(plan_of("lstm_synthetic"), optimizer=replace(OPTIMIZERS["sgd"], rule="record"))
    loop.train(benchmark, data, plan, 0, CPU)
    assert max(seen) <= benchmark.clip_norm * 1.0001
    assert max(seen) > benchmark.clip_norm * 0.999


def test_divergence_is_data(load):
    """A loss that overflows at the fourth of eight updates: curves as without it before, NaN from there on."""
    benchmark, data = load("autoencoder_digits")
    plan = plan_of("autoencoder_digits", budget="steps8", evaluations=4)
    calls = []

    def overflowing(model, batch, carry):
        calls.append(len(batch[0]))
        loss, carry = benchmark.loss(model, batch, carry)
        return loss * (math.inf if len(calls) == 4 else 1), carry

    good = loop.train(benchmark, data, plan, 0, CPU)
    wild = loop.train(replace(benchmark, loss=overflowing), data, plan, 0, CPU)
    assert (good.diverged, wild.diverged) == (False, True)
    assert (good.steps_done, wild.steps_done) == (8, 4)
    assert wild.rows[0] == good.rows[0]
    assert wild.rows[1].keys() == good.rows[1].keys()
    assert all(math.isnan(value) for value in wild.rows[1].values())
    assert len(wild.rows) == 2


def test_a_cell_whose_every_run_diverges_at_once_has_a_record(data_folder):
    wild = train_cell(cell_of("lstm_synthetic", lr=1e30, seeds="0-1", evaluations=3), data_folder, CPU)
    assert wild.status == ["diverged", "diverged"]
    assert wild.curves["test_perplexity"].shape == (2, 3)
    assert np.isnan(wild.curves["test_perplexity"][:, -1]).all()


def test_seeds_of_a_cell_do_not_touch_each_other(data_folder):
    alone = train_cell(cell_of("lstm_synthetic", seeds="1-1"), data_folder, CPU)
    together = train_cell(cell_of("lstm_synthetic", seeds="0-1"), data_folder, CPU)
    for metric in alone.curves:
        np.testing.assert_array_equal(alone.curves[metric][0], together.curves[metric][1])


def test_record_of_a_cell(data_folder):
    run = train_cell(
        cell_of("lstm_synthetic", budget="steps20", seeds="4-5", evaluations=4, optimizer="momentum_warmup"), data_folder, CPU
    )
    assert run.step.tolist() == [5, 10, 15, 20]
    assert run.seed.tolist() == [4, 5]
    warmup_steps = budgets.epochs_to_steps(5, 32, benchmarks.protocol("lstm_synthetic"))
    assert run.lr[0] == pytest.approx(0.5 * 5 / warmup_steps)
    assert run.curves["train_perplexity"] == pytest.approx(np.exp(run.curves["train_loss"]))
    assert re.fullmatch(r"CPU .+ \([A-Z0-9 ]+\)", run.provenance["device"])  # processors of one name differ
    assert run.provenance["bounds"]["test_perplexity"] == pytest.approx(10.0163, rel=1e-4)
    assert run.provenance["steps_done"] == [20, 20]


def test_every_flag_that_decides_the_precision_is_set():
    flags = {
        torch.backends.cuda.matmul: {"allow_tf32": False},
        torch.backends.cudnn: {"allow_tf32": False, "deterministic": True, "benchmark": False},
    }
    for where, names in flags.items():
        for name, wanted in names.items():
            setattr(where, name, not wanted)
    torch.set_flush_denormal(False)
    use_device("cpu", threads=1)
    assert {where: {name: getattr(where, name) for name in names} for where, names in flags.items()} == flags
    assert float(torch.tensor(1e-40) * 1) == 0  # a denormal number


def test_missing_gpu_is_one_clear_error():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="no usable GPU here; use --device cpu"):
        use_device("cuda", 1)
