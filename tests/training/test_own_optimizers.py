"""Optimizers and schedules of a user's own: torch's by name, made by a function, and what becomes of an interrupted run."""

import json
import math

import numpy as np
import pytest
import torch
from conftest import own_benchmark
from torch.nn import functional as F

from sgdnoise import benchmarks
from sgdnoise.cli.main import main
from sgdnoise.study.cell import make_cell
from sgdnoise.training import checkpoint, loop
from sgdnoise.training.calibrate import examples_per_second
from sgdnoise.training.cell import load_data, plan_of, train_cell
from sgdnoise.training.check import problems
from sgdnoise.training.noise_run import measure_run

CPU = torch.device("cpu")
ADAMW = {"class": "AdamW", "betas": [0.8, 0.9], "weight_decay": 0.1}
GROUPS = {"groups": [{"match": "bias", "weight_decay": 0.0, "lr_factor": 2.0}]}
FUNCTIONS = """

def fall(step, num_steps):
    return 1 / (1 + step)


def factory(model, lr):
    return torch.optim.NAdam([{"params": model[0].parameters(), "lr": 10 * lr}, {"params": model[2].parameters()}], lr=lr)


def benchmark("""
WITH_FUNCTIONS = ("\n\ndef benchmark(", FUNCTIONS)


def cell(folder, definition, *changes, lr=0.01, steps=12, seeds="0-0"):
    file = own_benchmark(folder, ("l2=1e-3", "l2=0"), WITH_FUNCTIONS, *changes)
    return make_cell("own", "mine", f"steps{steps}", 16, lr, seeds, "{}", 4, str(file), definition=json.dumps(definition))


def trained(one, folder):
    """Train in the loop; return the network."""
    benchmark, data = load_data(one, folder / "data", CPU)
    states = []
    loop.train(benchmark, data, plan_of(one, benchmark), 0, CPU, states.append)
    return states[-1].model


def reference(one, folder, make, multiplier):
    """Train as torch's documentation does."""
    benchmark, data = load_data(one, folder / "data", CPU)
    plan = plan_of(one, benchmark)
    model = loop.start(benchmark, plan, 0, CPU, None).model
    optimizer = make(model, plan.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
    batches = loop.batches_of(benchmark, data, plan, 0, 0)
    for _ in range(plan.num_steps):
        inputs, targets = next(batches)
        optimizer.zero_grad()
        F.mse_loss(model(inputs)[:, 0], targets).backward()
        optimizer.step()
        schedule.step()
    return model


def adamw(model, lr):
    biases = [one for name, one in model.named_parameters() if "bias" in name]
    weights = [one for name, one in model.named_parameters() if "bias" not in name]
    return torch.optim.AdamW(
        [{"params": biases, "weight_decay": 0.0, "lr": 2 * lr}, {"params": weights}], lr=lr, betas=(0.8, 0.9), weight_decay=0.1
    )


@pytest.mark.parametrize(
    ("definition", "make", "multiplier"),
    [
        (ADAMW | GROUPS | {"schedule": "constant"}, adamw, lambda step: 1.0),
        (
            ADAMW | GROUPS | {"schedule": "cosine", "final": 0.1, "warmup_steps": 4},
            adamw,
            lambda step: (step + 1) / 4 if step < 4 else 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 4) / 8)) / 2,
        ),
        (
            {"class": "RMSprop", "schedule": "linear"},
            lambda model, lr: torch.optim.RMSprop(model.parameters(), lr=lr),
            lambda step: 1 - step / 12,
        ),
        (
            {"factory": "factory", "schedule": "fall"},
            lambda model, lr: torch.optim.NAdam(
                [{"params": model[0].parameters(), "lr": 10 * lr}, {"params": model[2].parameters()}], lr=lr
            ),
            lambda step: 1 / (1 + step),
        ),
    ],
)
def test_the_loop_trains_as_torch_does(tmp_path, definition, make, multiplier):
    one = cell(tmp_path, definition)
    ours, theirs = trained(one, tmp_path), reference(one, tmp_path, make, multiplier)
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-7)


REGISTRY = """

class Mine(nn.Linear):
    pass


BUILT = []


def by_class(model, lr):
    assert BUILT[-1] is model
    (mine,) = (module for module in model.modules() if isinstance(module, Mine))
    rest = [one for one in model.parameters() if all(one is not other for other in mine.parameters())]
    return torch.optim.SGD([{"params": mine.parameters()}, {"params": rest, "lr": 2 * lr}], lr=lr)


def build("""


