"""Time to a target on made-up learning curves of which the answer is known."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.time_to_target import summary, time_to_target_table
from sgdnoise.cli.main import main
from sgdnoise.results.run import Run, write_run
from sgdnoise.study import grid
from sgdnoise.study.config import validate
from sgdnoise.study.figures import figure_paths

SIZES, TARGET = (16, 32, 64, 128, 256), 0.9
STEPS = {size: 100 * (1 + 64 / size) for size in SIZES}
PROTOCOL = benchmarks.protocol("wrn_digits")


def made_up(seeds=3, noise=0.0, rates=(1, 2, 4), best=2.0, sizes=SIZES):
    """Accuracy grows in proportion to the steps, to TARGET after STEPS at the rate `best`, later by half at any other."""
    cells, curves, rng = [], [], np.random.default_rng(1)
    for size in sizes:
        end = round(4 * STEPS[size])
        for lr in rates:
            needed = STEPS[size] * (1 if lr == best else 1.5)
            for seed in range(seeds):
                point = {"optimizer": "sgd", "batch_size": size, "lr": float(lr), "seed": seed, "status": "completed"}
                point |= {"benchmark": "wrn_digits", "num_train": 64, "num_steps": end, "keep": 1, "modes": "constant_epoch"}
                cells.append(point | {"examples_per_second": 1000.0})
                slower = needed * np.exp(noise * rng.standard_normal())
                curves += [
                    point | {"step": step, "test_accuracy": TARGET * step / slower}
                    for step in range(end // 40, end + 1, end // 40)
                ]
    return pd.DataFrame(cells), pd.DataFrame(curves)


def table_of(cells, curves, target=TARGET):
    return time_to_target_table(cells, curves, "test_accuracy", "max", target)


def test_the_curve_of_made_up_runs_is_found():
    table = table_of(*made_up())
    np.testing.assert_allclose(table["steps"], list(STEPS.values()))  # between evaluations
    np.testing.assert_allclose(table["examples"], table["steps"] * table["batch_size"])
    np.testing.assert_allclose(table["seconds"], table["examples"] / 1000)
    assert set(table["lr"]) == {2}
    assert not table["at_edge"].any()
    for name, value in {"fewest_steps": 100, "critical": 64, "critical_low": 64, "critical_high": 64}.items():
        np.testing.assert_allclose(table[name], value, rtol=1e-4)
    assert summary(table) == "SGD: critical batch size 64 (95 %: 64 to 64)"


def test_where_seeds_differ_the_interval_has_a_width_and_holds_the_truth():
    one = table_of(*made_up(seeds=5, noise=0.05)).iloc[0]
    assert 40 < one["critical_low"] < 64 < one["critical_high"] < 100
    assert one["critical_high"] / one["critical_low"] > 1.1


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_few_seeds_the_noise_is_not_known(seeds):
    table = table_of(*made_up(seeds=seeds))
    assert table["critical_low"].isna().all()
    assert summary(table) == "SGD: critical batch size 64 (interval unknown: fewer than 3 runs)"


def test_a_critical_batch_size_beyond_those_measured_is_not_said():
    cells, curves = made_up(seeds=1, sizes=(64, 128, 256))
    curves["test_accuracy"] = TARGET * curves["step"] / np.where(curves["lr"] == 2, 300, 400)  # as many steps at any size
    assert summary(table_of(cells, curves)).startswith("SGD: critical batch size below 64 (")


def test_what_does_not_reach_it_has_no_time_and_no_part_in_the_curve(tmp_path):
    cells, curves = made_up()
    curves.loc[curves["batch_size"] > 64, "test_accuracy"] *= 0.01
    table = table_of(cells, curves)
    assert table[["steps", "examples", "seconds", "lr"]].isna().all(axis=1).tolist() == [False, False, False, True, True]
    np.testing.assert_allclose(table["critical"], 64, rtol=1e-4)
    assert table["best"].iloc[-1] == pytest.approx(0.9 * 4 * 0.01, rel=0.02)
    curves.loc[curves["batch_size"] > 32, "test_accuracy"] *= 0.01
    table = table_of(cells, curves)
    assert table["critical"].isna().all()
    assert summary(table) == "SGD: 2 of 5 batch sizes reach it; a curve takes 3"
    figure = figures.draw("time_to_target", {"time_to_target": table}, "wrn_digits", PROTOCOL, {})
    text = " ".join(figure._supxlabel.get_text().split())
    assert "Not reached (best mean): SGD, constant epoch, at 64 (0.036), 128 (0.00036), 256 (0.0003542)." in text
    nowhere = pd.concat([table_of(cells, curves, target=99), table.assign(mode="constant_step")])
    path = tmp_path / "nowhere.png"
    figures.save(figures.draw("time_to_target", {"time_to_target": nowhere}, "wrn_digits", PROTOCOL, {}), [path], {"dpi": 40})
    assert path.exists()


def test_at_the_edge_of_the_learning_rates_or_at_the_first_evaluation_it_is_an_upper_limit():
    table = table_of(*made_up(best=4))
    assert table["at_edge"].all()
    assert summary(table) == "SGD: 5 of 5 batch sizes reach it, 5 as upper limits; a curve takes 3 that are none"
    assert table_of(*made_up(), target=0.01)["at_edge"].all()
    cells, curves = made_up()
    for runs in (cells, curves):  # a rate that is lost encloses as well
        runs.loc[runs["lr"] == 4, "status"] = "diverged"
    assert not table_of(cells, curves)["at_edge"].any()
    cells.loc[(cells["batch_size"] == 16) & (cells["seed"] == 0), "status"] = "missing"
    table = table_of(cells, curves[(curves["batch_size"] > 16) | (curves["seed"] > 0)])
    figure = figures.draw("time_to_target", {"time_to_target": table}, "wrn_digits", PROTOCOL, {})
    hollow = [[len(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() == "white"] for axes in figure.axes]
    assert hollow == [[1], [1]]
    cells.loc[cells["batch_size"] == 64, "status"] = "missing"
    table = table_of(cells, curves[curves["batch_size"] != 64])
    figure = figures.draw("time_to_target", {"time_to_target": table}, "wrn_digits", PROTOCOL, {})
    assert "Not reached (best mean): SGD, constant epoch, at 64 (none)." in " ".join(figure._supxlabel.get_text().split())


def test_a_loss_is_reached_from_above_and_a_rate_counts_where_enough_runs_completed():
    cells, curves = made_up()
    curves["test_loss"] = 2 - curves["test_accuracy"]
    table = time_to_target_table(cells, curves, "test_loss", "min", 2 - TARGET)
    np.testing.assert_allclose(table["steps"], list(STEPS.values()))
    for runs in (cells, curves):
        runs["keep"] = 2
        runs.loc[(runs["lr"] == 2) & (runs["seed"] > 0), "status"] = "diverged"
    np.testing.assert_allclose(table_of(cells, curves)["steps"], 1.5 * np.array(list(STEPS.values())))


def test_one_evaluation_per_run_is_an_error():
    cells, curves = made_up()
    with pytest.raises(ValueError, match="one evaluation per run says nothing of when a target is reached; raise evaluations"):
        table_of(cells, curves[curves["step"] == curves["num_steps"]])


STUDY = {
    "evaluations": 40,
    "benchmarks": {
        "wrn_digits": {
            "seeds": {"num": 2, "keep": 2},
            "constant_epoch": {"epochs": 64, "sgd": {16: [1, 4], 64: [1, 4], 256: [1, 4]}},
        }
    },
    "figures": {"targets": {"wrn_digits": TARGET}},
}


def run_of(cell):
    steps = np.unique(np.round(np.arange(1, 41) * cell.num_steps / 40)).astype(int)
    needed = STEPS[cell.batch_size] * (1 if cell.lr == "2" else 1.5)
    accuracy = np.tile(np.minimum(TARGET * steps / needed, 1), (2, 1))
    curves = {"test_accuracy": accuracy, "train_objective": 2 - accuracy}
    made = {"bounds": {}, "examples_per_second": 1000.0}
    return Run(cell.spec, steps, steps * 0 + 0.1, np.arange(2), ["completed"] * 2, curves, made)


def test_from_files_of_cells_to_the_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(STUDY))
    config = validate(STUDY)
    for cell in grid.cells(config):
        write_run(tmp_path / config["results"] / cell.path, run_of(cell))
    assert "wrn_digits/time_to_target" in figure_paths(config)
    common = ["--config=config.yaml", "--cells=cells.csv"]
    of = ["--benchmark=wrn_digits", f"--target={TARGET}"]
    for words in (
        ["collect", common[0], "--out=cells.csv"],
        ["optimum", *common, "--out=optimum.csv"],
        ["claims", *common, "--optimum=optimum.csv", "--out=claims.csv"],
        ["time-to-target", *common, *of, "--out=time.csv"],
        [
            "figure",
            "time_to_target",
            of[0],
            "--time-to-target=time.csv",
            '--style={"dpi": 50}',
            "--out=wrn_digits/time_to_target.png",
        ],
        [
            "report",
            *common,
            "--optimum=optimum.csv",
            "--claims=claims.csv",
            "--figures=wrn_digits/time_to_target.png",
            "--out=page.md",
        ],
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert (
        "wrn_digits, constant_epoch: SGD: critical batch size 64 (interval unknown: fewer than 3 runs)" in capsys.readouterr().out
    )
    np.testing.assert_allclose(pd.read_csv("time.csv")["steps"], [STEPS[size] for size in (16, 64, 256)])
    page = (tmp_path / "page.md").read_text()
    assert page.index("Which batch size, which") < page.index("time_to_target.png") < page.index("## Verdicts")
    assert page.count("(wrn_digits/time_to_target.png)") == 1


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (STUDY | {"evaluations": 1}, r"figures.targets.wrn_digits: evaluations is 1, but only several in a run say when"),
        (STUDY | {"figures": {"targets": {"other": 1}}}, "figures.targets.other: no such benchmark"),
        (
            STUDY | {"figures": {"targets": {"wrn_digits": "0.9"}}},
            "figures.targets.wrn_digits: .*expected a value of the test metric",
        ),
    ],
)
def test_a_target_that_cannot_be_looked_for_is_refused(study, message):
    with pytest.raises(ValueError, match=message):
        validate(json.loads(json.dumps(study)))


def test_titles_and_names_of_many_optimizers_leave_room_for_the_panels():
    table = table_of(*made_up())
    many = pd.concat([table.assign(optimizer=name) for name in ("sgd", "momentum", "adam", "svrg", "kfac")])
    figure = figures.draw("time_to_target", {"time_to_target": many}, "wrn_digits", PROTOCOL, {})
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().height > 1.5 * figure.dpi
    assert figure.legends[0].get_window_extent().x0 > figure.axes[1].get_window_extent().x1
