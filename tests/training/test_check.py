"""What `sgdnoise check` finds, and what it lets pass."""

import re

import numpy as np
import pytest
import torch
from conftest import NOISY, OFFLINE, own_benchmark

from sgdnoise import benchmarks
from sgdnoise.study import feasible, grid
from sgdnoise.study.cell import make_cell
from sgdnoise.study.config import validate
from sgdnoise.training import loop
from sgdnoise.training.cell import load_data, plan_of
from sgdnoise.training.check import problems, subject_of
from sgdnoise.training.feasible import refusals

CPU = torch.device("cpu")


def check(folder, changes=(), batch_size=8):
    """Return the lines about the benchmark of own_table.py after changes of its text."""
    file = own_benchmark(folder, *changes)
    return list(problems("own", str(file), "{}", folder / "data", CPU, batch_size, True))


@pytest.mark.parametrize("name", OFFLINE + NOISY)
def test_the_shipped_benchmarks_pass(name, data_folder):
    assert list(problems(name, None, "{}", data_folder, CPU, 8, True)) == []


@pytest.mark.parametrize("batch_size", [24, 96])
def test_ghost_batches_are_respected(data_folder, batch_size):
    assert list(problems("wrn_digits", None, "{}", data_folder, CPU, batch_size, False)) == []


