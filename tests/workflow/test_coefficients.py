"""Regularisers in the workflow: coefficients are cells, a changed one trains alone, and the gap has its table and figure."""

import copy

import pytest
import yaml
from workflows import run_stubbed, stub_training

pytestmark = pytest.mark.workflow

STUDY = yaml.safe_load(
    """
evaluations: 1
optimizers:
  penalty: {optimizer: momentum, regulariser: gradient_norm, micro_batch: 4}
benchmarks:
  autoencoder_digits:
    seeds: {num: 3, keep: 3}
    constant_step:
      steps: 8
      sgd: {4: [0.64, 2.56], 16: [0.64, 2.56]}
      momentum: {4: [0.64, 2.56], 16: [0.64, 2.56]}
      penalty@0.01: {16: [0.64, 2.56]}
      penalty@0.04: {16: [0.64, 2.56]}
figures: {formats: [png], dpi: 60}
"""
)


def trained(output):
    return output.count("rule train:")


@pytest.fixture
def folder(workflow_folder):
    """A folder with the study, whose cells are made up."""
    stub_training(workflow_folder)
    (workflow_folder / "config.yaml").write_text(yaml.safe_dump(STUDY))
    return workflow_folder


def test_coefficients_are_cells_and_the_gap_is_shown(folder):
    assert trained(run_stubbed(folder, "figures/all")) == 18
    assert (folder / "results/gap/autoencoder_digits.csv").exists()
    assert (folder / "figures/autoencoder_digits/gap.png").exists()
    assert (folder / "results/cells/autoencoder_digits/penalty@0.04/steps8/batch16_lr1.28_seeds0-2.h5").exists()
    assert "C7 penalty,conjecture,autoencoder_digits,constant_step" in (folder / "results/claims.csv").read_text()


@pytest.mark.slow
def test_what_is_changed_is_trained_again_alone(folder):
    run_stubbed(folder, "results/cells.csv")
    study = copy.deepcopy(STUDY)
    study["benchmarks"]["autoencoder_digits"]["constant_step"]["penalty@0.16"] = {16: [0.64, 2.56]}
    (folder / "config.yaml").write_text(yaml.safe_dump(study))
    assert trained(run_stubbed(folder, "results/cells.csv")) == 3
    study["optimizers"]["penalty"]["micro_batch"] = 8
    (folder / "config.yaml").write_text(yaml.safe_dump(study))
    assert trained(run_stubbed(folder, "results/cells.csv")) == 9  # all coefficients, and nothing else