@pytest.mark.parametrize("use", ["train", "check", "noise-scale", "calibrate"])
def test_functions_of_a_file_are_of_the_module_that_makes_its_network(tmp_path, use):
    """A factory finds its layers by their class, and what the file has written down of the network."""
    changes = [("\n\ndef build(", REGISTRY), ("nn.Linear(10, 16)", "Mine(10, 16)")]
    changes += [("    return network", "    BUILT.append(network)\n    return network")]
    definition = {"factory": "by_class"}
    one = cell(tmp_path, definition, *changes, steps=2)
    if use == "train":
        assert train_cell(one, tmp_path / "data", CPU).status == ["completed"]
    elif use == "check":
        assert list(problems("own", one.file, "{}", tmp_path / "data", CPU, 8, False, {"mine": definition})) == []
    elif use == "noise-scale":
        assert len(measure_run(one, tmp_path / "data", CPU, [1.0], 8)) == 1
    else:
        assert examples_per_second(one, tmp_path / "data", CPU, 0.0) > 0


def test_a_schedule_is_looked_at_where_runs_are(tmp_path):
    """One that cannot be told of three updates alone passes the check, which makes three; where it fails, is said."""
    halves = "\n\ndef halves(step, num_steps):\n    return 0.5 ** (step // (num_steps // 10))\n\n\ndef benchmark("
    one = cell(tmp_path, {"class": "AdamW", "schedule": "halves"}, ("\n\ndef benchmark(", halves), steps=3)
    tried = {"mine": json.loads(one.definition)}
    assert list(problems("own", one.file, "{}", tmp_path / "data", CPU, 8, False, tried)) == []
    with pytest.raises(ValueError, match=r"optimizer mine: the schedule halves\(0, 3\) raises ZeroDivisionError"):
        train_cell(one, tmp_path / "data", CPU)


def test_sgd_of_a_study_is_the_papers_with_another_schedule(tmp_path):
    """It is the functional rule, which engines know; at the paper's schedule and momentum it is bitwise the paper's."""
    one = cell(tmp_path, {"momentum": 0.9})
    benchmark, data = load_data(one, tmp_path / "data", CPU)
    named = make_cell("own", "momentum", "steps12", 16, 0.01, "0-0", "{}", 4, one.file)
    assert loop.train(benchmark, data, plan_of(one), 0, CPU).rows == loop.train(benchmark, data, plan_of(named), 0, CPU).rows
    cosine = cell(tmp_path, {"momentum": 0.9, "schedule": "cosine", "warmup_epochs": 1}, steps=100)
    plan = plan_of(cosine)
    assert [plan.lr_at(step) / plan.lr for step in (0, 20, 21, 60)] == pytest.approx([1 / 21, 1, 1, 0.5], abs=0.01)


@pytest.mark.parametrize(
    "definition",
    [
        ADAMW | GROUPS | {"schedule": "cosine", "warmup_steps": 3},
        {"class": "SGD", "momentum": 0.9, "nesterov": True},
        {"factory": "factory", "schedule": "fall"},
    ],
)
def test_an_interrupted_run_ends_bitwise_where_the_undisturbed_ends(tmp_path, definition):
    """Through the checkpoint's file, in the middle of the second seed."""
    one, path = cell(tmp_path, definition, seeds="0-1"), tmp_path / "checkpoint"
    whole = train_cell(one, tmp_path / "data", CPU)
    steps = []
    with pytest.raises(KeyboardInterrupt):
        train_cell(one, tmp_path / "data", CPU, steps.append, path, asked_to_stop=lambda: steps[-1] == 17)
    continued = train_cell(one, tmp_path / "data", CPU, checkpoint_path=path)
    assert continued.provenance["continued"]
    for metric, curve in whole.curves.items():
        assert curve.tobytes() == continued.curves[metric].tobytes(), metric
    assert (continued.lr == whole.lr).all()


def test_a_checkpoint_of_another_definition_is_not_continued(tmp_path):
    identity = cell(tmp_path, ADAMW).spec
    checkpoint.save(tmp_path / "checkpoint", identity, {})
    assert checkpoint.load(tmp_path / "checkpoint", cell(tmp_path, ADAMW).spec, CPU) == {}
    assert checkpoint.load(tmp_path / "checkpoint", cell(tmp_path, ADAMW | {"eps": 1e-6}).spec, CPU) is None


