"""What a `PROTOCOL` says, and what is wrong with one: it is checked whole before anything is computed."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

PROTOCOL_KEYS = {
    "title": "what is trained on what, for figure titles; {num_train} stands for the number of examples",
    "dataset": "name of the prepared file, DATA/<dataset>.npz",
    "num_train": "number of training examples, or of tokens; a setting of that name overrides it",
    "num_test": "number of test examples, or of tokens",
    "lr_grid": "{anchor, ratio}: the learning rates are anchor * ratio^k",
    "metrics": "{metric: 'max' or 'min'}, of what `evaluate` returns for the splits, such as test_accuracy: first the test metric,"
    " second the train metric that the figures show (by default train_objective)",
    "settings": "what the paper leaves open, besides these below: {name: OFFER}",
}
# Of these a file need not say `title` and `dataset`, by default the benchmark's name, nor `lr_grid` and `settings`; with `task` nor `metrics`.
OPTIONAL_KEYS = {
    "task": "one of the READY ones",
    "context": "tokens of a sequence, of the task language_model",
    "unroll": "tokens of a sequence, which makes the data a text",
    "train_flops": "floating-point operations of training on one example or token (forward and backward), for `sgdnoise plan`",
    "labels": "{metric: words for the figures}",
    "reads": "[paths relative to its folder], of a user's own: the files beside it that it reads",
    "sibling_of": "the benchmark of the paper that it stands for",
    "version": "of the package's own benchmarks (see docs/architecture.md)",
    "later": "[names of settings] that are offered since results were first shipped: at their defaults they are no part of a cell's"
    " identity, so those stay valid",
}
PAPERS = ("autoencoder_mnist", "lstm_ptb", "resnet50_imagenet", "wrn_cifar10", "wrn_skipinit_cifar10")  # as in claims/paper.csv

# our choice: words of the names of metrics that are better where larger, unless one of the others stands beside it
LARGER = r".*accuracy|acc\d?|top\d|auc|auroc|auprc|f1|precision|recall|r2|bleu|rouge|m?iou|dice|map|ndcg|mrr|mcc|kappa|psnr|ssim|reward"
SMALLER = {"err", "error", "loss"}

METRIC = r"(test|train)_[^/\x00-\x1f]+|stream_loss"  # a name in HDF5 files and tables

# What a PROTOCOL offers as a setting is its default, whose type every value then has; a list of choices, the default first; or
# {"default": number, bound: number, ...} with the bounds of a number, any of these. So "from": 1 makes a value v such that v >= 1.
BOUNDS = {"from": operator.ge, "above": operator.gt, "to": operator.le, "below": operator.lt}


def protocol_problem(protocol: Any) -> str:
    """Say what is wrong with a PROTOCOL; nothing if it is one."""
    if not isinstance(protocol, dict):
        return " is not a dictionary"
    known = [*PROTOCOL_KEYS, *OPTIONAL_KEYS]
    if unknown := [key for key in protocol if key not in known]:
        return f" has the unknown key {unknown[0]!r}; {hint(str(unknown[0]), known)}known: {', '.join(known)}"
    if missing := [key for key in PROTOCOL_KEYS if key not in protocol]:
        return f" lacks {missing[0]!r} ({PROTOCOL_KEYS[missing[0]]})"
    for key, (is_well, right) in VALUES.items():
        if key in protocol and not is_well(protocol[key]):
            return f"[{key!r}]: {protocol[key]!r} is not {right}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", protocol["dataset"]):
        return f"['dataset']: {protocol['dataset']!r} is no name for a file; use letters, digits, _ and -"
    lrs = protocol["lr_grid"]
    if not isinstance(lrs, dict) or set(lrs) != {"anchor", "ratio"} or not all(map(is_number, lrs.values())):
        return f"['lr_grid']: {lrs!r} is not {PROTOCOL_KEYS['lr_grid']}"
    if not 1e-12 <= lrs["anchor"] <= 1e12 or not 1.01 <= lrs["ratio"] <= 1000:
        return f"['lr_grid']: {lrs!r}: an anchor is from 1e-12 to 1e12, a ratio from 1.01 to 1000"
    if problem := metrics_problem(protocol["metrics"], protocol.get("labels", {})):
        return problem
    try:
        protocol["title"].format(num_train=protocol["num_train"])
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        return f"['title']: only {{num_train}} may stand in braces ({error!r}); write {{{{ for a brace"
    settings, later = protocol["settings"], protocol.get("later", [])
    if any(name not in list(settings) for name in later):
        return f"['later']: {later!r} is not a list of names of its settings"
    problems = {name: offer_problem(offer) for name, offer in settings.items()}
    return next((f"['settings'][{name!r}]: {problem}" for name, problem in problems.items() if problem), "")


def hint(word: str, known: Iterable[str]) -> str:
    """Ask whether a word that is unknown is a slip of one that is known."""
    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean {close[0]!r}? " if close else ""


def metrics_problem(metrics: Any, labels: dict[str, Any]) -> str:
    """Say what is wrong with the metrics of a PROTOCOL, so that figures and tables could not show them; nothing if they are well."""
    if not isinstance(metrics, dict) or not str(next(iter(metrics), "")).startswith("test_"):
        return f"['metrics']: {metrics!r}: the first has to be a test metric, such as test_loss"
    for metric, direction in metrics.items():
        if direction not in ("max", "min"):
            return f"['metrics']: {metric}: {direction!r} is neither 'max' nor 'min'"
        if not re.fullmatch(METRIC, str(metric)):
            return f"['metrics']: {metric!r}: write test_ or train_ and the name that `evaluate` returns"
    for metric, words in labels.items():
        if metric not in {*metrics, "train_objective"}:
            return f"['labels']: {metric!r} is none of its metrics {', '.join(metrics)}"
        if not isinstance(words, str):
            return f"['labels'][{metric!r}]: {words!r} is not text"
    return ""


def usual_direction(metric: str) -> str:
    """Say of a metric whose name is well known whether it is better where larger, "max", or smaller, "min"; else "".

    >>> [usual_direction(name) for name in ("test_f1", "test_top1_error", "test_my_score")]
    ['max', 'min', '']
    """
    words = metric.lower().split("_")
    if SMALLER & set(words):
        return "min"
    return "max" if any(re.fullmatch(LARGER, word) for word in words) else ""


def offer_problem(offer: Any) -> str:
    """Say what is wrong with what a PROTOCOL offers as a setting; nothing if it is an offer."""
    if isinstance(offer, list):
        return "" if offer and all(map(is_value, offer)) else f"{offer!r} is not a list of choices"
    if isinstance(offer, dict):
        words = {"default", *BOUNDS}
        well = "default" in offer and set(offer) <= words and all(map(is_number, offer.values()))
        return "" if well else f"{offer!r} has not the form {{'default': number, bound: number}}; bounds: {', '.join(BOUNDS)}"
    return "" if is_value(offer) else f"{offer!r} is not text, true or false, or a finite number"


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number of at most 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Say whether a value is a number that is finite."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def is_value(value: Any) -> bool:
    """Say whether something can be the value of a setting."""
    return isinstance(value, bool | str | None) or is_number(value)


def is_count(value: Any) -> bool:
    """Say whether a value can be a number of examples or tokens."""
    return is_whole(value) and 1 <= value <= 10**12


def is_text(value: Any) -> bool:
    """Say whether a value is text."""
    return isinstance(value, str)


def is_named(value: Any) -> bool:
    """Say whether a value is a dictionary whose keys are text."""
    return isinstance(value, dict) and all(map(is_text, value))


# What the values of keys are, and in words.
COUNT = (is_count, "a whole number from 1 to 10^12")
VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("num_train", "num_test", "unroll", "context", "version"), COUNT),
    **dict.fromkeys(("title", "dataset"), (is_text, "text")),
    "settings": (is_named, PROTOCOL_KEYS["settings"]),
    "labels": (is_named, OPTIONAL_KEYS["labels"]),
    "train_flops": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "reads": (
        lambda value: isinstance(value, list | tuple) and all(map(is_text, value)),
        "a list of paths, such as ['table.csv']",
    ),
    "sibling_of": (lambda value: value in PAPERS, f"a benchmark of the paper: {', '.join(PAPERS)}"),
    "later": (lambda value: isinstance(value, list), "a list of names of its settings"),
}
