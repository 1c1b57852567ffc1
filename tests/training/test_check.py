"""What `sgdnoise check` finds, and what it lets pass."""

import re

import numpy as np
import pytest
import torch
from conftest import NOISY, OFFLINE, own_benchmark

from sgdnoise import benchmarks
from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop
from sgdnoise.training.cell import load_data, plan_of
from sgdnoise.training.check import problems, subject_of

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