@pytest.mark.parametrize("engine", ["packed", "graph"])
def test_engines_leave_them_to_the_plain_loop(tmp_path, engine):
    one = make_cell(
        "autoencoder_digits", "mine", "steps2", 64, 0.001, "0-0", "{}", 1, None, definition=json.dumps(ADAMW | {"final": 0})
    )
    assert train_cell(one, tmp_path / "data", CPU).provenance["engine"] == "plain"
    with pytest.raises(ValueError, match=f"engine {engine}: only SGD and momentum .*; use --engine auto"):
        train_cell(one, tmp_path / "data", CPU, engine=engine)
    sgd = make_cell("autoencoder_digits", "mine", "steps2", 64, 0.01, "0-0", "{}", 1, None, definition='{"schedule": "linear"}')
    assert train_cell(sgd, tmp_path / "data", CPU).provenance["engine"] == "packed"


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"class": "Adamw"}, r"optimizer mine: class 'Adamw' is none of torch.optim's .*AdamW"),
        ({"class": "LBFGS"}, r"class 'LBFGS' is none of torch.optim's"),
        ({"class": "AdamW", "beta": 0.9}, r"torch.optim.AdamW refuses its settings: .*beta"),
        ({"class": "AdamW", "betas": [2, 0.9]}, r"refuses its settings: Invalid beta parameter"),
        ({"class": "AdamW", "betas": [0.9]}, r"torch.optim.AdamW refuses its settings: "),
        ({"class": "SparseAdam"}, r"class 'SparseAdam' is none of torch.optim's"),
        (
            {"class": "AdamW", "groups": [{"match": "bias", "weightdecay": 0}]},
            r"torch.optim.AdamW refuses the settings of its group 'bias': .*weightdecay",
        ),
        ({"class": "AdamW", "groups": [{"match": "bias", "weight_decay": -0.1}]}, r"its group 'bias': Invalid weight_decay"),
        ({"factory": "lbfgs"}, r"the factory of the optimizer returns a LBFGS; return an optimizer of torch, but not LBFGS"),
        (
            {"class": "AdamW", "groups": [{"match": "scale"}]},
            r"no trained parameter is left for the group 'scale'; there are: 0.weight",
        ),
        ({"factory": "loss"}, r"argument|returns"),
        ({"schedule": "benchmark"}, r"argument"),
        ({"schedule": "minus"}, r"the schedule minus\(0, 12\) returns -1; return learning rate / initial"),
    ],
)
def test_what_torch_does_not_know_is_said_before_training(tmp_path, definition, message):
    more = "\n\ndef minus(step, num_steps):\n    return -1\n\n\ndef lbfgs(model, lr):\n    return torch.optim.LBFGS(model.parameters())\n"
    minus = ("\n\ndef fall(", f"{more}\n\ndef fall(")
    one = cell(tmp_path, definition, minus)
    with pytest.raises((ValueError, TypeError), match=message):
        train_cell(one, tmp_path / "data", CPU, lambda step: pytest.fail("it trained"))


def test_unused_parameters_stay_as_they_are(tmp_path):
    """As torch's optimizers have it: no gradient, no update, no decay."""
    unused = ("    return network", "    network[0].spare = nn.Parameter(torch.ones(3))\n    return network")
    for name, definition in (("sgd", None), ("momentum", None), ("mine", json.dumps(ADAMW))):
        file = own_benchmark(tmp_path, unused)
        one = make_cell("own", name, "steps5", 16, 0.01, "0-0", "{}", 1, str(file), definition=definition)
        model = trained(one, tmp_path)
        assert model[0].spare.tolist() == [1, 1, 1]
        used = trained(
            make_cell("own", name, "steps5", 16, 0.01, "0-0", "{}", 1, str(own_benchmark(tmp_path)), definition=definition),
            tmp_path,
        )
        benchmarks.protocol.cache_clear()
        assert [one.tolist() for one in used.parameters()] == [
            one.tolist() for one in model.parameters() if one is not model[0].spare
        ]


def test_noise_scale_says_what_holds_for_sgd_only(tmp_path, capsys):
    one = cell(tmp_path, ADAMW | {"schedule": "cosine"})
    words = ["--optimizer=mine", f"--definition={one.definition}", "--budget=steps12", "--batch-size=16", "--lr=0.01"]
    words += [f"--file={one.file}", f"--data={tmp_path}", "--num-batches=8", "--at", "1", f"--out={tmp_path / 'noise.csv'}"]
    assert main(["noise-scale", "--benchmark=own", *words]) == 0
    said = capsys.readouterr().out
    assert "stable_lr              known of SGD only" in said
    assert np.isfinite(float(said.split("noise_scale")[1].split()[0]))
