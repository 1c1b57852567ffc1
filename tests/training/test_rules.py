"""The numbers of every optimizer of the package and of every regulariser belong to its version.

A few updates of each on `tiny.py` repeat what golden_rules.json has for that version. `python tests/training/test_rules.py` records versions that are not there yet; it changes none that is.
"""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from sgdnoise.study.optimizers import OPTIMIZERS, optimizer
from sgdnoise.study.regularisers import REGULARISERS, WAYS
from sgdnoise.training import loop

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parent / "golden_rules.json"
COEFFICIENT, MICRO_BATCH = 0.05, 4


def regulariser(name, by=""):
    said = {"regulariser": name} | ({"micro_batch": MICRO_BATCH} if REGULARISERS[name].micro else {}) | ({"by": by} if by else {})
    return optimizer(f"mine@{COEFFICIENT}", json.dumps(said))


def cases():
    """Return {name: (optimizer, where its version is)}."""
    plain = {name: (one, f"{name} in study/optimizers.py", one.version) for name, one in OPTIMIZERS.items()}
    where, regularised = "in study/regularisers.py", {}
    for name, one in REGULARISERS.items():
        for by in WAYS if name == "gradient_norm" else ("",):
            regularised[f"{name} {by}".strip()] = (regulariser(name, by), f"{name} {where}", one.version)
    return plain | regularised


def measured(one):
    """Train six updates of seed 0 at a constant learning rate, evaluated three times; return every metric."""
    plan = replace(tiny.plan(one), shape=lambda step, num_steps, warmup_steps: 1.0)
    curves = loop.train(tiny.BENCHMARK, tiny.data(), plan, 0, CPU)
    assert not curves.diverged
    return {metric: [row[metric] for row in curves.rows] for metric in curves.rows[0]}


@pytest.mark.parametrize("name", cases())
def test_the_numbers_are_those_of_the_version(name):
    one, where, version = cases()[name]
    recorded = json.loads(GOLDEN.read_text()).get(name, {})
    assert str(version) in recorded, f"record version {version} of {name}: run this file"
    found, remedy = measured(one), f"the numbers change: if that is meant, raise version of {where}, and run this file"
    for metric, values in recorded[str(version)].items():
        # Other processors round differently: a change of the first weights by 2e-7 of themselves changes these by 1e-6 at most.
        np.testing.assert_allclose(found[metric], values, rtol=1e-5, err_msg=f"{metric}: {remedy}")


def test_the_recorded_are_those_that_there_are():
    recorded = json.loads(GOLDEN.read_text())
    assert {name: max(map(int, versions)) for name, versions in recorded.items()} == {
        name: version for name, (_, _, version) in cases().items()
    }
    losses = [json.dumps(versions) for versions in recorded.values()]
    assert len(set(losses)) == len(losses) - 1  # none does what another does, but for warmup, of which there is none here


@pytest.mark.parametrize("name", cases())
def test_an_interrupted_run_ends_bitwise_where_the_undisturbed_ends(name):
    """At every update; the state goes through a file as a checkpoint's does."""
    plan, data, packed = tiny.plan(cases()[name][0], num_steps=13), tiny.data(), []

    def keep(state):
        saved = io.BytesIO()
        torch.save(state.packed(), saved)
        packed.append(saved.getvalue())

    whole = loop.train(tiny.BENCHMARK, data, plan, 0, CPU, keep)
    assert loop.train(tiny.BENCHMARK, data, plan, 0, CPU).rows == whole.rows
    for one in (packed[0], packed[5], packed[10], packed[11]):
        resume = torch.load(io.BytesIO(one), weights_only=True)
        assert loop.train(tiny.BENCHMARK, data, plan, 0, CPU, resume=resume).rows == whole.rows


class Late(nn.Module):
    """The network of tiny.py with a layer that the loss depends on after the first update only, and parameters on which it never does."""

    def __init__(self):
        super().__init__()
        self.net, self.late, self.spare = tiny.network(), nn.Linear(tiny.CLASSES, tiny.CLASSES), nn.Parameter(torch.ones(2, 2))
        self.register_buffer("start", self.net[-1].weight.detach().clone())

    def forward(self, images):
        logits = self.net(images)
        return logits if torch.equal(self.net[-1].weight, self.start) else self.late(logits)


@pytest.mark.parametrize("name", cases())
def test_parameters_move_only_where_the_loss_depends_on_them(name):
    """From the first gradient on, without L2 and noise before; a checkpoint holds that there was none."""
    plan, benchmark, seen, packed = tiny.plan(cases()[name][0], num_steps=5), replace(tiny.BENCHMARK, build=Late), [], []

    def keep(state):
        seen.append([one.detach().clone() for one in (state.model.late.weight, state.model.spare)])
        saved = io.BytesIO()
        torch.save(state.packed(), saved)
        packed.append(io.BytesIO(saved.getvalue()))

    whole = loop.train(benchmark, tiny.data(), plan, 0, CPU, keep)
    start = loop.start(benchmark, plan, 0, CPU, None).model.late.weight
    assert torch.equal(seen[0][0], start)
    assert not torch.equal(seen[-1][0], start)
    assert all(torch.equal(spare, torch.ones(2, 2)) for _, spare in seen)
    resume = torch.load(packed[0], weights_only=True)
    assert loop.train(benchmark, tiny.data(), plan, 0, CPU, resume=resume).rows == whole.rows


if __name__ == "__main__":
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for case, (made, _, number) in cases().items():
        versions = golden.setdefault(case, {})
        if str(number) not in versions:
            versions[str(number)] = measured(made)
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
