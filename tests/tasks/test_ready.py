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

from sgdnoise.study.optimizers import OPTIMIZERS, optimizer
from sgdnoise.tasks import ready
from sgdnoise.tasks.examples import split
from sgdnoise.tasks.record import READY
from sgdnoise.training import loop
from sgdnoise.training.regularisers import smoothed
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
        ((INPUTS, TARGETS[:7]), "num_train 6, but of inputs and targets there are 8, 7; return a target for each input"),
        ((INPUTS[:6], TARGETS, INPUTS[6:], TARGETS[6:]), "there are 6, 8, 2, 2; return a target for each input"),
        ((INPUTS[:6], TARGETS[:6], INPUTS, TARGETS[6:]), "there are 6, 6, 8, 2; return a target for each input"),
        ((pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [0, 1]), "mixed kinds; make numbers of all columns"),
        ((INPUTS.astype(str), TARGETS), "inputs that are no numbers (<U32); make numbers of them"),
        ((INPUTS.astype("datetime64[s]"), TARGETS), "inputs that are no numbers (datetime64[s])"),
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


def test_inputs_that_float32_hardly_tells_apart_are_warned_of(caplog):
    seconds = 1.7e9 + INPUTS
    constant = np.full((8, 3), 0.1) * (1 + 1e-15 * INPUTS)
    for found in (INPUTS, seconds.astype(np.int64), constant, INPUTS - 1000):
        split((found, TARGETS), SIZES)
    split((seconds, TARGETS), SIZES, np.float64)
    assert not caplog.messages
    split((seconds, TARGETS), SIZES)
    (message,) = caplog.messages
    assert "float32 hardly tells them apart; subtract what they have in common" in message


@pytest.mark.parametrize(
    "pixels", [np.full((4, 4), 60_000, np.uint16), np.full((4, 4), 70_000, np.int32), np.full((4, 4), 0.5, np.float32)]
)
def test_pictures_of_more_than_8_bits_are_refused(pixels, tmp_path):
    """PIL would cut them off at 255."""
    picture = Image.fromarray(pixels)
    (tmp_path / "cat").mkdir()
    picture.save(tmp_path / "cat" / "deep.tif")
    with pytest.raises(ValueError, match=r"deep.tif has more than 8 bits .*scale it to 0..255"):
        ready.images(tmp_path)
    with pytest.raises(ValueError, match=rf"a picture of data\(\) has more than 8 bits \(mode {picture.mode}\)"):
        split(Rows([(picture, 0)] * 8), SIZES)


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
        ready.classification(nn.Identity, lambda: (INPUTS[:6], [0, 1] * 3, INPUTS[:2], [1, 9]), SIZES).arrays(None)


@pytest.mark.parametrize("odd", [0.5, np.nan, np.inf])
@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_are_whole_numbers_or_names(odd, split):
    """Shares of classes would become 0 and 1, and no number a class of its own."""
    targets = {"train": [0.0, 1.0] * 3, "test": [1.0, 1.0]}
    targets[split] = [*targets[split][1:], odd]
    with pytest.raises(ValueError, match=f"targets are classes, whole numbers or names, but one is {odd}; mend it"):
        ready.classification(nn.Identity, lambda: (INPUTS[:6], targets["train"], INPUTS[6:], targets["test"]), SIZES).arrays(None)
    with pytest.raises(ValueError, match="one is 2020-01-0"):
        ready.classification(nn.Identity, lambda: (INPUTS, TARGETS + np.datetime64("2020-01-01")), SIZES).arrays(None)


def test_whole_numbers_beyond_those_of_float32_are_classes_of_their_own():
    made = ready.classification(nn.Identity, lambda: (INPUTS, 2.0**24 + TARGETS % 2), SIZES).arrays(None)
    assert set(made["train_targets"]) == {0, 1}


def test_numbers_far_from_0_keep_their_digits():
    """Seconds since 1970 within a minute, which in float32 are one number; constant columns stay constant, whatever rounding."""
    inputs = np.stack([1.7e9 + INPUTS[:, 0], np.full(8, 0.1), 0.1 * (1 + 1e-15 * TARGETS)], axis=1)
    made = ready.regression(nn.Identity, lambda: (inputs, 1.7e9 + TARGETS), SIZES).arrays(None)
    for array in (made["train_inputs"][:, 0], made["train_targets"]):
        assert array.dtype == np.float32
        assert len(np.unique(array)) == 6
        assert array.std() == pytest.approx(1)
    assert np.abs(made["train_inputs"][:, 1:]).max() < 1e-12
    with pytest.raises(ValueError, match="train_targets are not numbers"):
        ready.regression(nn.Identity, lambda: (INPUTS, TARGETS.astype(str)), SIZES).arrays(None)


def measure(task=ready.classification, network=lambda: nn.Linear(3, 3), targets=TARGETS % 3, **more):
    """Return what a benchmark evaluates to before training."""
    benchmark = task(network, lambda: (INPUTS, targets), SIZES, **more)
    data = {name: torch.from_numpy(np.asarray(array)) for name, array in benchmark.arrays(None).items()}
    with torch.no_grad():
        return benchmark.evaluate(benchmark.build(), data, "train")


