"""Regularisers in the workflow: coefficients are cells, a changed one trains alone, and the gap has its table and figure."""

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


def test_coefficients_are_trained_shown_and_trained_again_alone(workflow_folder):
    stub_training(workflow_folder)
    config = workflow_folder / "config.yaml"
    config.write_text(yaml.safe_dump(STUDY))
    first = run_stubbed(workflow_folder, "figures/all")
    assert trained(first) == 18
    assert (workflow_folder / "results/gap/autoencoder_digits.csv").exists()
    assert (workflow_folder / "figures/autoencoder_digits/gap.png").exists()
    assert (workflow_folder / "results/cells/autoencoder_digits/penalty@0.04/steps8/batch16_lr1.28_seeds0-2.h5").exists()
    claims = (workflow_folder / "results/claims.csv").read_text()
    assert "C7 penalty,conjecture,autoencoder_digits,constant_step" in claims
    more = {**STUDY["benchmarks"]["autoencoder_digits"]["constant_step"], "penalty@0.16": {16: [0.64, 2.56]}}
    STUDY["benchmarks"]["autoencoder_digits"]["constant_step"] = more
    config.write_text(yaml.safe_dump(STUDY))
    again = run_stubbed(workflow_folder, "figures/all")
    assert trained(again) == 3
    changed = {**STUDY, "optimizers": {"penalty": STUDY["optimizers"]["penalty"] | {"micro_batch": 8}}}
    config.write_text(yaml.safe_dump(changed))
    assert trained(run_stubbed(workflow_folder, "figures/all")) == 9  # all coefficients, and nothing else
