"""`sgdnoise predict`, from a study and without one."""

import json

import pandas as pd
import pytest
from conftest import ROOT

from sgdnoise.cli.main import main
from sgdnoise.study import grid
from sgdnoise.study.config import load_config

WITHOUT = [
    "--batch-sizes",
    "1",
    "16",
    "256",
    "--epochs",
    "40",
    "--steps",
    "5000",
    "--num-train",
    "2000",
    "--optimizers",
    "sgd",
    "momentum",
    "adam",
    "kfac",
    "svrg",
]


def test_without_a_study(capsys, tmp_path):
    assert main(["predict", *WITHOUT, f"--out={tmp_path / 'predictions.csv'}"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert len(table) == 2 * 3 * 5
    assert set(table["num_steps"]) == {80_000, 5000, 312}
    one = table.query("mode == 'constant_epoch' and optimizer == 'adam' and batch_size == 16").iloc[0]
    assert f"{one['lr']:.3g}, {one['loss']:.4g}" in shown.out
    for said in (
        "noise 1 at batch size 1. The noise is a free parameter",
        "yes  constant epochs: momentum is no better than SGD at the smallest batch size of both (loss / SGD's 1.000 at 1)",
        "no   constant epochs: adam is no better",
        "yes  constant steps: kfac is better than SGD wherever momentum is (momentum at 16 256, kfac at 1 16 256)",
        "no   constant epochs: SVRG is nowhere better than SGD (better at 1",
        "yes  critical batch sizes: sgd < momentum",
    ):
        assert said in shown.out


def test_noise_moves_regimes(capsys, tmp_path):
    """More noise, the same regimes at larger batch sizes: a hundredfold, and momentum is nowhere of use."""
    outs = [tmp_path / "1.csv", tmp_path / "100.csv"]
    for noise, out in zip((1, 100), outs, strict=True):
        assert main(["predict", *WITHOUT[:-3], f"--noise-level={noise}", f"--out={out}"]) == 0
    loss = [pd.read_csv(out).query("batch_size == 256").pivot(index="mode", columns="optimizer", values="loss") for out in outs]
    shares = [(some["momentum"] / some["sgd"])["constant_epoch"] for some in loss]
    assert shares[0] < 0.5 < 0.98 < shares[1]


def test_of_a_study_all_points_that_the_model_knows(capsys, tmp_path):
    """A study's own SGD is known by its momentum, whatever its name; an optimizer of torch is named and left out."""
    study = load_config(ROOT / "workflow/config/smoke.yaml")
    entry = study["benchmarks"]["autoencoder_digits"]
    entry["constant_epoch"] |= {"sgd": {"128": [0.08, 0.16]}, "slow": {"128": [0.08, 0.16]}, "adamw": {"128": [0.08, 0.16]}}
    study["optimizers"] = {"slow": {"momentum": 0.99, "schedule": "cosine"}, "adamw": {"class": "AdamW"}}
    (tmp_path / "study.json").write_text(json.dumps(study))
    assert main(["predict", f"--config={tmp_path / 'study.json'}", f"--out={tmp_path / 'predictions.csv'}"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "sgdnoise: warning: left out adamw: it has no form in the model\n"
    table = pd.read_csv(tmp_path / "predictions.csv")
    keys = ["benchmark", "mode", "optimizer", "budget", "batch_size", "num_steps"]
    cells = [cell for cell in grid.cells(load_config(tmp_path / "study.json")) if cell.optimizer != "adamw"]
    wanted = {tuple({**vars(cell), "mode": mode}[key] for key in keys) for cell in cells for mode in cell.modes}
    assert set(table[keys].itertuples(index=False, name=None)) == wanted
    assert "autoencoder_digits, constant epochs: slow is" in shown.out
    warm = table.query("mode == 'constant_epoch' and benchmark == 'wrn_digits' and batch_size == 128").set_index("optimizer")
    assert warm["loss"]["momentum_warmup"] > warm["loss"]["momentum"]  # it warms up for five epochs, and has one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --config, or --batch-sizes, --num-train, --optimizers and --epochs or --steps or both"),
        (WITHOUT[:4] + WITHOUT[8:], "and --epochs or --steps or both"),
        ([*WITHOUT, "muon"], "optimizer 'muon' has no form in the model; known: sgd, momentum, svrg, adam, adam_decoupled, kfac"),
        ([*WITHOUT, "--batch-sizes", "4000"], "batch size 4000 is more than the 2,000 training examples"),
        ([*WITHOUT, "--config=config.yaml"], "--batch-sizes is in place of --config; leave out one of them"),
        (["--config=missing.yaml"], "missing.yaml"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert main(["predict", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
