"""Ready tasks: whatever form data come in, and that their numbers belong to their version."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from sgdnoise.study.optimizers import OPTIMIZERS
from sgdnoise.tasks import ready
from sgdnoise.tasks.examples import split
from sgdnoise.tasks.record import READY
from sgdnoise.training import loop
from sgdnoise.training.state import Plan

SIZES = {"num_train": 6, "num_test": 2}
INPUTS, TARGETS = np.arange(24.0).reshape(8, 3), np.arange(8)


class Rows:
    """As data sets of Hugging Face are read: rows by name."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize(
    "found",
    [
        (INPUTS, TARGETS),
        (torch.tensor(INPUTS), TARGETS.tolist()),
        (pd.DataFrame(INPUTS), pd.Series(TARGETS)),
        TensorDataset(torch.tensor(INPUTS), torch.tensor(TARGETS)),
        Rows([{"pixels": list(one), "label": int(label)} for one, label in zip(INPUTS, TARGETS, strict=True)]),
    ],
)
def test_one_set_is_shuffled_and_split_once(found):
    made = split(found, SIZES)
    assert [len(made[name]) for name in ("train_inputs", "train_targets", "test_inputs", "test_targets")] == [6, 6, 2, 2]
    targets = np.concatenate([made["train_targets"], made["test_targets"]])
    assert sorted(targets) == list(range(8)) != list(targets)
    assert (np.concatenate([made["train_inputs"], made["test_inputs"]]) == INPUTS[targets]).all()
    assert made["train_inputs"].dtype == np.float32
    again = split(found, SIZES)
    assert all((made[name] == again[name]).all() for name in made)