RELU = "nn.ReLU()"
PASSES = {
    "as it is": [],
    "batch norm": [(RELU, "nn.BatchNorm1d(16), nn.ReLU()")],
    "batch statistics at evaluation": [(RELU, "nn.BatchNorm1d(16, track_running_stats=False), nn.ReLU()")],
    "dropout": [(RELU, "nn.ReLU(), nn.Dropout(0.5)")],
    "a forward pass that remembers": [("nn.Linear(10, 16)", "nn.utils.parametrizations.spectral_norm(nn.Linear(10, 16))")],
    "augmentation in the loss": [("x, y = batch\n", "x, y = batch\n    x = x + 0.2 * torch.randn_like(x)\n")],
    "frozen parameters": [("    return network", "    network[0].requires_grad_(False)\n    return network")],
    "unused parameters": [("    return network", "    network[0].spare = nn.Parameter(torch.ones(3))\n    return network")],
    "a metric that is a tensor": [('data[f"{split}_y"]).item()', 'data[f"{split}_y"])')],
    "part of the data": [('"num_train": 342', '"num_train": 100'), ('"settings": {}', '"settings": {"num_train": 100}')],
    "attention": [("    return network", "    return Attention()"), ("def loss", "ATTENTION\n\n\ndef loss")],
}
FAILS = {
    "mean": ([('reduction="sum"', 'reduction="mean"')], ["sum: `loss` returns a mean over the examples; return their sum"]),
    "random mean": (
        [('reduction="sum"', 'reduction="mean"'), ("x, y = batch\n", "x, y = batch\n    x = x + 0.2 * torch.randn_like(x)\n")],
        ["sum: `loss` returns a mean over the examples; return their sum"],
    ),
    "term of the batch": ([('"sum"), None', '"sum") + 3, None')], ["sum: `loss` returns .* with no term of the batch itself"]),
    "too many": ([('"num_train": 342', '"num_train": 3420')], ["sizes: num_train is 3,420, .*train_x 342.*write num_train: 342"]),
    "too few": ([('"num_train": 342', '"num_train": 34')], ["sizes: num_train is 34, .*write num_train: 342"]),
    "test": ([('"num_test": 100', '"num_test": 101')], ["sizes: num_test is 101, .*write num_test: 100"]),
    "unroll": (
        [('"num_test": 100', '"num_test": 100, "unroll": 7')],
        ["batch: unroll is 7, .*make the second axis 7 tokens long"],
    ),
    "first axis": ([('yield data["train_x"][index][shard],', 'yield data["train_x"][index][shard].T,')], ["batch: .*the batch"]),
    "no tuple": ([("[shard], data", "[shard] * 2 #, data")], ["batch: `batches` yields a Tensor; yield a tuple of tensors"]),
    "no carry": ([('reduction="sum"), None', 'reduction="sum")')], ["loss: `loss` returns a Tensor; return a pair"]),
    "no number": ([('reduction="sum"', 'reduction="none"')], [r"loss: the loss is a tensor of shape \(8,\); return the sum"]),
    "carry": ([('"sum"), None', '"sum"), model(x)')], ["loss: the carry .* detach"]),
    "infinite": (
        [('"sum"), None', '"sum") * float("inf"), None')],
        ["loss: the loss of the first batch is inf; mend the loss, the initialisation or the data"],
    ),
    "all frozen": ([("    return network", "    return network.requires_grad_(False)")], ["loss: no parameter .* is trained"]),
    "metric": ([('"mse": mse}', '"error": mse}')], ["metrics: PROTOCOL has the metric test_mse, but .* test_error"]),
    "name of a metric": (
        [('"mse": mse}', '"mse": mse, "acc/top2": mse}')],
        ["metrics: ValueError: `evaluate` returns 'acc/top2'; give it a name"],
    ),
    "no name": ([('"mse": mse}', '"mse": mse, "": mse}')], ["metrics: ValueError: `evaluate` returns ''; give it a name"]),
    "name that is taken": (
        [('"mse": mse}', '"mse": mse, "objective": mse}')],
        ["metrics: ValueError: `evaluate` returns 'objective'; give it a name"],
    ),
    "percent": (
        [("test_mse", "test_accuracy"), ('"mse": mse}', '"accuracy": 100 / (1 + mse)}'), ('"min"', '"max"')],
        [f"metrics: {name}_accuracy is .* fractions; return it from 0 to 1, not in percent" for name in ("train", "test")],
    ),
    "accuracy that is better where smaller": (
        [("test_mse", "test_accuracy"), ('"mse": mse}', '"accuracy": 1 / (1 + mse)}')],
        ["metrics: PROTOCOL says of test_accuracy that smaller is better; write 'max'"],
    ),
    "worse is better": (
        [('{"test_mse": "min"}', '{"test_mse": "min", "train_loss": "max"}')],
        ["directions: PROTOCOL says 'max' of train_loss, which by its name is 'min'; write that, or give it another name"],
    ),
    "no loss": ([('{"loss": mse, ', "{")], ["metrics: `evaluate` returns no 'loss'"]),
    "not finite": ([('"mse": mse}', '"mse": mse / 0 if split == "test" else 0}')], ["metrics: ZeroDivisionError.*own.py, line"]),
    "numpy's random numbers": (
        [("x, y = batch\n", "x, y = batch\n    x = x * float(np.random.random())\n")],
        ["(sum|runs): .*", "runs: two runs of one seed differ"],
    ),
    "random evaluation": ([("    mse = F", "    torch.rand(1)\n    mse = F")], ["runs: an evaluation changes the run"]),
    "evaluation that trains": (
        [("    mse = F", "    model[0].weight += 1\n    mse = F")],
        ["runs: an evaluation changes the run"],
    ),
    "start": ([("order, start):", "order, 0):")], ["runs: an interrupted run ends elsewhere: let `batches` begin"]),
    "error": ([("x, y = batch\n", "x, y = batc\n")], [r"loss: NameError: name 'batc' .*own.py, line 40\)"]),
    "fused attention": (
        [
            ("    return network", "    return Attention()"),
            ("def loss", "ATTENTION\n\n\ndef loss"),
            ("F.scaled_dot_product_attention(h, h, h)", "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(h, h, h)[0]"),
        ],
        ["second derivative: torch has no second derivative of the loss .* leave the benchmark out of noise_scale, or build it"],
    ),
}


@pytest.mark.parametrize("kind", PASSES)
def test_what_a_benchmark_may_do_passes(kind, tmp_path):
    assert check(tmp_path, PASSES[kind]) == []


@pytest.mark.parametrize("kind", FAILS)
def test_every_fault_is_one_line_that_says_what_to_change(kind, tmp_path):
    changes, wanted = FAILS[kind]
    found = check(tmp_path, changes)
    assert all("\n" not in line for line in found)
    for line, pattern in zip(found[-len(wanted) :], wanted[-len(found) :], strict=True):
        assert re.match(pattern, line), line


def test_a_module_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"own\.py: No module named 'nowhere'; a module of your own belongs into the folder"):
        check(tmp_path, [("import numpy as np", "import numpy as np, nowhere")])