@pytest.mark.parametrize(
    ("metric", "shape"),
    [
        (lambda outputs, targets: (outputs - targets).abs(), "(6, 6)"),  # of all pairs
        (lambda outputs, targets: (outputs[:, 0] - targets).abs().mean(), "()"),
        (lambda outputs, targets: float(outputs.mean()), "()"),
        (lambda outputs, targets: outputs.repeat(1, 4), "(6, 4)"),
    ],
)
@pytest.mark.parametrize("task", [ready.classification, ready.regression])
def test_a_metric_is_a_value_for_each_example(task, metric, shape):
    own = {"metrics": {"mine": metric}, "network": lambda: nn.Linear(3, 1)}
    if task is ready.classification:
        own["metrics"] |= {"accuracy": lambda outputs, targets: outputs[:, 0] > 0}
        own["loss"] = lambda outputs, targets: outputs.sum()
    with pytest.raises(
        ValueError, match=re.escape(f"the metric 'mine' is of the shape {shape} for 6 examples; return a value for each")
    ):
        measure(task, **own)


def test_each_example_may_have_its_value_in_a_row_of_its_own():
    found = measure(ready.regression, lambda: nn.Linear(3, 1), metrics={"one": lambda outputs, targets: outputs * 0 + 1})
    assert found["one"] == 1


@pytest.mark.parametrize(
    ("network", "shape"), [(lambda: nn.Linear(3, 1), "(6, 1)"), (lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), "(6,)")]
)
def test_the_accuracy_of_a_single_logit_is_not_made_up(network, shape):
    """It would be the share of class 0, whatever the network."""

    def loss(outputs, targets):
        return nn.functional.binary_cross_entropy_with_logits(outputs.flatten(), targets.float(), reduction="sum")

    own = {"network": network, "targets": TARGETS % 2, "loss": loss}
    with pytest.raises(
        ValueError, match=re.escape(f"the network returns {shape} and the targets are (6,); return a logit for each")
    ):
        measure(**own)
    found = measure(**own, metrics={"accuracy": lambda outputs, targets: (outputs.flatten() > 0) == targets})
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize(("task", "name"), [("classification", "loss"), ("regression", "loss"), ("regression", "rmse")])
def test_a_metric_may_not_have_the_name_of_what_a_task_measures(task, name):
    with pytest.raises(ValueError, match=f"the metric '{name}' has a name that is taken"):
        getattr(ready, task)(nn.Identity, lambda: (INPUTS, TARGETS), SIZES, metrics={name: lambda outputs, targets: outputs})


@pytest.mark.parametrize("task", READY)
def test_a_setting_of_the_number_of_examples_is_refused(task):
    """Planning would count with it, and training draw from all."""
    with pytest.raises(ValueError, match="'num_train' cannot be a setting; leave it out"):
        getattr(ready, task)(nn.Identity, lambda: (INPUTS, TARGETS), SIZES | {"context": 2, "settings": {"num_train": 3}})


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
    with pytest.raises(ValueError, match=["inputs that are no numbers", "train_targets are not numbers, such as .*'a'"][part]):
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
    for found, message in {
        "abc " * 30: "a text of the shape () (<U120); return tokens (N,), whole numbers from 0 (ready.text",
        ("a", "b", "c"): "returns 3 texts; return one, or two",
    }.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            ready.language_model(nn.Identity, lambda found=found: found, protocol).arrays(None)
    for found in (np.arange(30) / 30, np.arange(30) - 1, np.full(30, np.nan), np.zeros((30, 2), int), list("abc" * 10)):
        with pytest.raises(ValueError, match="data.. returns a text of the shape .*; return tokens"):
            ready.language_model(nn.Identity, lambda found=found: found, protocol).arrays(None)
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


def test_what_is_classified_can_have_smoothed_labels():
    """As the table of regularisers says."""
    targets, logits = torch.tensor([0, 2, 1]), torch.randn(3, 4)
    said = optimizer("mine@0.4", '{"regulariser": "label_smoothing"}')
    plan = Plan(said, 8, 0.25, 20, 0, 1, {})
    smooth = nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.4)
    benchmark = ready.classification(nn.Identity, lambda: None, SIZES)
    assert smoothed(benchmark, plan).loss(nn.Identity(), (logits, targets), None)[0] == pytest.approx(float(smooth))
    benchmark = ready.language_model(nn.Identity, lambda: None, SIZES | {"context": 3})
    found, _ = smoothed(benchmark, plan).loss(nn.Identity(), (logits[None], targets[None]), None)
    assert found == pytest.approx(float(smooth) / 3)
    own = ready.classification(nn.Identity, lambda: None, SIZES, loss=lambda outputs, targets: outputs.sum())
    with pytest.raises(ValueError, match="no parameter label_smoothing"):
        smoothed(own, plan)


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
