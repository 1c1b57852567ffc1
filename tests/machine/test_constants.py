"""What is read of a Python file that is not run."""

import ast

import pytest

from sgdnoise.machine.constants import Unreadable, constants


@pytest.mark.parametrize(
    "text",
    [
        "A = 300 + 42",
        "A: int = 300 + 42",
        "N = 342\nA = N",
        "A = B = 342",
        "N, M = 300, 42\nA = N + M",
        "SIZES = {'train': 342}\nA = SIZES['train']",
        "SIZES = dict(train=342)\nA = SIZES['train']",
        "BASE = {'train': 0}\nA = {**BASE, 'train': 342}['train']",
        "BASE = {'train': 0}\nBASE['train'] = 342\nA = BASE['train']",
        "BASE = {'train': 0}\nBASE |= {'train': 342}\nA = (BASE | {})['train']",
        "A = 341\nA += 1",
        "A = len('x' + 'y') * 171",
        "A = int(f'{34}{2:d}')",
        "A = round(-(-684 / 2)) if False else 342\nA = round(684 / 2)",
        "import numpy\nA = 18**2 + 18",
    ],
)
def test_what_is_known_without_running(text):
    assert constants(ast.parse(text))["A"] == 342


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("\nA = load()", 2, "'load()': write numbers"),
        ("from sizes import N\nA = {'n': N}", 1, "N: this statement is not run"),
        ("if True:\n    A = 1", 1, "A: this statement"),
        ("A = {}\nA.update(n=1)", 2, "A: this statement"),
        ("A = {}\nfor key in 'ab':\n    A[key] = 1", 2, "A, key: this statement"),
        ("A = 10**10**10", 1, "a power above 64"),
        ("A = 'a' * 10**12", 1, "only numbers up to 2^64"),
        ("A = 1 / 0", 1, "division by zero"),
        ("A = {'a': 1}['b']", 1, "'b'"),
        ("A = [1, B]", 1, "'B': write numbers"),
        ("def dict(**words): ...\nA = dict(a=1)", 2, "write numbers"),
    ],
)
def test_what_is_not_says_where_and_why(text, line, reason):
    found = constants(ast.parse(text))["A"]
    assert isinstance(found, Unreadable)
    assert (found.line, reason in str(found)) == (line, True), str(found)


def test_what_is_given_again_counts():
    assert constants(ast.parse("A = load()\nA = 2"))["A"] == 2
