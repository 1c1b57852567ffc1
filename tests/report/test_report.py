"""The report: what it shows, that it escapes it, and how it behaves in a browser."""

import json
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import own_benchmark
from made_up import claims_table

from sgdnoise import benchmarks, figures
from sgdnoise.analysis.estimate import with_estimates
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.analysis.regimes import regimes_table
from sgdnoise.cli.main import main
from sgdnoise.report import tables
from sgdnoise.report.advice import advice
from sgdnoise.report.render import render, words_of
from sgdnoise.results.collect import collect_cells
from sgdnoise.results.run import Run, write_run
from sgdnoise.results.tables import read_table
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import validate
from sgdnoise.study.figures import WHOLE_STUDY, caption, curves_arguments, curves_wanted
from sgdnoise.study.figures import figure_paths as figures_of_study

STUDY = yaml.safe_load(
    """
evaluations: 1
benchmarks:
  wrn_digits:
    seeds: {num: 3, keep: 2}
    constant_epoch:
      epochs: 4
      sgd: {32: [0.5, 4], 64: [0.5, 8]}
      momentum: {64: [0.5, 8]}
    unlimited:
      batch_size: 64
      momentum: {4: [0.5, 8], 8: [0.5, 8]}
  wrn_cifar10:
    seeds: {num: 3, keep: 2}
    constant_step:
      steps: 9765
      momentum: {1024: [2, 32]}
figures: {lr_sweep: {wrn_digits: [64]}}
"""
)
MADE = {
    "bounds": {},
    "examples_per_second": 1000.0,
    "seconds": 1800.0,
    "processes": 2,
    "continued": [{"seconds": 3600.0, "started": "2026-01-01T08:00:00+00:00"}],
    "started": "2026-01-02T08:00:00+00:00",
    "version": "1.0",
    "commit": "0123456789abcdef",
    "dirty": True,
    "device": "GPU <b>one</b>",
    "torch": "2.14.1",
    "numpy": "2.4",
    "python": "3.11",
    "precision": "float32",
}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    + "01f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def made_up_run(cell):
    """Accuracy peaks at lr 1, at batch size 32 at the upper edge 4; at lr 8 two of three seeds diverge."""
    octaves = abs(np.log2(float(cell.lr) / (4 if cell.batch_size == 32 else 8 if cell.batch_size > 64 else 1)))
    seeds = np.array(seed_range(cell.seeds))
    last = np.where((float(cell.lr) == 8) & (cell.batch_size == 64) & (seeds > 0), np.nan, 0.9 - 0.1 * octaves + 0.001 * seeds)
    curves = {"test_accuracy": last[:, None], "train_objective": 1 - last[:, None]}
    status = ["diverged" if np.isnan(one) else "completed" for one in last]
    return Run(cell.spec, np.array([cell.num_steps]), np.array([1.0]), seeds, status, curves, MADE)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Config, tables and figures of a study with made-up results."""
    folder = tmp_path_factory.mktemp("study")
    config = validate(STUDY | {"results": str(folder / "results")})
    for cell in grid.cells(config):
        write_run(Path(config["results"]) / cell.path, made_up_run(cell))
    cells = collect_cells(config)
    optimum = optimum_table(cells, config)
    claims = claims_table(optimum, {"wrn_digits": "wrn_cifar10"}, cells)
    names = [*WHOLE_STUDY, "wrn_digits/constant_epoch", "wrn_digits/unlimited", "wrn_digits/lr_sweep"]
    pictures = [folder / f"figures/{name}.png" for name in names]
    for path in pictures:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL)
    return config, {"cells": cells, "optimum": optimum, "claims": claims}, pictures


@pytest.fixture(scope="module")
def page(study):
    return render(*study)


def test_every_figure_is_embedded_with_its_caption(page, study):
    assert page.count('src="data:image/png;base64,') == len(study[2])
    for path in study[2]:
        assert unescape(page).count(" ".join(caption(path.stem).split())) == 1
    assert page.count('alt="Constant epoch budget of wrn_digits"') == 1


def test_a_study_without_a_constant_epoch_budget_has_a_page(study, tmp_path):
    config, own, _ = study
    unlimited = own["cells"].assign(modes="unlimited")
    regimes_table(unlimited, config).to_csv(tmp_path / "regimes.csv", index=False)
    page = render(config, own | {"regimes": read_table(tmp_path / "regimes.csv")}, [])
    assert "Unlimited" in page


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize("missing", [*WHOLE_STUDY, "constant_epoch", "unlimited", "lr_sweep", "all"])
def test_any_figure_may_be_missing(study, missing, markdown):
    config, own, pictures = study
    left = [path for path in pictures if missing not in (path.stem, "all")]
    page = render(config, own, left, pictures[0].parent if markdown else None)
    shown = left if not markdown else [path for path in left if path.stem not in ("schedule", "claims")]
    assert len(re.findall(r"!\[" if markdown else "<img ", page)) == len(shown)
    assert "Undefined" not in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "pie.png",
            "pie.png is no figure of this study: schedule, claims, variants, ablation, or NAME in a folder of its benchmark, one of wrn_digits",
        ),
        ("wrn_digits/pie.png", "is no figure of this study"),
        ("no_such/unlimited.png", "is no figure of this study"),
        ("unlimited.png", "is no figure of this study"),
        ("claims.pdf", "a page can show .png and .svg figures; add png to figures.formats"),
        ("wrn_digits/unlimited.pdf", "a page can show .png and .svg figures"),
        ("wrn_digits/regimes.png", "cannot read the figure .*make it with: snakemake"),
        ("claims", "a page can show"),
    ],
)
def test_what_is_not_a_figure_for_the_page_is_named(study, tmp_path, name, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if "regimes" not in name:
        path.write_bytes(PIXEL)
    with pytest.raises(ValueError, match=message):
        render(study[0], study[1], [path])


def test_captions_are_the_docstrings_of_the_figures():
    for path in Path(figures.__file__).parent.glob("[a-z]*.py"):
        assert len(caption(path.stem)) > 20


def test_verdicts_are_counted_and_claims_without_cells_are_apart(page, study):
    counts = study[1]["claims"].query("role == 'paper'")["verdict"].value_counts()
    assert f"<b>{counts['undetermined']}</b> undetermined" in page
    missing = study[1]["claims"].query("role == 'paper' and reason.str.startswith('missing')")
    assert f"{len(missing)} undetermined, as this study lacks their cells" in page
    for statement in study[1]["claims"]["statement"]:
        assert statement in unescape(page)


def test_the_page_begins_with_the_advice_and_markdown_too(page, study, tmp_path):
    """Every optimizer of a constant epoch budget: batch size 32 whose optimum is at the edge, 64, and momentum with one batch size."""
    assert page.index('<section id="advice">') < page.index('<section id="verdicts">')
    (shown,) = advice(study[1]["cells"], study[0])
    rows = texts(shown["table"])
    assert [(row["optimizer"], row["batch size"]) for row in rows] == [("SGD", "32"), ("SGD", "64"), ("SGD with momentum", "64")]
    assert rows[2]["word"] == "no other batch size to compare it with"
    assert shown["widen"][0] == "benchmarks.wrn_digits.constant_epoch.sgd.32: [0.5, 8]"
    for sentence in [*shown["sentences"], shown["basis"], *shown["widen"]]:
        assert sentence in unescape(page)
    markdown = render(*study, folder=tmp_path)
    assert 0 < markdown.index(" | ".join(rows[0].values())) < markdown.index("## Verdicts")
    no_epochs = study[0] | {"benchmarks": {"wrn_cifar10": study[0]["benchmarks"]["wrn_cifar10"]}}
    assert advice(study[1]["cells"].query("benchmark == 'wrn_cifar10'"), no_epochs) == []


def texts(table):
    return [dict(zip(table.columns, (entry.text for entry in row), strict=True)) for row in table.rows]


def test_optimum_table_shows_edges_divergence_and_the_papers_value(study):
    own = study[1]
    points = own["optimum"].query("mode == 'constant_epoch' and metric == 'test_accuracy' and benchmark == 'wrn_digits'")
    edge, inside, _ = texts(tables.optimum_table(points, "constant_epoch", {}))
    assert (edge["batch size"], edge["optimal lr"], edge["its error bar"], edge["diverged runs"]) == ("32", "4", "high edge", "0")
    assert (inside["optimal lr"], inside["its error bar"], inside["diverged runs"]) == ("1", "", "2")
    assert inside["value"] == "0.9015 ± 0.00071"
    assert "paper's lr" not in inside
    points = own["optimum"].query("benchmark == 'wrn_cifar10' and metric == 'test_accuracy'")
    (row,) = texts(tables.optimum_table(points, "constant_step", {}))
    assert (row["paper's lr"], row["paper's value"]) == ("8", "0.946 ± 0.001")


def test_grid_marks_optimum_edge_and_lost_cells(study):
    own = study[1]
    runs = figures.cells_of({"cells": own["cells"].query("benchmark == 'wrn_digits'")}, "constant_epoch")
    points = own["optimum"].query("benchmark == 'wrn_digits' and mode == 'constant_epoch' and metric == 'test_accuracy'")
    found = tables.coverage(runs, points, "constant_epoch", benchmarks.protocol("wrn_digits"))
    assert found["lrs"] == ["0.5", "1", "2", "4", "8"]
    at_32, at_64 = found["optimizers"]["SGD"]
    assert [entry and entry["optimum"] for entry in at_32["entries"]] == [False, False, False, True, None]
    assert [entry and entry["edge"] for entry in at_32["entries"]] == [False, False, False, True, None]
    assert [entry["diverged"] for entry in at_64["entries"]] == [0, 0, 0, 0, 2]
    assert (at_64["entries"][4]["mean"], at_64["entries"][4]["heat"]) == ("", 0)
    assert not any(entry["edge"] for entry in at_64["entries"])
    assert at_64["entries"][1]["heat"] == max(entry["heat"] for entry in at_64["entries"])


def test_page_marks_the_grid_in_words_and_names_the_line_to_widen(page):
    assert page.count("★ best, edge") == 2  # the test and the train metric at batch size 32
    assert "✗2/3" in page
    assert ">lost<" in page
    assert "widen benchmarks.wrn_digits.constant_epoch.sgd.32: [0.5, 4] to [0.5, 8]" in page


def test_an_unfinished_study_says_so(page, study):
    config, tables, pictures = study
    cells = tables["cells"].copy()
    cells.loc[cells.index[:5], "status"] = "missing"
    assert "<b>5</b> missing: this study is not finished" in render(config, tables | {"cells": cells}, pictures)
    assert "this study is not finished" not in page


def test_cost_counts_every_process_that_trained_a_cell(study):
    cells = study[1]["cells"]
    assert cells["device_seconds"].unique().tolist() == [2 * (3600 + 1800) / 3]
    (total,) = texts(tables.device_table(cells, {"wrn_digits": 1}))
    assert (total["unit"], float(total["hours"])) == ("GPU hours", len(cells))
    assert {row["examples/s while training"] for row in texts(tables.cost_table(cells))} == {"1,000"}
    (origin,) = texts(tables.origin_table(cells))
    assert "commit 0123456789ab with uncommitted changes; torch 2.14.1" in origin["code, libraries, precision"]
    assert origin["first start (UTC)"] == "2026-01-01 08:00"


def test_what_was_planned_of_a_text_is_in_words(study):
    text = {"lstm_ptb_small": {"seeds": {"num": 1, "keep": 1}, "constant_step": {"steps": 64, "sgd": {4: [1, 1]}}}}
    config = validate({"benchmarks": study[0]["benchmarks"] | text})
    cells = study[1]["cells"].iloc[:2].assign(num_steps=64, batch_size=4, benchmark=["lstm_ptb_small", "wrn_digits"])
    (total,) = texts(tables.device_table(cells, words_of(config)))
    assert total["examples or words planned"] == "4,352"  # 64 updates of 4 sequences of 16 words, and of 4 images


def test_a_study_all_of_whose_runs_diverged_has_a_page_that_says_what_to_widen(study):
    config = study[0]
    lost = dict.fromkeys((name for name in study[1]["cells"] if name.startswith(("test_", "train_"))), np.nan)
    cells = study[1]["cells"].assign(status="diverged", **lost)
    optimum = with_estimates(optimum_table(cells, config), cells)
    claims, regimes = claims_table(optimum, {"wrn_digits": "wrn_cifar10"}, cells), regimes_table(cells, config)
    assert set(claims["verdict"]) == {"undetermined"}
    page = render(config, {"cells": cells, "optimum": optimum, "claims": claims, "regimes": regimes}, [])
    assert "widen benchmarks.wrn_digits.constant_epoch.sgd.32: [0.5, 4] to [0.25, 4]" in page


def test_results_without_provenance_are_shown(study):
    bare = study[1]["cells"].assign(device="unknown", started="", device_seconds=np.nan)
    assert texts(tables.origin_table(bare.assign(started=np.nan)))[0]["first start (UTC)"] == ""
    assert texts(tables.cost_table(bare))[0]["seconds per run"] == ""


def test_regimes_are_shown_where_there_are_any(study):
    config, own, pictures = study
    row = {"benchmark": "wrn_digits", "optimizer": "sgd", "metric": "test_accuracy", "model": "broken", "decide": "add <64>"}
    ends = {"break": 512, "slope_below": 1.0, "slope_above": np.nan}
    row |= {f"{name}{end}": value for name, value in ends.items() for end in ("", "_low", "_high")} | {"break_high": np.inf}
    page = render(config, own | {"regimes": pd.DataFrame([row])}, pictures)
    assert "512 (512 to ∞)" in page
    assert "add &lt;64&gt;" in page
    assert "what would decide" not in render(config, own, pictures)


HOSTILE = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"


def test_everything_shown_is_escaped(study, monkeypatch):
    config, own, pictures = study
    own = {name: table.copy() for name, table in own.items()}
    for column in ("statement", "measured", "paper", "reason", "contrasts", "source"):
        own["claims"][column] = HOSTILE
    own["cells"]["device"] = own["cells"]["made_by"] = HOSTILE
    real = benchmarks.protocol
    monkeypatch.setattr(benchmarks, "protocol", lambda *names: real(*names) | {"title": HOSTILE})
    monkeypatch.setattr("sgdnoise.report.render.caption", lambda name: HOSTILE)
    page = render(config | {"results": HOSTILE, "note": HOSTILE}, own, pictures)
    assert page.count("<script>") == 1
    assert page.count("<img ") == page.count('<img src="data:')
    assert "onerror" in page
    assert HOSTILE not in page
    assert unescape(page).count(HOSTILE) > 10


def test_markdown_has_the_tables_and_links_the_figures(study):
    config, own, pictures = study
    folder = pictures[0].parents[1]
    page = render(config, own, pictures, folder)
    assert "![Constant epoch budget of wrn_digits](figures/wrn_digits/constant_epoch.png)" in page
    assert "![Learning-rate sweeps at chosen batch sizes of wrn_digits](figures/wrn_digits/lr_sweep.png)" in page
    points = own["optimum"].query("mode == 'constant_epoch' and benchmark == 'wrn_digits'")
    entries = texts(tables.optimum_table(points, "constant_epoch", benchmarks.protocol("wrn_digits")))
    lines = page.splitlines()
    assert all(f"| {' | '.join(entry.values())} |" in lines for entry in entries)
    start = lines.index(f"| {' | '.join(entries[0])} |")
    assert lines[start + 1] == "|---" * len(entries[0]) + "|"
    rows = [line.split(" | ")[0] for line in lines[start + 2 : start + 2 + len(entries)]]
    assert rows == sorted(rows)
    sibling = own["claims"].query("role == 'sibling'").fillna("")
    assert all(f"| {row.claim} | {row.statement} | wrn_digits, {row.scale} |" in page for row in sibling.itertuples())


def test_command_line(study, tmp_path, capsys):
    config, own, pictures = study
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name, table in own.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    out = tmp_path / "made/report.html"
    command = ["report", f"--config={tmp_path / 'config.yaml'}", *(f"--{name}={tmp_path / name}.csv" for name in own)]
    command += [f"--out={out}", "--figures"]
    assert main([*command, *map(str, pictures)]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert out.read_text() == render(config, {name: figures.read_table(tmp_path / f"{name}.csv") for name in own}, pictures)
    (tmp_path / "claims.pdf").write_text("")
    for figure, message in (
        ("none/claims.png", "make it with: snakemake --cores 1"),
        ("claims.pdf", "add png to figures.formats"),
    ):
        assert main([*command, str(tmp_path / figure)]) == 1
        assert message in capsys.readouterr().err


# In a browser

FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync", "disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """Debian's Chromium with the page open from its file, as a reader has it."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install sgdnoise[test]")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(page)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    window = webdriver.Chrome(options, webdriver.ChromeService(driver))
    window.page = (folder / "report.html").as_uri()
    window.get(window.page)
    yield window
    window.quit()