def test_all_faults_are_listed(tmp_path):
    """Of a mean loss, a wrong number of examples and a random evaluation each has its line."""
    changes = [change for kind in ("mean", "too many", "random evaluation") for change in FAILS[kind][0]]
    assert [line.split(":")[0] for line in check(tmp_path, changes)] == ["sizes", "sum", "runs"]


def test_a_slow_evaluation_is_of_the_first_examples(tmp_path, monkeypatch):
    monkeypatch.setattr("sgdnoise.training.contract.PATIENCE", 0)
    seen = "    assert len(data['train_x']) == len(data['test_x']) == 32\n    mse = F"
    assert check(tmp_path, [("    mse = F", seen)]) == []
    assert check(tmp_path, [("    mse = F", seen.replace("32", "33"))]) != []
    factors = [
        ('{"train_x":', '{"factor": np.ones(50), "train_x":'),
        ("    mse = F", "    assert len(data['factor']) == 50\n    mse = F"),
    ]
    (tmp_path / "factors").mkdir()
    assert check(tmp_path / "factors", factors) == []


def test_frozen_parameters_stay_and_have_no_part_in_l2(tmp_path):
    file = own_benchmark(tmp_path, *PASSES["frozen parameters"])
    cell = make_cell("own", "momentum", "steps5", 16, 0.01, "0-0", "{}", 1, str(file))
    benchmark, data = load_data(cell, tmp_path / "data", CPU)
    states = []
    (row,) = loop.train(benchmark, data, plan_of(cell), 0, CPU, states.append).rows
    fresh, model = loop.start(benchmark, plan_of(cell), 0, CPU, None).model, states[-1].model
    same = [torch.equal(one, other) for one, other in zip(fresh.parameters(), model.parameters(), strict=True)]
    assert same == [True, True, False, False]
    squares = sum(float(one.detach().double().square().sum()) for one in (model[2].weight, model[2].bias))
    np.testing.assert_allclose(row["train_objective"], row["train_loss"] + benchmark.l2 / 2 * squares)


def test_unused_parameters_are_warned_of(tmp_path, caplog):
    assert check(tmp_path, PASSES["unused parameters"]) == []
    assert caplog.messages == ["the loss does not depend on 0.spare, so it stays as it is"]


def test_optimizers_of_the_study_are_tried(tmp_path):
    """One whose state is lost with an interruption is named."""
    forgets = "\n\nclass Forgets(torch.optim.SGD):\n    def load_state_dict(self, state):\n        pass\n"
    forgets += "\n\ndef forgets(model, lr):\n    return Forgets(model.parameters(), lr=lr, momentum=0.9)\n\n\ndef benchmark("
    file = own_benchmark(tmp_path, ("\n\ndef benchmark(", forgets))
    tried = {"adamw": {"class": "AdamW", "schedule": "cosine"}, "mine": {"factory": "forgets"}}
    found = list(problems("own", str(file), "{}", tmp_path / "data", CPU, 8, False, tried))
    (line,) = found
    assert line.startswith("optimizers: an interrupted run with mine ends elsewhere")


@pytest.mark.parametrize(
    ("groups", "well"),
    [
        ("model.parameters()", False),
        ("model.parameters(), lr=0.001", False),
        ('[{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}], lr=lr', False),
        ('[{"params": model[0].parameters(), "lr": 0.3 * lr}, {"params": model[2].parameters()}], lr=lr', True),
    ],
)
def test_a_factory_follows_the_learning_rate(tmp_path, groups, well):
    factory = f"\n\ndef mine(model, lr):\n    return torch.optim.Adam({groups})\n\n\ndef benchmark("
    file = own_benchmark(tmp_path, ("\n\ndef benchmark(", factory))
    found = list(problems("own", str(file), "{}", tmp_path / "data", CPU, 8, False, {"mine": {"factory": "mine"}}))
    message = r"optimizers: the learning rates of mine are \[.*\] at 0.01, but .* at twice that: let its factory"
    assert (found == []) if well else re.match(message, found[0])