@pytest.mark.parametrize(
    "found",
    [
        (INPUTS[:6], TARGETS[:6], INPUTS[6:], TARGETS[6:]),
        (
            TensorDataset(torch.tensor(INPUTS[:6]), torch.tensor(TARGETS[:6])),
            Rows(list(zip(INPUTS[6:], TARGETS[6:], strict=True))),
        ),
    ],
)
def test_train_and_test_stay_as_they_are(found):
    made = split(found, SIZES)
    assert made["train_targets"].tolist() == [0, 1, 2, 3, 4, 5]
    assert made["test_targets"].tolist() == [6, 7]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ((INPUTS, TARGETS, INPUTS), "data() returns 3 parts; return inputs and targets"),
        ((INPUTS[:7], TARGETS[:7]), "num_test 2, but of inputs and targets there are 7, 7; write what there is"),
        ((INPUTS, TARGETS[:7]), "num_train 6, but of inputs and targets there are 8, 7"),
        ((pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [0, 1]), "mixed kinds; make numbers of all columns"),
        (Rows([(1, 2, 3)] * 8), "an item of the data set has 3 parts"),
        (Rows([([1] * (index + 1), 0) for index in range(8)]), "have different shapes, (1,) and (2,)"),
    ],
)
def test_what_is_wrong_with_data_is_said(found, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        split(found, SIZES)


def test_what_is_left_out_is_said(caplog):
    split((INPUTS, TARGETS), {"num_train": 4, "num_test": 2})
    assert caplog.messages == ["of 8 examples 2 are left out, by num_train and num_test of PROTOCOL"]


def test_pictures_of_a_folder(tmp_path):
    for index, kind in enumerate(("cat", "dog", "dog")):
        (tmp_path / kind).mkdir(exist_ok=True)
        Image.new("RGB", (5, 4), (index, 0, 9)).save(tmp_path / kind / f"{index}.png")
    pixels, kinds = ready.images(tmp_path)
    assert (pixels.shape, pixels.dtype, kinds.tolist()) == ((3, 3, 4, 5), np.uint8, ["cat", "dog", "dog"])
    assert pixels[:, :, 0, 0].tolist() == [[0, 0, 9], [1, 0, 9], [2, 0, 9]]
    assert ready.images(tmp_path, size=2, mode="L")[0].shape == (3, 1, 2, 2)
    assert (split(Rows([(Image.fromarray(one.transpose(1, 2, 0)), 0) for one in pixels] * 3), SIZES)["test_inputs"] < 10).all()
    Image.new("RGB", (6, 4)).save(tmp_path / "dog" / "3.png")
    with pytest.raises(ValueError, match=r"3.png has \(6, 4\) pixels, .*0.png \(5, 4\); give ready.images a size"):
        ready.images(tmp_path)
    with pytest.raises(ValueError, match="has no pictures; put them there as <class>/<name>.png"):
        ready.images(tmp_path / "cat")


def test_classes_have_names_or_any_numbers():
    for targets in (np.array(list("ababcabc")), np.array([2, 5, 2, 5, 9, 2, 5, 9])):
        made = ready.classification(nn.Identity, lambda targets=targets: (INPUTS, targets), SIZES).arrays(None)
        assert set(made["train_targets"]) == {0, 1, 2}
    with pytest.raises(ValueError, match="the test examples have the class 9, which no training example has"):
        ready.classification(nn.Identity, lambda: (INPUTS, [0, 1] * 3, INPUTS[:2], [1, 9]), SIZES).arrays(None)


def test_an_error_of_regression_is_in_the_unit_of_its_targets():
    benchmark = ready.regression(lambda: nn.Linear(3, 1), lambda: (INPUTS, 100.0 + 10 * TARGETS), SIZES)
    data = {name: torch.from_numpy(np.asarray(array)) for name, array in benchmark.arrays(None).items()}
    assert data["train_inputs"].mean(dim=0) == pytest.approx(0, abs=1e-6)
    assert data["train_targets"].std(correction=0) == pytest.approx(1)
    zero = nn.Linear(3, 1)
    nn.init.zeros_(zero.weight), nn.init.zeros_(zero.bias)
    with torch.no_grad():
        found = benchmark.evaluate(zero, data, "train")
    assert found["loss"] == pytest.approx(1)
    assert found["rmse"] == pytest.approx(float(data["target_scale"]))


@pytest.mark.parametrize("value", [-1.0, -1, np.nan, np.inf, "0.1"])
@pytest.mark.parametrize("name", ["l2", "clip_norm"])
def test_a_detail_that_leads_uphill_or_is_no_number_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} .* of the record: write a number from 0; without {name} there is none"):
        ready.classification(nn.Identity, lambda: (INPUTS, TARGETS), SIZES, **{name: value})


def test_a_detail_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="clip is no detail of a ready task; known: augment, .* l2, clip_norm"):
        ready.regression(nn.Identity, lambda: (INPUTS, TARGETS), SIZES, clip=1.0)


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "message"),
    [
        ("classification", (4, 3), torch.tensor([0, 1, 2, 3]), "logits for 3 classes, and a target is class 3, counted from 0"),
        ("classification", (4,), torch.tensor([0, 1, 2, 3]), "outputs (4,) for targets (4,); return logits"),
        ("classification", (4, 3, 2), torch.tensor([0, 1, 2, 3]), "outputs (4, 3, 2) for targets (4,); return logits"),
        ("regression", (4, 1), torch.zeros(4, 2), "outputs (4, 1) for targets (4, 2); return a number for each target"),
        ("regression", (4, 2), torch.zeros(4), "outputs (4, 2) for targets (4,); return a number for each target"),
    ],
)
def test_outputs_that_do_not_fit_the_targets_are_said_with_both(task, outputs, targets, message):
    benchmark = getattr(ready, task)(nn.Identity, lambda: (INPUTS, TARGETS), SIZES)
    for loss in (benchmark.loss, benchmark.sampled_loss if task == "regression" else benchmark.loss):
        with pytest.raises(ValueError, match=re.escape(message)):
            loss(nn.Identity(), (torch.zeros(outputs), targets), None)