def column(browser, number):
    script = "return [...document.querySelector('#cost table').tBodies[0].rows].map(row => row.cells[arguments[0]].textContent)"
    return browser.execute_script(script, number)


def test_browser_sorts_a_table_by_keyboard(browser):
    from selenium.webdriver import Keys

    (header,) = browser.find_elements("xpath", "//section[@id='cost']//table[1]//th[button='batch size']")[:1]
    sizes = [f"{size:,}" for size in sorted(int(text.replace(",", "")) for text in column(browser, 1))]
    assert sizes[-1] == "1,024"  # as text it would be the first
    assert header.get_attribute("aria-sort") is None
    for order, wanted in (("ascending", sizes), ("descending", sizes[::-1])):
        header.find_element("tag name", "button").send_keys(Keys.ENTER)
        assert column(browser, 1) == wanted
        assert header.get_attribute("aria-sort") == order
    assert len(browser.find_elements("css selector", "#cost table:first-of-type [aria-sort]")) == 1


def test_browser_follows_every_internal_link(browser):
    from selenium.webdriver import Keys

    links = browser.find_elements("css selector", "a")
    assert len(links) > 8
    for link in links:
        target = re.fullmatch(rf"{re.escape(browser.page)}#([\w-]+)", link.get_property("href"))
        link.send_keys(Keys.ENTER)
        assert browser.execute_script("return document.querySelector(':target').id") == target[1]