def test_regularisers_are_tried_at_a_batch_size_that_their_micro_batch_divides(tmp_path):
    """And with as many updates as others, however many gradients one takes; all is valid at their cells' batch size 192."""
    own_benchmark(tmp_path)
    tried = {
        "sharp@0.05": {"optimizer": "momentum", "regulariser": "sam", "micro_batch": 64},
        "penalty@0.01": {"regulariser": "gradient_norm", "micro_batch": 3},
        "both@0.05": {"optimizer": "svrg", "regulariser": "sam", "micro_batch": 4, "gradient_evaluations": "equal"},
        "whole@0.05": {"regulariser": "sam", "micro_batch": "all", "gradient_evaluations": "equal"},
    }
    where = ("own", str(tmp_path / "own.py"), "{}", tmp_path / "data", CPU)
    assert list(problems(*where, 32, False, tried)) == []
    own = subject_of(*where, 32, False, tried).optimizers
    assert [(plan.batch_size, plan.num_steps) for plan in own.values()] == [(64, 3), (33, 3), (32, 3), (32, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('"test_mse": "min"', '"test_mse": "least"')], "test_mse: 'least' is neither 'max' nor 'min'"),
        ([('"test_mse": "min"', '"mse": "min"')], "the first has to be a test metric"),
        ([('{"test_mse": "min"}', '["test_mse"]')], "the first has to be a test metric"),
        ([('"test_mse": "min"', '"test_a/b": "min"')], "'test_a/b': write test_ or train_"),
        ([('"test_mse": "min"', '"test_mse": "min", "mse": "min"')], "'mse': write test_ or train_"),
        (
            [('"settings": {}', '"settings": {}, "labels": {"test_ms": "x"}')],
            "'labels'.: 'test_ms' is none of its metrics test_mse",
        ),
        ([('a table"', 'a {table}"')], "'title'.: only {num_train} may stand in braces"),
        ([("def build():", "def build(:")], "own.py, line 34: invalid syntax"),
        ([('"num_train": 342', '"num_train": len(images)')], "own.py, line 14: PROTOCOL is read without running the file"),
    ],
)
def test_a_protocol_that_figures_cannot_show_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        benchmarks.protocol("own", str(own_benchmark(tmp_path, *changes)))


def test_the_verb_lists_faults_and_ends_with_1(sgdnoise, tmp_path):
    file, out = own_benchmark(tmp_path, *FAILS["mean"][0], *FAILS["too many"][0]), tmp_path / "checked.json"
    done = sgdnoise("check", "own", f"--file={file}", f"--data={tmp_path / 'data'}", f"--out={out}", check=False)
    assert (done.returncode, len(done.stderr.splitlines()), out.exists()) == (1, 3, False)


def refused(folder, benchmark="wrn_digits", optimizer="sgd", size=16, definition=None, device="cpu", engine="auto", **entry):
    """Return what keeps a study of one point from being trained, as `grid` or `check-study` says it."""
    if benchmark == "own":
        entry["file"] = str(own_benchmark(folder))
    mode = {"steps": 8, optimizer: {size: [0.5, 1]}}
    config = {"device": device, "engine": engine, "benchmarks": {benchmark: entry | {"constant_step": mode}}}
    config["benchmarks"][benchmark]["seeds"] = {"num": 1, "keep": 1}
    if definition:
        config["optimizers"] = {optimizer.partition("@")[0]: definition}
    try:
        config = validate(config)
        cells = [(cell, feasible.processes(config, benchmark, size)) for cell in grid.trained(config)]
    except ValueError as error:
        return str(error)
    return "\n".join(refusals(cells, engine, torch.device(device)))


def of_torch(name, **settings):
    return {"optimizer": "mine", "definition": {"class": name, **settings}}


