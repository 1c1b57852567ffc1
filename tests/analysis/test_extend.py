"""The rule that moves windows of learning rates, on made-up results."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import changed, lrs
from made_up import EXTENDED as STUDY
from made_up import KEY, made_up_run

import sgdnoise
from sgdnoise.analysis.extend import next_window, settled
from sgdnoise.analysis.optimum import edge_warnings, optimum_table
from sgdnoise.cli.main import main
from sgdnoise.results.collect import collect_cells
from sgdnoise.results.run import write_run
from sgdnoise.study import grid, windows
from sgdnoise.study.config import grid_part, validate


@pytest.fixture
def extended(tmp_path):
    """Do as the workflow does, with made-up results: return the study at its end and the paths in the order of training."""

    def run(changes=None, **results):
        config = validate(changed(STUDY, changes or {}) | {"results": str(tmp_path / "results")})
        folder, trained = Path(config["results"]), []
        ladders, studies = windows.ladders(windows.widest(config)), windows.studies(config)
        for window in windows.starts(config):
            for _ in range(2 * config["extend_limit"] + 3):
                for cell in windows.cells_of(window, ladders[window.point], config["bracket_seeds"]):
                    if cell.path not in trained:
                        write_run(folder / cell.path, made_up_run(cell, **results))
                        trained.append(cell.path)
                window, before = next_window(window, studies[window.point]), window
                path = folder / before.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(vars(window)))
                if window == before:
                    break
            assert window == before, "no end"
        return validate(json.loads(grid_part(settled(config)))), trained

    return run


def window(config, mode="constant_epoch", optimizer="sgd", key="64"):
    return config["benchmarks"]["autoencoder_digits"][mode][optimizer][key]


# The rule


def test_a_window_grows_step_by_step_until_it_encloses_the_optimum(extended):
    config, trained = extended()
    assert lrs(trained, "0-3") == ["0.08", "0.16", "0.32", "0.64", "1.28", "2.56"]
    assert window(config) == [0.08, 2.56]
    optima = optimum_table(collect_cells(config), config)
    assert set(optima["lr"]) == {1.28}
    assert edge_warnings(optima, config) == []


def test_a_window_grows_downwards_too_and_only_as_far_as_needed(extended):
    config, trained = extended(optima=(0.02, 0.02, 0.02))
    assert window(config) == [0.01, 0.16]
    assert len(trained) == 5


def test_a_window_that_encloses_its_optimum_stays(extended):
    config, trained = extended({f"{KEY}.64": [0.64, 2.56]})
    assert window(config) == [0.64, 2.56]
    assert len(trained) == 3


def test_the_optimum_of_every_metric_is_enclosed(extended):
    config, _ = extended(optima=(0.08, 0.16, 0.64))
    assert window(config) == [0.04, 1.28]


def test_an_error_bar_at_the_end_extends(extended):
    """Seeds differ by more than neighbouring learning rates: the bar reaches over the optimum's neighbours."""
    config, _ = extended({f"{KEY}.64": [0.64, 2.56]}, noise=1.5)
    assert window(config) == [0.32, 5.12]


def test_a_diverged_end_does_not_extend(extended):
    config, trained = extended(diverge_from=0.3)
    assert lrs(trained, "0-3") == ["0.08", "0.16", "0.32"]
    assert window(config) == [0.08, 0.32]


def test_where_all_diverges_the_window_grows_downwards(extended):
    config, _ = extended({f"{KEY}.64": [0.64, 1.28]}, optima=(0.08, 0.08, 0.08), diverge_from=0.16)
    assert window(config) == [0.04, 1.28]


@pytest.mark.parametrize("bracket_seeds", [0, 1])
def test_where_nothing_trains_the_limit_ends_it(extended, bracket_seeds):
    config, _ = extended({"bracket_seeds": bracket_seeds, "extend_limit": 3}, diverge_from=0)
    assert window(config) == [0.01, 0.16]