@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_browser_never_scrolls_sideways(browser, width, theme):
    feature = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (theme == "light")


def test_browser_finds_no_error_and_asks_for_nothing(browser):
    browser.get(browser.page)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"}
    assert browser.page in asked
    assert {url for url in asked if url.startswith(("http", "ws", "ftp"))} == set()


# A study of a network of one's own

OWN = {
    "own": {
        "seeds": {"num": 3, "keep": 2},
        "constant_epoch": {"epochs": 4, "sgd": {16: [0.5, 2], 64: [0.5, 2]}, "adamw": {16: [0.5, 2], 64: [0.5, 2]}},
    }
}


@pytest.fixture
def own_study(tmp_path):
    file = own_benchmark(tmp_path)
    own = {"own": OWN["own"] | {"file": str(file)}}
    config = validate({"results": str(tmp_path / "results"), "optimizers": {"adamw": {"class": "AdamW"}}, "benchmarks": own})
    for cell in grid.cells(config):
        octaves = np.log2(float(cell.lr)) ** 2 + (cell.batch_size == 64)
        values = (1 + octaves + 0.01 * np.arange(3))[:, None]
        made = MADE | {
            "examples_per_second": 100.0 * cell.batch_size,
            "seconds": 960 / cell.batch_size,
            "continued": [],
            "processes": 1,
        }
        curves = dict.fromkeys(("test_mse", "train_objective", "train_loss"), values)
        run = Run(cell.spec, np.array([cell.num_steps]), np.array([1.0]), np.arange(3), ["completed"] * 3, curves, made)
        write_run(Path(config["results"]) / cell.path, run)
    cells = collect_cells(config)
    optimum = optimum_table(cells, config)
    return config, {"cells": cells, "optimum": optimum, "claims": claims_table(optimum, {}, cells)}, []


