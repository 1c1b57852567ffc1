"""What follows from predictions: critical batch sizes, and statements decided both ways."""

import numpy as np
import pandas as pd
import pytest

from sgdnoise.analysis.predict import critical_batch_size, of_budgets, predict, statements, text


def made_up(mode, **losses):
    """Make a table of `predict` of losses at batch sizes 1, 2, 4."""
    rows = [
        {
            "benchmark": "model",
            "mode": mode,
            "optimizer": name,
            "budget": "",
            "batch_size": size,
            "num_steps": 8 // size,
            "loss": loss,
        }
        for name, some in losses.items()
        for size, loss in zip((1, 2, 4), some, strict=False)
    ]
    return pd.DataFrame(rows).assign(noise=1.0, lr=0.1)


def answers(*tables, margin=0.02):
    return {one.text: one.answer for one in statements(pd.concat(tables), margin)}


def test_critical_batch_sizes():
    sizes = np.array([1.0, 2, 4, 8])
    assert critical_batch_size(sizes, np.array([1, 1.05, 1.15, 2])) == pytest.approx(2**1.5)
    assert critical_batch_size(sizes, np.array([1, 1.2, 1, 1])) == pytest.approx(2**0.5)  # the first time
    assert np.isinf(critical_batch_size(sizes, np.array([1, 0.5, 1.1, 1.1])))
    assert critical_batch_size(sizes, np.array([1, 2, 1, 1]), tolerance=1) == np.inf


def test_statements_are_decided_both_ways():
    found = answers(
        made_up("constant_epoch", sgd=[1, 1.2, 3], momentum=[0.99, 1.05, 3], adam=[0.97, 0.97, 0.97], svrg=[1, 1.2, 2.9]),
        made_up("constant_step", sgd=[1, 1, 1], momentum=[1, 0.9, 0.8], adam=[1, 1, 0.5], kfac=[0.5, 0.5, 0.5]),
    )
    assert found == {
        "constant epochs: momentum is no better than SGD at the smallest batch size of both": "yes",
        "constant epochs: adam is no better than SGD at the smallest batch size of both": "no",
        "constant epochs: momentum is better than SGD at the largest batch size of both": "no",
        "constant epochs: adam is better than SGD at the largest batch size of both": "yes",
        "constant steps: adam is better than SGD wherever momentum is": "no",
        "constant steps: kfac is better than SGD wherever momentum is": "yes",
        "constant epochs: SVRG is nowhere better than SGD": "no",
        "critical batch sizes: sgd < momentum": "yes",
        "critical batch sizes: momentum < adam": "yes",
    }
    wider = answers(made_up("constant_epoch", sgd=[1, 1.2, 3], adam=[0.97, 0.97, 0.97], svrg=[1, 1.2, 2.9]), margin=0.05)
    assert wider["constant epochs: adam is no better than SGD at the smallest batch size of both"] == "yes"
    assert wider["constant epochs: SVRG is nowhere better than SGD"] == "yes"


def test_what_no_batch_size_decides_is_open():
    same = made_up("constant_epoch", sgd=[1, 1, 1], momentum=[1, 1, 1])
    assert answers(same)["critical batch sizes: sgd < momentum"] == "open"
    steps = made_up("constant_step", sgd=[1, 1, 1], momentum=[1, 1, 1], adam=[1, 1, 1])
    assert answers(steps)["constant steps: adam is better than SGD wherever momentum is"] == "open"
    alone = made_up("constant_epoch", momentum=[1, 1, 2])
    assert statements(alone, 0.02) == []
    assert "nothing is compared" in text(alone, 0.02)


def test_only_batch_sizes_of_both_are_compared():
    """Momentum has batch sizes 1 and 2 alone."""
    found = statements(made_up("constant_epoch", sgd=[1, 1, 1], momentum=[1, 0.5]), 0.02)
    assert [one.numbers for one in found][:2] == ["loss / SGD's 1.000 at 1", "loss / SGD's 0.500 at 2"]


def test_the_regimes_of_the_model_are_the_papers():
    """Linear learning rates, equal losses and no use of momentum in the noise regime; level rates and a use in the other."""
    table = predict(of_budgets(["sgd", "momentum"], [1, 2, 512, 1024], {"epochs": 40}, 2000), noise=1.0)
    lr, loss = (table.pivot(index="batch_size", columns="optimizer", values=name) for name in ("lr", "loss"))
    assert (lr.loc[2] / lr.loc[1]).to_dict() == pytest.approx({"sgd": 2, "momentum": 2}, rel=0.02)
    assert (lr.loc[1024] / lr.loc[512]).to_dict() == pytest.approx({"sgd": 1, "momentum": 1}, rel=0.05)
    assert lr["momentum"][1] == pytest.approx(lr["sgd"][1], rel=0.02)
    assert loss["momentum"][1] == pytest.approx(loss["sgd"][1], rel=1e-3)
    assert loss["momentum"][1024] < 0.5 * loss["sgd"][1024]