@pytest.mark.parametrize(("limit", "high"), [(0, 0.16), (2, 0.64), (3, 1.28), (4, 2.56), (6, 2.56)])
def test_the_limit_ends_the_extension(extended, limit, high):
    config, trained = extended({"extend_limit": limit})
    assert window(config) == [0.08, high]
    assert len(trained) == 2 + round(np.log2(high / 0.16))
    warnings = edge_warnings(optimum_table(collect_cells(config), config), config)
    assert len(warnings) == (limit < 4)
    assert all("or raise extend_limit" in warning for warning in warnings)


def test_a_window_grows_by_the_steps_of_the_study(extended):
    """Not by the benchmark's own: in the ladder that it climbs, in the study of its point alone, and in what a warning says."""
    half = {"benchmarks.autoencoder_digits.lr_ratio": 1.41421356, "extend_limit": 9}
    config, trained = extended(half)
    assert lrs(trained, "0-3") == ["0.08", "0.1131", "0.16", "0.2263", "0.32", "0.4525", "0.64", "0.9051", "1.28", "1.81"]
    assert window(config) == [0.08, 1.81]
    (alone,) = windows.studies(config).values()
    assert alone["benchmarks"]["autoencoder_digits"]["lr_ratio"] == 1.41421356
    config, _ = extended(half | {"extend_limit": 1})
    (warning, *_) = edge_warnings(optimum_table(collect_cells(config), config), config)
    assert "[0.08, 0.2263] to [0.08, 0.32]" in warning


def test_an_end_that_runs_away_stops_at_the_limit(extended):
    """Seeds so noisy that every learning rate is within the bar."""
    config, _ = extended({"extend_limit": 2}, noise=100)
    assert window(config) == [0.02, 0.64]


def test_modes_that_share_a_point_share_its_window(extended):
    config, trained = extended(
        {
            "benchmarks.autoencoder_digits.constant_step": {"steps": 16, "sgd": {"64": [0.64, 0.64]}},
            "benchmarks.autoencoder_digits.unlimited": {"batch_size": 64, "sgd": {"1": [0.08, 0.08]}},
        }
    )
    assert window(config) == window(config, "constant_step") == window(config, "unlimited", key="1") == [0.08, 2.56]
    assert len(trained) == 6


def test_the_end_is_the_hand_extended_study(extended):
    config, _ = extended()
    by_hand = validate(changed(STUDY, {"extend_grid": False, f"{KEY}.64": [0.08, 2.56]}) | {"results": config["results"]})
    assert collect_cells(config).equals(collect_cells(by_hand))


# Brackets