@pytest.mark.parametrize("part", [0, 1])
def test_text_is_no_number_for_a_regression(part):
    found = [INPUTS, TARGETS]
    found[part] = np.full(found[part].shape, "a")
    with pytest.raises(ValueError, match=r"train_(inputs|targets) are not numbers, such as .*'a'"):
        ready.regression(nn.Identity, lambda: tuple(found), SIZES).arrays(None)


def test_sequences_of_a_language_model_follow_one_another():
    protocol = {"context": 4, "num_train": 3, "num_test": 2}
    made = ready.language_model(nn.Identity, lambda: np.arange(22), protocol).arrays(None)
    assert made["train_sequences"].tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12]]
    assert made["test_sequences"].tolist() == [[13, 14, 15, 16, 17], [17, 18, 19, 20, 21]]
    two = ready.language_model(nn.Identity, lambda: (np.arange(13), np.arange(50, 60)), protocol).arrays(None)
    assert two["test_sequences"][0].tolist() == [50, 51, 52, 53, 54]
    with pytest.raises(
        ValueError, match=r"PROTOCOL asks for 22 tokens \(num_train and num_test sequences of 4\), but the text has 21"
    ):
        ready.language_model(nn.Identity, lambda: np.arange(21), protocol).arrays(None)
    with pytest.raises(ValueError, match="'context'.: None is not a whole number"):
        ready.language_model(nn.Identity, lambda: [], SIZES)


class Logits(nn.Module):
    """A network that returns a record, as those of the transformers library do."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(3, 3)

    def forward(self, inputs):
        return SimpleNamespace(logits=self.inside(inputs))


def test_of_a_record_the_logits_are_taken_and_own_metrics_are_means():
    metrics = {"margin": lambda outputs, targets: outputs.amax(dim=1)}
    benchmark = ready.classification(Logits, lambda: (INPUTS, TARGETS % 3), SIZES, metrics=metrics)
    data = {name: torch.from_numpy(array) for name, array in benchmark.arrays(None).items()}
    torch.manual_seed(0)
    model = benchmark.build()
    with torch.no_grad():
        found = benchmark.evaluate(model, data, "train")
    assert found["margin"] == pytest.approx(float(model.inside(data["train_inputs"]).amax(dim=1).mean().detach()))
    assert set(found) == {"loss", "accuracy", "margin"}


# Versions. When these numbers change, and that is meant: raise the version of the task in tasks/record.py, and write the new ones here.
GOLDEN = {"classification": 0.69552469, "regression": 0.02328716, "language_model": 3.90895656}


def ended(task):
    """Return a metric after a few updates of a linear network."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(40, 5))
    protocol = {"num_train": 30, "num_test": 10, "context": 3}
    makers = {
        "classification": (lambda: nn.Linear(5, 2), lambda: (inputs, inputs[:, 0] > 0), "test_loss"),
        "regression": (lambda: nn.Linear(5, 1), lambda: (inputs, 3 * inputs[:, 0]), "test_rmse"),
        "language_model": (lambda: nn.Embedding(4, 4), lambda: np.arange(130) % 4, "test_perplexity"),
    }
    network, found, metric = makers[task]
    benchmark = getattr(ready, task)(network, found, protocol)
    data = {name: torch.from_numpy(np.array(array)) for name, array in benchmark.arrays(None).items()}
    if task == "language_model":
        data = {
            f"{name}_{kind}": data[f"{name}_sequences"][:, part] for name in ("train", "test") for kind, part in KINDS.items()
        }
    settings = {"l2_scope": "all", "l2_convention": "half", "micro_batch": 0}
    plan = Plan(OPTIMIZERS["sgd"], 8, 0.25, 20, 0, 1, settings)
    return loop.train(benchmark, data, plan, 0, torch.device("cpu")).rows[-1][metric]


KINDS = {"inputs": slice(None, -1), "targets": slice(1, None)}


@pytest.mark.parametrize("task", READY)
def test_the_numbers_of_a_task_belong_to_its_version(task):
    assert ended(task) == pytest.approx(GOLDEN[task], rel=1e-5)
