"""Figures of a made-up study."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.claims.paper import paper_table
from sgdnoise.cli.main import main
from sgdnoise.figures._sweeps import epochs_of
from sgdnoise.results.collect import collect_cells
from sgdnoise.study.figures import AT_EQUAL_UPDATES, figure_names


@pytest.fixture
def tables(study):
    folder = Path(study["results"])
    cells = collect_cells(study)
    cells.to_csv(folder / "cells.csv", index=False)
    optimum_table(cells, study).to_csv(folder / "optimum.csv", index=False)
    return figures.read_tables(folder / "cells.csv", folder / "optimum.csv", "wrn_digits")


@pytest.mark.parametrize("name", ["constant_epoch", "constant_step", "headline", "unlimited", "lr_sweep", "schedule"])
def test_figures_are_drawn_and_repeat_bitwise(tables, tmp_path, name):
    drawn = []
    for run in "ab":
        paths = [tmp_path / f"{run}.{ending}" for ending in ("png", "pdf", "svg")]
        protocol = benchmarks.protocol("wrn_digits")
        figures.save(figures.draw(name, tables, "wrn_digits", protocol, {"dpi": 80}), paths, {"dpi": 80})
        drawn.append([path.read_bytes() for path in paths])
    assert drawn[0][0] == drawn[1][0]
    assert all(len(some) > 5000 for some in drawn[0])


def test_a_figure_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    figure, path = Figure(figsize=(1, 1)), tmp_path / "a.PNG"
    figures.save(figure, [path], {})
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"cannot write .*a\.PNG: .*No space left"):
        figures.save(figure, [path], {})
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("name", ["plain", "a.docx", "a.png~"])
def test_a_figure_of_no_format_is_not_drawn(name, tmp_path, capsys):
    assert main(["figure", "schedule", f"--out={tmp_path / name}"]) == 1
    assert f"{name}: its ending is no format of a figure; name it .png, .pdf or .svg" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_headline_has_the_papers_own_numbers_on_the_left_and_the_studys_on_the_right(tables):
    drawn = figures.draw("headline", tables, "wrn_digits", benchmarks.protocol("wrn_digits") | {"title": "digits"}, {})
    lines = [axes.containers[0].lines[0].get_ydata() for axes in drawn.axes]
    optimum = tables["optimum"].query("mode == 'constant_step' and metric == 'test_accuracy' and optimizer == 'momentum'")
    assert (list(lines[0]), list(lines[2])) == ([0.946, 0.947, 0.925], [0.107, 0.025, 0.019])
    assert (list(lines[1]), list(lines[3])) == (optimum["mean"].tolist(), optimum["train_mean"].tolist())
    assert drawn.axes[0].get_title() == "the paper: 9,765 updates on 50,000 examples"
    assert "Left: ICLR v5 table 1, mean and s.d. of the best 12 runs" in drawn.get_supxlabel().replace("\n", " ")


def test_a_study_has_a_headline_of_what_the_paper_has_at_equal_updates(study):
    assert set(AT_EQUAL_UPDATES) == set(paper_table().query("mode == 'constant_step'")["benchmark"])
    assert "headline" in figure_names(study, "wrn_digits")
    study["benchmarks"]["wrn_digits"]["constant_step"].pop("momentum")
    assert "headline" not in figure_names(study, "wrn_digits")


REFERENCE = Path(__file__).parents[2] / "results" / "reference"


@pytest.mark.parametrize(
    ("study", "benchmark", "name"),
    [
        ("laptop", "autoencoder_mnist", "unlimited"),
        ("cpu_mnist", "autoencoder_mnist", "constant_step"),
        ("laptop_cifar10", "wrn_cifar10_small", "unlimited"),
    ],
)
def test_no_legend_hides_an_interval_that_decides(study, benchmark, name):
    tables = figures.read_tables(*(REFERENCE / study / f"{table}.csv" for table in ("cells", "optimum")), benchmark)
    drawn = figures.draw(name, tables, benchmark, benchmarks.protocol(benchmark), {})
    drawn.draw_without_rendering()
    optimum = tables["optimum"].query("mode == @name")
    for axes in drawn.axes:
        if (legend := axes.get_legend()) and "learning rate" in axes.get_title():
            hidden = legend.get_window_extent()
            x = "num_epochs" if axes.get_xlabel() == "epochs" else "batch_size"
            for at, low, high in optimum[[x, "fit_lr_low", "fit_lr_high"]].dropna().to_numpy():
                ends = axes.transData.transform([(at, low), (at, high)])
                assert not (hidden.x0 < ends[0, 0] < hidden.x1 and hidden.y0 < ends[1, 1] and ends[0, 1] < hidden.y1), (
                    at,
                    low,
                    high,
                )


DRAW = """
import sys
from pathlib import Path
from sgdnoise import figures
figures.save(figures.draw("schedule", {}, None, {}, {}), [Path(sys.argv[1])], {"dpi": 40})
"""


@pytest.mark.slow
def test_a_figure_depends_neither_on_a_backend_nor_on_a_users_own_style(tmp_path):
    """One of notebooks, and one that does not exist; a matplotlibrc in the working folder, with errors in it."""
    drawn = {}
    variables = [None, "module://matplotlib_inline.backend_inline", "nonsense"]
    for number, variable in enumerate(variables):
        folder = tmp_path / str(number)
        folder.mkdir()
        if variable:
            (folder / "matplotlibrc").write_text(
                "lines.linewidth: 9\nsavefig.dpi: 9\nfont.size: 30\nbackend: nonsense\nno.such: 1\n"
            )
        environment = os.environ | ({} if variable is None else {"MPLBACKEND": variable})
        done = subprocess.run([sys.executable, "-c", DRAW, "a.png"], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (variable, done.stderr)
        drawn[variable] = (folder / "a.png").read_bytes()
    assert len(set(drawn.values())) == 1


def lines_of(axes):
    return {container.get_label(): np.asarray(container.lines[0].get_ydata(), float) for container in axes.containers}


def test_constant_epoch_shows_the_optimum_table(tables):
    figure = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    test, train, lr, train_lr = figure.axes
    assert set(lines_of(lr)) == {"SGD", "SGD with momentum"}
    np.testing.assert_allclose(lines_of(test)["SGD"], [0.9015, 0.9015])
    np.testing.assert_allclose(lines_of(train)["SGD"], [0.1985, 0.1985])
    for axes in (lr, train_lr):
        np.testing.assert_allclose(lines_of(axes)["SGD"], [1, 1])
    text = " ".join(figure._supxlabel.get_text().split())
    assert "best 2 of 3" in text
    assert "selected on the test set, as in the paper" in text
    assert "handwritten digits" in figure._suptitle.get_text()


def test_names_of_many_optimizers_stand_beside_the_panels(tables):
    sgd = tables["optimum"].query("optimizer == 'sgd'")
    others = [sgd.assign(optimizer=name) for name in ("adam", "muon", "kfac")]
    few = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    many = tables | {"optimum": pd.concat([tables["optimum"], *others])}
    figure = figures.draw("constant_epoch", many, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    assert few.axes[0].get_legend()
    assert not few.legends
    assert not figure.axes[0].get_legend()
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x0 > figure.axes[1].get_window_extent().x1
    assert figure.legends[0].get_window_extent().y1 < figure._suptitle.get_window_extent().y0


def test_an_optimizer_that_only_a_later_panel_has_is_named(tables):
    some = tables["cells"].query("optimizer == 'sgd' and batch_size == 128").assign(optimizer="adam")
    tables["cells"] = pd.concat([tables["cells"], some])
    figure = figures.draw("lr_sweep", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {"lr_sweep": [64, 128]})
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["SGD", "SGD with momentum", "Adam"]
    assert "Adam" not in figure.axes[0].get_legend_handles_labels()[1]


def test_a_sweep_in_which_every_run_diverged_is_drawn_empty(tables):
    lost = tables["cells"]["batch_size"] == 128
    tables["cells"].loc[lost, ["test_accuracy", "train_objective"]] = np.nan
    tables["cells"].loc[lost, "status"] = "diverged"
    style = {"lr_sweep": [64, 128]}
    figure = figures.draw("lr_sweep", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), style)
    assert np.isnan(lines_of(figure.axes[1])["SGD"]).all()
    assert np.isfinite(lines_of(figure.axes[0])["SGD"]).any()


def test_edge_points_are_hollow(tables):
    tables["optimum"]["at_edge"] = tables["optimum"]["batch_size"] == 128
    figure = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    hollow = [line for line in figure.axes[2].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1, 1]


def test_points_that_lack_runs_are_hollow_and_the_caption_counts_them(tables):
    lost = tables["cells"]["batch_size"] == 128
    tables["cells"].loc[lost, "status"] = "missing"
    tables["optimum"].loc[tables["optimum"]["batch_size"] == 128, "num_missing"] = 3
    figure = figures.draw("constant_epoch", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    hollow = [line for line in figure.axes[2].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1, 1]
    assert "Not finished: 24 of 54 runs are missing" in " ".join(figure._supxlabel.get_text().split())


def test_unknown_figure_and_missing_tables_are_named(tables, tmp_path):
    with pytest.raises(ValueError, match="unknown figure 'pie'; known: ablation, claims, constant_epoch"):
        figures.draw("pie", tables, "wrn_digits", {}, {})
    with pytest.raises(ValueError, match="cells.csv is missing; make it with: snakemake"):
        figures.read_tables(tmp_path / "cells.csv", tmp_path / "optimum.csv", "wrn_digits")


def test_points_stay_within_three_percent_of_their_batch_size_and_no_line_looks_like_the_guide():
    looks = [*figures.LOOKS.values(), figures.OTHER_LOOK]
    moved = [figures.sideways(look) for look in looks]
    assert len(set(moved)) == len(looks)
    assert max(abs(np.array(moved) - 1)) < 0.035
    assert all(look["linestyle"] != ":" and look["color"] != "0.6" for look in looks)


@pytest.mark.parametrize("name", ["constant_epoch", "unlimited", "headline"])
def test_a_line_alone_lies_at_its_ticks(tables, name):
    """Of several batch sizes or budgets, and of one, which stands in the middle."""
    mode, x = name.replace("headline", "constant_step"), "num_epochs" if name == "unlimited" else "batch_size"
    points = tables["optimum"].query(f"optimizer == 'momentum' and mode == {mode!r}")
    for few in (points, points[points[x] == points[x].min()]):
        figure = figures.draw(name, tables | {"optimum": few}, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
        axes = figure.axes[1 if name == "headline" else 0]
        drawn = axes.containers[0].lines[0].get_xdata()
        assert set(drawn) == set(few[x]) <= set(axes.get_xticks())
    np.testing.assert_allclose(np.log2(axes.get_xlim()).mean(), np.log2(drawn[0]))


def test_estimates_are_drawn_where_the_table_has_them():
    axes, look = Figure().subplots(), figures.LOOKS["sgd"]
    table = pd.DataFrame({"batch_size": [8, 16], "lr": [1.0, 2.0]})
    assert figures.plot_estimates(axes, table, "batch_size", look) == ""
    assert not axes.lines
    table = table.assign(fit_lr=[1.1, np.nan], fit_lr_low=[0.8, np.nan], fit_lr_high=[1.5, np.nan])
    assert "95 % intervals" in figures.plot_estimates(axes, table, "batch_size", look)
    bar, tick = axes.lines
    assert (bar.get_ydata().tolist(), tick.get_ydata().tolist()) == ([0.8, 1.5], [1.1])


def test_a_title_names_the_epochs_of_every_optimizer():
    rows = pd.DataFrame({"optimizer": ["sgd", "sgd", "svrg_equal"], "num_epochs": [56.0, 55.3, 18.6]})
    assert epochs_of(rows) == "56 epochs (svrg_equal: 19)"
    assert epochs_of(rows[:2]) == epochs_of(rows[:2].assign(optimizer=["sgd", "momentum"])) == "56 epochs"


def test_optimizers_of_ones_own_look_unlike_any_other():
    """Beside each of the package's optimizers, and all of them, more than there are looks for a first round."""
    own = [f"own{number:02}" for number in range(30)]
    for some in ([], *([name] for name in figures.LOOKS), list(figures.LOOKS)):
        looks = figures.looks([*some, *own])
        assert len({(look["color"], look["marker"]) for look in looks.values()}) == len(some) + 30
        assert all(looks[name] == figures.LOOKS[name] for name in some)