def test_a_bracket_spends_all_seeds_near_the_optimum_only(extended):
    config, trained = extended({"bracket_seeds": 2, f"{KEY}.64": [0.01, 0.16]})
    assert lrs(trained, "0-1") == ["0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "0.64", "1.28", "2.56"]
    assert lrs(trained, "2-3") == ["0.32", "0.64", "1.28", "2.56"]
    assert window(config) == [0.32, 2.56]
    by_hand = validate(
        changed(STUDY, {"extend_grid": False, f"{KEY}.64": [0.32, 2.56]}) | {"results": config["results"] + "/by_hand"}
    )
    for cell in grid.cells(by_hand):
        write_run(Path(by_hand["results"]) / cell.path, made_up_run(cell))
    assert collect_cells(config).equals(collect_cells(by_hand))


def test_all_seeds_may_move_the_window_on(extended):
    """The bracket's seeds find 0.16; of all, the best three of four differ too much to tell 0.16 from 1.28."""
    config, trained = extended({"bracket_seeds": 2, f"{KEY}.64": [0.08, 0.32]}, optima=(0.16,) * 3, late=1.28)
    assert lrs(trained, "0-1") == ["0.08", "0.16", "0.32", "0.64", "1.28", "2.56"]
    assert lrs(trained, "2-3") == ["0.08", "0.16", "0.32", "0.64", "1.28", "2.56"]
    assert window(config) == [0.08, 2.56]


def test_curves_are_drawn_of_the_learning_rates_that_the_windows_have_ended_with(extended, tmp_path, capsys):
    """The others are named; if none is left it is an error. Elsewhere every one has to be there."""
    config, _ = extended()
    frozen, out = tmp_path / "grid.json", tmp_path / "curves.csv"
    frozen.write_text(grid_part(config))
    words = ["--benchmark=autoencoder_digits", "--optimizer=sgd", "--budget=epochs1", f"--config={frozen}", f"--out={out}"]

    def draw(*lr):
        code = main(["curves", *words, "--batch-size", "64", "--lr", *lr])
        return code, capsys.readouterr().err

    assert draw("0.08", "2.56") == (0, "")
    code, said = draw("0.04", "0.16", "5.12")
    assert code == 0
    assert "have ended (extend_grid) without lr 0.04 at batch size 64, lr 5.12 at batch size 64" in said
    assert set(pd.read_csv(out)["lr"]) == {0.16}
    code, said = draw("0.04")
    assert code == 1
    assert f"sgdnoise grid --config={config['results']}/grid.json` lists what there is" in said
    frozen.write_text(grid_part(config | {"extend_grid": False}))
    assert draw("0.04", "0.16")[0] == 1


@pytest.mark.parametrize("bracket_seeds", [0, 2])
def test_a_study_by_its_config_has_all_that_windows_and_looks_added(extended, tmp_path, capsys, bracket_seeds):
    """As by its grid.json; where a file does not say yet what is added, the study is not finished."""
    results, changes = str(tmp_path / "results"), {"bracket_seeds": bracket_seeds, "decide": {"max_seeds": 9, "claims": ["5"]}}
    config, _ = extended(changes, optima=(0.64, 0.64, 0.64))
    (tmp_path / "study.json").write_text(json.dumps(changed(STUDY, changes) | {"results": results}))
    collect = ["collect", f"--config={tmp_path / 'study.json'}", f"--out={tmp_path / 'cells.csv'}"]
    assert main(collect) == 1
    assert (
        "looks/1.json is missing, which says whether it gets cells; go on with: snakemake --cores all" in capsys.readouterr().err
    )
    added = [{"benchmark": "autoencoder_digits", "lr": 0.64, "add_seeds": 5}]  # a rate that no window has as written
    (tmp_path / "results/looks").mkdir()
    (tmp_path / "results/looks/1.json").write_text(json.dumps(added))
    for cell in grid.cells(config | {"looks": [added]}):
        write_run(tmp_path / "results" / cell.path, made_up_run(cell, optima=(0.64, 0.64, 0.64)))
    assert main(collect) == 0
    cells, whole = sgdnoise.read_cells(tmp_path / "study.json"), collect_cells(config | {"looks": [added]})
    assert len(cells) == len(pd.read_csv(tmp_path / "cells.csv")) == len(whole)
    assert cells["lr"].max() > 0.16
    assert cells.query("lr == 0.64")["seed"].max() == 8
    assert cells.attrs["study"]["looks"] == [added]
    (tmp_path / "grid.json").write_text(grid_part(config | {"looks": [added]}))
    made = []
    for study in ("study.json", "grid.json"):
        tables = [f"--config={tmp_path / study}", f"--cells={tmp_path / 'cells.csv'}"]
        assert main(["optimum", *tables, f"--out={tmp_path / 'optimum.csv'}"]) == 0
        assert main(["claims", *tables, f"--optimum={tmp_path / 'optimum.csv'}", f"--out={tmp_path / 'claims.csv'}"]) == 0
        capsys.readouterr()
        assert main(["recommend", *tables]) == 0
        said = capsys.readouterr().out
        made.append([said, *((tmp_path / name).read_text() for name in ("optimum.csv", "claims.csv"))])
    assert made[0] == made[1]
    (last,) = sorted((tmp_path / "results/windows").rglob("*_full.json"), key=lambda path: path.stat().st_mtime)[-1:]
    last.unlink()
    assert main(collect) == 1
    assert f"study.json is not finished: {last} is missing" in capsys.readouterr().err


def test_of_a_brackets_runs_the_same_share_counts():
    config = validate(changed(STUDY, {"bracket_seeds": 3}))
    (start,) = windows.starts(config)
    (ladder,) = windows.ladders(config).values()
    assert [(cell.lr, cell.seeds, cell.keep) for cell in windows.cells_of(start, ladder, 3)] == [
        ("0.08", "0-2", 2),
        ("0.16", "0-2", 2),
    ]


def test_overrides_keep_their_seeds_and_go_with_their_learning_rate(extended):
    override = {"benchmark": "autoencoder_digits", "lr": 0.01, "seeds": {"first": 10, "num": 3, "keep": 1}}
    every = {"benchmark": "autoencoder_digits", "batch_size": 64, "lr": 1.28, "seeds": {"num": 5, "keep": 3}}
    config, trained = extended({"bracket_seeds": 2, f"{KEY}.64": [0.01, 1.28], "overrides": [override, every]})
    assert lrs(trained, "10-11") == ["0.01"]
    assert lrs(trained, "2-4") == ["1.28"]
    assert config["overrides"] == [every]


@pytest.mark.parametrize("bracket_seeds", [0, 2])
@pytest.mark.parametrize("rates", [0.64, [0.5, 0.7], [0.3, 0.7]])
@pytest.mark.parametrize("seeds", [{"seeds": {"num": 5, "keep": 4}}, {"add_seeds": 1}])
def test_an_override_waits_for_the_window_that_reaches_its_learning_rates(extended, bracket_seeds, rates, seeds):
    """The study of the point, which moves the window, knows it although no cell of the window as written is meant."""
    override = {"benchmark": "autoencoder_digits", "lr": rates} | seeds
    config, _ = extended({"bracket_seeds": bracket_seeds, "overrides": [override]})
    assert window(config)[1] == 2.56
    assert config["overrides"] == [override]
    assert {len(runs) for lr, runs in collect_cells(config).groupby("lr") if lr == 0.64} == {5}


def test_an_override_that_no_window_can_reach_is_named():
    far = {"benchmark": "autoencoder_digits", "lr": 1000, "add_seeds": 1}
    with pytest.raises(ValueError, match="overrides.0: no cell of the grid has lr 1000, however far"):
        windows.widest(validate(changed(STUDY, {"overrides": [far]})))


@pytest.mark.parametrize("bracket_seeds", [0, 2])
def test_seeds_that_are_added_move_no_bracket_and_train_nothing_again(extended, bracket_seeds):
    _, before = extended({"bracket_seeds": bracket_seeds})
    more = {"benchmark": "autoencoder_digits", "lr": [0.64, 1.28], "add_seeds": 3}
    config, after = extended({"bracket_seeds": bracket_seeds, f"{KEY}.64": [0.08, 0.64], "overrides": [more]})
    assert set(before) < set(after)
    assert sorted(lrs(sorted(set(after) - set(before)), "4-6")) == ["0.64", "1.28"]
    assert config["overrides"] == [more]
    assert {len(runs) for lr, runs in collect_cells(config).groupby("lr") if lr in (0.64, 1.28)} == {7}


# Configs


def test_off_is_as_before():
    plain = changed(STUDY, {})
    del plain["extend_grid"]
    config = validate(plain)
    assert set(json.loads(grid_part(config))) == {"allow_missing", "benchmarks", "overrides", "evaluations", "results"}
    switched_off = validate(plain | {"extend_grid": False, "bracket_seeds": 2, "extend_limit": 3})
    assert grid_part(switched_off) == grid_part(config)
    assert grid.cells(switched_off) == grid.cells(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bracket_seeds": 4}, "bracket_seeds: 4 is not fewer than benchmarks.autoencoder_digits.seeds.num 4"),
        ({"extend_limit": -1}, "extend_limit: -1 is less than the minimum of 0; expected at most so many"),
        ({"extend_grid": "yes"}, "extend_grid: 'yes' is not of type 'boolean'; expected true"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        validate(changed(STUDY, changes))


@pytest.mark.parametrize("key", ["extend_limit", "bracket_seeds"])
def test_what_would_be_ignored_is_an_error(key):
    study = changed(STUDY, {key: 1})
    del study["extend_grid"]
    with pytest.raises(ValueError, match=f"'extend_grid' is a dependency of '{key}'"):
        validate(study)


def test_a_window_that_is_missing_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match="_full.json is not a window .*snakemake --cores 1 --force .*_full.json"):
        settled(validate(STUDY | {"results": str(tmp_path)}))