SHARP = {"optimizer": "sharp@0.1", "definition": {"regulariser": "sam", "micro_batch": 8}}
SMOOTH = {"optimizer": "smooth@0.1", "definition": {"regulariser": "label_smoothing"}}
REFUSED = {
    "unknown class": (of_torch("Admw"), "^wrn_digits: mine: optimizer mine: class 'Admw' is none of torch.optim's"),
    "several gradients": (of_torch("LBFGS"), "class 'LBFGS' is none of torch.optim's"),
    "sparse gradients": (of_torch("SparseAdam"), "class 'SparseAdam' is none of torch.optim's"),
    "matrices only": (of_torch("Muon"), "torch.optim.Muon refuses its settings"),
    "unknown setting": (of_torch("AdamW", weigth_decay=0.1), "torch.optim.AdamW refuses its settings: .*weigth_decay"),
    "bad setting": (of_torch("AdamW", betas=[0.9, 2]), "torch.optim.AdamW refuses its settings: Invalid beta"),
    "half a setting": (of_torch("AdamW", betas=[0.9]), "^wrn_digits: mine: "),
    "empty group": (of_torch("AdamW", groups=[{"match": "none"}]), "no trained parameter is left for the group 'none'"),
    "no classes": (SMOOTH | {"benchmark": "autoencoder_digits"}, "autoencoder_digits: smooth@0.1 at batch size 16: label_smooth"),
    "no sampled loss": ({"optimizer": "kfac", "benchmark": "own"}, "own: kfac at batch size 16: .* no sampled_loss"),
    "packed": ({"optimizer": "adam", "engine": "packed"}, "engine packed: only SGD and momentum"),
    "packed on a GPU": ({"device": "cuda", "engine": "packed"}, "seeds are packed in one process on a CPU only"),
    "graph": ({"processes": {"16": 2}, "engine": "graph"}, "engine graph: processes that share a batch have no graph"),
    "tf32": ({"settings": {"precision": "tf32"}}, "wrn_digits.settings.precision: tf32 is for GPUs"),
    "ghosts": ({"size": 12}, "^wrn_digits: sgd at batch size 12: batch size 12 is not a multiple of the ghost batch 8; choose"),
    "chosen ghosts": ({"settings": {"ghost_batch": 3}}, "batch size 16 is not a multiple of the ghost batch 3"),
    "micro-batches": ({"settings": {"micro_batch": 12}}, "micro_batch 12 is not a multiple of the ghost batch 8"),
    "two kinds": (
        SHARP | {"settings": {"micro_batch": 8}},
        "wrn_digits.settings.micro_batch: sharp@0.1 has micro-batches of its own",
    ),
    "parts of batches": ({"processes": {"16": 3}}, "wrn_digits.processes.16: 3 do not divide the batch size"),
    "parts of ghosts": ({"processes": {"16": 4}}, "batch size of each of 4 processes 4 is not a multiple of the ghost batch"),
    "shared factors": (
        {"optimizer": "kfac", "processes": {"16": 2}},
        "processes.16: 2 processes cannot share the batches of kfac",
    ),
    "shared regulariser": (SHARP | {"processes": {"16": 2}}, "processes.16: 2 processes cannot share the batches of sharp@0.1"),
    "shared dropout": ({"benchmark": "wrn_skipinit_digits", "processes": {"16": 2}}, "network with dropout cannot share"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_cell_would_refuse_when_it_starts_is_found_before_without_data(kind, tmp_path):
    changes, pattern = REFUSED[kind]
    found = refused(tmp_path, **changes)
    assert re.search(pattern, found), found
    assert "\n" not in found
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "svrg", "benchmark": "lstm_synthetic"},
        {"optimizer": "kfac", "benchmark": "autoencoder_digits"},
        {"size": 6},  # below the ghost batch: it is one ghost batch
        {"processes": {"16": 2}},
        {"device": "cuda", "settings": {"precision": "tf32"}, "engine": "graph"},
        {"engine": "packed"},
        {"size": 24, "settings": {"micro_batch": 16}},
        of_torch("AdamW", betas=[0.9, 0.95], groups=[{"match": "bias", "weight_decay": 0}]),
        SHARP,
        SMOOTH,
    ],
)
def test_what_can_be_trained_is_not_refused(changes, tmp_path):
    assert refused(tmp_path, **changes) == ""


def test_refusals_of_several_points_are_all_named_and_each_once(tmp_path):
    """Of a device that is not looked at, neither engine nor precision."""
    mode = {"steps": 8, "sgd": {12: [0.5, 1], 16: [0.5, 0.5], 20: [0.5, 0.5]}, "momentum": {12: [0.5, 0.5]}}
    entry = {"seeds": {"num": 1, "keep": 1}, "settings": {"precision": "tf32"}, "constant_step": mode}
    shared = [(cell, 1) for cell in grid.trained(validate({"benchmarks": {"wrn_digits": entry}}))]
    found = list(refusals(shared, "packed", None))
    assert [line.partition(" is not")[0] for line in found] == [
        f"wrn_digits: sgd at batch size {size}: batch size {size}" for size in (12, 20)
    ]