def test_the_page_of_ones_own_network_begins_with_the_answer_and_does_not_name_the_paper(own_study):
    page = unescape(render(*own_study))
    shown = re.sub(r"<(style|script|pre)[ >].*?</\1>", "", page, flags=re.DOTALL)
    for word in ("paper", "Smith", "erdict", "laim"):
        assert word not in shown, word
    assert re.findall(r'<section id="(\w+)', page)[:2] == ["advice", "coverage"]
    assert shown.index("Use batch size 16 with SGD") < shown.index("examples/s") < shown.index("Coverage</h2>")
    assert "Learning rates are effective ones, eps / (1 - momentum); of adamw torch's own." in shown
    assert figures_of_study(own_study[0]) == ["own/constant_epoch", "own/regimes", "own/curves"]
    written = render(*own_study, folder=Path())
    assert "## Verdicts" not in written
    assert "what each doubling of the batch costs" in written


def test_each_doubling_of_the_batch_has_its_measured_cost(own_study):
    """From 16 to 64 the metric loses 1, and a run takes a quarter of the time: half of each at a doubling."""
    config, own, _ = own_study
    (one,) = advice(own["cells"], config)
    assert [entry.text for entry in one["doublings"].rows[0]] == ["SGD", "16", "64", "0.5", "0.50 times", "2.00 times"]


