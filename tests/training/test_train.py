"""The plain training loop."""

import copy
import math
import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import tiny
import torch
from conftest import OFFLINE
from torch import nn
from torch.nn import functional as F

from sgdnoise import benchmarks
from sgdnoise.study import budgets
from sgdnoise.study.cell import make_cell
from sgdnoise.study.optimizers import OPTIMIZERS, optimizer
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


def with_norm(norm):
    """Return the tiny benchmark with a norm in place of its own."""

    def build():
        model = tiny.network()
        model[1] = norm()
        return model

    return replace(tiny.BENCHMARK, build=build)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch": 4}, "BatchNorm2d would normalise a micro_batch of 4 by itself"),
        ({"processes": 2}, "BatchNorm2d would normalise the part of each of 2 processes by itself"),
        ({"regulariser": 4}, "BatchNorm2d would normalise a micro_batch of 4 by itself"),
        ({"micro_batch": 8}, ""),
        ({"regulariser": 8}, ""),
    ],
)
def test_batch_norm_sees_whole_batches(monkeypatch, changes, message):
    """One that is frozen, or of single examples, may be cut."""
    plan = tiny.plan("momentum", num_steps=1)
    plan = replace(plan, settings=tiny.SETTINGS | {"micro_batch": changes.get("micro_batch", 0)})
    if micro_batch := changes.get("regulariser"):
        one = optimizer("sharp@0.1", f'{{"optimizer": "momentum", "regulariser": "sam", "micro_batch": {micro_batch}}}')
        plan = replace(plan, optimizer=one)
    if "processes" in changes:
        monkeypatch.setenv("WORLD_SIZE", "2")

    def prepared(norm):
        benchmark = with_norm(norm)
        loop.source(benchmark, tiny.data(), plan, loop.start(benchmark, plan, 0, CPU, None), 0)

    for norm in (lambda: nn.BatchNorm2d(4), lambda: nn.BatchNorm2d(4, track_running_stats=False).eval()):
        if message:
            with pytest.raises(ValueError, match=message):
                prepared(norm)
        else:
            prepared(norm)
    prepared(lambda: nn.BatchNorm2d(4).eval())
    prepared(lambda: nn.GroupNorm(2, 4))


class FreezesItself(nn.Module):
    """A network that keeps its norm in evaluation mode, as `train` of many a library's does."""

    def __init__(self):
        super().__init__()
        self.layers = tiny.network()
        self.layers[1] = nn.BatchNorm2d(4)

    def forward(self, images):
        return self.layers(images)

    def train(self, mode=True):
        super().train(mode)
        self.layers[1].eval()
        return self


def frozen_by_hand():
    model = with_norm(lambda: nn.BatchNorm2d(4)).build()
    model[1].eval()
    return model


@pytest.mark.parametrize(
    ("build", "evaluating"),
    [
        (tiny.network, []),
        (lambda: tiny.network().eval(), []),
        (frozen_by_hand, ["1"]),
        (FreezesItself, ["layers.1"]),
        (lambda: FreezesItself().eval(), ["layers.1"]),
    ],
)
def test_modes_of_a_network_are_the_same_before_and_after_an_evaluation(build, evaluating):
    """So results do not depend on how often a run is evaluated, nor on an interruption."""
    benchmark, plan = replace(tiny.BENCHMARK, build=build), tiny.plan("momentum")
    seen, rows, packed = [], [], []

    def loss(model, batch, carry):
        seen.append([name for name, module in model.named_modules() if not module.training])
        return tiny.BENCHMARK.loss(model, batch, carry)

    benchmark = replace(benchmark, loss=loss)
    for evaluations in (1, 6):
        some = replace(plan, evaluations=evaluations)
        curves = loop.train(benchmark, tiny.data(), some, 0, CPU, lambda state: packed.append(copy.deepcopy(state.packed())))
        rows.append({name: value for name, value in curves.rows[-1].items() if name != "stream_loss"})
    resumed = loop.train(benchmark, tiny.data(), replace(plan, evaluations=6), 0, CPU, resume=packed[8])
    rows.append({name: value for name, value in resumed.rows[-1].items() if name != "stream_loss"})
    assert rows[0] == rows[1] == rows[2]
    assert seen == [evaluating] * len(seen)


def test_networks_of_five_axes_are_trained():
    """Of 3D convolutions; what has four axes is channels last."""

    def build():
        convolutions = (nn.Conv2d(1, 2, 3, padding=1), nn.Unflatten(1, (1, 2)), nn.Conv3d(1, 2, (2, 3, 3), padding=(0, 1, 1)))
        return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(128, tiny.CLASSES))

    benchmark = replace(tiny.BENCHMARK, build=build)
    assert not loop.train(benchmark, tiny.data(), tiny.plan("momentum", lr=0.01), 0, CPU).diverged
    model = loop.placed(build(), CPU)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


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


def validated(outputs):
    """Raise as torch.distributions does, of which a loss or a metric may be made."""
    torch.distributions.Categorical(logits=outputs)
    return outputs


@pytest.mark.parametrize("where", ["loss", "evaluate"])
@pytest.mark.parametrize(("lr", "evaluations"), [(1e30, 6), (1e30, 1), (1e38, 3)])
def test_validations_that_raise_at_a_diverged_network_are_divergence(where, lr, evaluations):
    """Not an error by which the whole cell is lost; before the first evaluation, too."""

    def loss(model, batch, carry):
        validated(model(batch[0]))
        return tiny.BENCHMARK.loss(model, batch, carry)

    def evaluate(model, data, split):
        validated(model(tiny.normalize(data[f"{split}_images"])))
        return tiny.BENCHMARK.evaluate(model, data, split)

    benchmark = replace(tiny.BENCHMARK, **{where: {"loss": loss, "evaluate": evaluate}[where]})
    plan = replace(tiny.plan("momentum", lr=lr), evaluations=evaluations)
    wanted, found = (loop.train(some, tiny.data(), plan, 0, CPU) for some in (tiny.BENCHMARK, benchmark))
    assert (found.diverged, wanted.diverged) == (True, True)
    assert found.steps_done <= 6
    assert {"test_loss", "train_objective", "stream_loss"} <= found.rows[-1].keys() == wanted.rows[-1].keys()
    assert all(math.isnan(value) for value in found.rows[-1].values())


@pytest.mark.parametrize("where", ["loss", "evaluate"])
def test_errors_of_a_network_that_is_finite_are_errors(where):
    def fails(model, *words):
        model(torch.zeros(2, 1, 8, 8))
        raise LookupError("a slip")

    with pytest.raises(LookupError, match="a slip"):
        loop.train(replace(tiny.BENCHMARK, **{where: fails}), tiny.data(), tiny.plan("momentum"), 0, CPU)


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
