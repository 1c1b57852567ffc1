"""Both learning rates free, learning curves, targets, variants of a benchmark: what Snakemake trains and draws, and what it leaves alone."""

import pandas as pd
import pytest
import yaml
from conftest import changed
from workflows import copy_workflow, jobs, run_stubbed, snakemake, stub_training

pytestmark = pytest.mark.workflow

PLAIN = {
    "seeds": {"num": 2, "keep": 1},
    "constant_epoch": {"epochs": 1, "sgd": {128: [0.08, 0.16]}},
}
STUDY = {
    "evaluations": 1,
    "benchmarks": {"autoencoder_digits": PLAIN},
    "figures": {"formats": ["png"], "dpi": 60},
}
TWO = {
    "optimizer": "sgd",
    "batch_size": 128,
    "seeds": {"num": 2, "keep": 1},
    "epochs": {1: {"initial": [0.16, 0.16], "final": [0.04, 0.08]}},
}
CURVES = {"optimizer": "sgd", "budget": "epochs1", "batch_size": 128, "lr": [0.08]}
FREE = "results/cells/autoencoder_digits/sgd/epochs1/batch128_lr0.16to{}_seeds0-1.h5"


def write_config(folder, **changes):
    (folder / "config.yaml").write_text(yaml.safe_dump(changed(STUDY, changes), sort_keys=False))


@pytest.mark.slow
def test_what_is_added_to_a_finished_study_trains_its_own_cells_alone(tmp_path):
    folder = copy_workflow(tmp_path / "study")
    write_config(folder)
    snakemake(folder)
    assert jobs(folder) == ({}, [])
    more = {"two_rates": {"autoencoder_digits": TWO}, "figures.curves": {"autoencoder_digits": CURVES}}
    write_config(folder, **more)
    counts, trained = jobs(folder)
    assert trained == [FREE.format(final) for final in (0.04, 0.08)]
    assert (counts["two_rates"], counts["curves"]) == (1, 1)
    snakemake(folder)
    assert {path.stem for path in (folder / "figures/autoencoder_digits").iterdir()} >= {"two_rates", "curves", "constant_epoch"}
    assert jobs(folder) == ({}, [])
    (folder / FREE.format(0.08)).unlink()
    counts, trained = jobs(folder)
    assert trained == [FREE.format(0.08)]
    assert counts["train"] == counts["two_rates"] == 1
    assert "optimum" not in counts  # the tables of the study are not about it
    snakemake(folder)
    write_config(folder, **more, allow_missing=True)
    for final in (0.04, 0.08):
        (folder / FREE.format(final)).rename(folder / f"{final}.h5")
    assert "two_rates" not in jobs(folder)[0]  # a look at what is there leaves the figure out
    for final in (0.04, 0.08):
        (folder / f"{final}.h5").rename(folder / FREE.format(final))
    variant = PLAIN | {"file": "autoencoder_digits", "settings": {"l2_scope": "weights"}}
    compared = {"optimizer": "sgd", "benchmarks": ["autoencoder_digits", "autoencoder_other"]}
    figures = {"figures.variants": compared, "figures.ablation": compared | {"batch_size": 128}}
    write_config(folder, **more, **figures, **{"benchmarks.autoencoder_other": variant})
    _, trained = jobs(folder)
    assert trained == [f"results/cells/autoencoder_other/sgd/epochs1/batch128_lr{lr}_seeds0-1.h5" for lr in (0.08, 0.16)]
    snakemake(folder, "figures/all", "report")
    assert all((folder / f"figures/{name}.png").exists() for name in ("variants", "ablation"))
    assert jobs(folder, "figures/all", "report") == ({}, [])


def test_a_target_has_its_table_and_figure_and_another_one_trains_nothing(workflow_folder):
    stub_training(workflow_folder)
    benchmark = {"seeds": {"num": 3, "keep": 2}, "constant_epoch": {"epochs": 4, "sgd": {4: [0.64, 2.56], 8: [0.64, 2.56]}}}
    study = STUDY | {"evaluations": 2, "benchmarks": {"autoencoder_digits": benchmark}}
    (workflow_folder / "config.yaml").write_text(yaml.safe_dump(changed(study, {"figures.targets": {"autoencoder_digits": 50}})))
    assert run_stubbed(workflow_folder).count("rule train:") == 6
    table = workflow_folder / "results/time_to_target/autoencoder_digits.csv"
    assert (workflow_folder / "figures/autoencoder_digits/time_to_target.png").exists()
    first = pd.read_csv(table)
    assert first["batch_size"].tolist() == [4, 8]
    assert (first["steps"] > 0).all()
    (workflow_folder / "config.yaml").write_text(yaml.safe_dump(changed(study, {"figures.targets": {"autoencoder_digits": 20}})))
    assert run_stubbed(workflow_folder).count("rule train:") == 0
    assert (pd.read_csv(table)["steps"] > first["steps"]).all()