def test_captions_of_ones_own_network_do_not_name_the_paper(own_study):
    config, own, _ = own_study
    protocol = benchmarks.protocol("own", config["benchmarks"]["own"]["file"])
    for name in ("constant_epoch", "regimes", "lr_sweep"):
        figure = figures.draw(name, own, "own", protocol, {})
        words = f"{figure._suptitle.get_text()} {figure._supxlabel.get_text()}"
        assert "paper" not in words, name
        assert "torch's own of any other optimizer" in " ".join(words.split())
        labels = [text.get_text() for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label, axes.title)]
        assert not any("effective" in label for label in labels), name


def test_curves_of_ones_own_network_are_drawn_unless_there_is_one_evaluation(own_study):
    config, _, _ = own_study
    assert curves_arguments(config, "own") == [
        "--benchmark=own",
        "--optimizer=sgd",
        "--budget=epochs4",
        "--batch-size",
        "16",
        "64",
    ]
    listed = grid.curve_cells(config, "own", curves_wanted(config, "own"))
    assert {(cell.optimizer, cell.batch_size, cell.lr) for cell in listed} == {
        ("sgd", size, lr) for size in (16, 64) for lr in ("0.5", "1", "2")
    }
    assert curves_wanted(config | {"evaluations": 1}, "own") is None
    assert curves_wanted(validate(STUDY | {"evaluations": 4}), "wrn_digits") is None