def test_each_optimizer_has_its_colour_in_every_panel_of_unlimited(tables):
    optimum = tables["optimum"].query("mode == 'unlimited'")
    tables["optimum"] = pd.concat([optimum, optimum.assign(optimizer="adam")])
    figure = figures.draw("unlimited", tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    colors = [{container.lines[0].get_color() for container in axes.containers} for axes in figure.axes]
    assert colors == [{figures.LOOKS[name]["color"] for name in {*optimum["optimizer"], "adam"}}] * 3
    drawn = [(line.get_color(), line.get_marker()) for line in (container.lines[0] for container in figure.axes[2].containers)]
    assert len(set(drawn)) == len(drawn) == 4


@pytest.mark.parametrize("text", ["Houses in $ against $ of income", "US$ 5% of A$", r"rent in $ / m^2^ in $, \\$"])
def test_dollar_signs_are_no_mathematics(text):
    figure = Figure(figsize=(20, 2))
    figures.label(figure, text, text)
    figure.draw_without_rendering()
    assert all(one._preprocess_math(one.get_text()) == (text, False) for one in (figure._suptitle, figure._supxlabel))


def test_swept_coefficients_are_drawn_only_where_there_is_nothing_else(tables):
    cells, optimum = (tables[name][tables[name]["optimizer"] == "sgd"] for name in ("cells", "optimum"))
    protocol, style = benchmarks.protocol("wrn_digits"), {"lr_sweep": [64, 128]}
    swept = {"cells": cells.assign(optimizer="own@0.1"), "optimum": optimum.assign(optimizer="own@0.1")}
    both = {name: pd.concat([tables[name], swept[name]]) for name in swept}
    for name in ("constant_epoch", "lr_sweep"):
        drawn = figures.draw(name, both, "wrn_digits", protocol, style).axes[0].get_legend_handles_labels()[1]
        assert {"SGD", "SGD with momentum"} <= set(drawn)
        assert "own@0.1" not in drawn
        assert "own@0.1" in figures.draw(name, swept, "wrn_digits", protocol, style).axes[0].get_legend_handles_labels()[1]
    titles = [axes.get_title() for axes in figures.draw("regimes", both, "wrn_digits", protocol, {}).axes]
    assert not any("@" in title for title in titles)


@pytest.mark.parametrize("name", ["constant_epoch", "constant_step", "unlimited", "headline"])
def test_a_figure_of_runs_that_all_diverged_is_empty(tables, name):
    optimum = tables["optimum"]
    optimum.loc[:, ["lr", "lr_low", "lr_high", "mean", "sd", "train_mean", "train_sd"]] = np.nan
    figure = figures.draw(name, tables, "wrn_digits", benchmarks.protocol("wrn_digits"), {})
    figure.draw_without_rendering()
    assert not any(len(axes.get_xticks()) for axes in (figure.axes[1::2] if name == "headline" else figure.axes))


def test_no_optimum_is_drawn_where_nothing_completed(tables):
    protocol, lost = benchmarks.protocol("wrn_digits"), tables["cells"]["batch_size"] == 128
    for rows in (lost, lost | True):
        tables["cells"].loc[rows, ["test_accuracy", "train_objective"]] = np.nan
        tables["cells"].loc[rows, "status"] = "diverged"
        gone = rows[tables["cells"]["modes"].str.contains("constant_epoch")]
        sizes = set(tables["cells"]["batch_size"][gone[gone].index])
        tables["optimum"].loc[tables["optimum"]["batch_size"].isin(sizes), ["lr", "lr_low", "lr_high"]] = np.nan
        figure = figures.draw("regimes", tables, "wrn_digits", protocol, {})
        figure.draw_without_rendering()
        for axes in figure.axes:
            (beside,) = (line for line in axes.lines if line.get_markerfacecolor() == "white")
            assert list(beside.get_xdata()) == ([64 * 1.12] if rows is lost else [])
    assert not any(len(axes.get_yticks()) for axes in figure.axes)
