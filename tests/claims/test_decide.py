"""What would decide a claim: foreseen seeds against a closed form, and advice whose lines are a config that trains what they say."""

import copy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from test_claims import sweep_of_runs

from sgdnoise.analysis.estimate import NUM_DRAWS
from sgdnoise.analysis.looks import ONLY
from sgdnoise.analysis.optimum import optimum_table
from sgdnoise.analysis.recommend import recommend
from sgdnoise.claims import decide, foresight
from sgdnoise.claims.contrasts import QUANTITIES, Cell, Contrast
from sgdnoise.claims.decide import Study, advise, listed
from sgdnoise.claims.measurements import measure
from sgdnoise.claims.verdicts import decide_claims
from sgdnoise.cli.main import main
from sgdnoise.results.tables import read_table
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range
from sgdnoise.study.config import grid_part, validate

LRS = [2.0**k for k in range(-2, 4)]
SECONDS = 10.0


class Exact:
    """Stands for a generator: every `num` of its draws have mean 0 and s.d. 1, so that a study measures the truth."""

    def __init__(self, num):
        steps = np.arange(num) - (num - 1) / 2
        self.draws, self.next = (steps / steps.std(ddof=1) if num > 1 else steps), 0

    def normal(self):
        self.next += 1
        return self.draws[(self.next - 1) % len(self.draws)]


def study_of(num=3, lrs=LRS, noise=0.004, best=(1, 1)):
    """A study of the Wide-ResNets' sibling at one batch size for two optimizers whose optimal learning rates are `best`."""
    cells = pd.concat(
        sweep_of_runs(
            [64],
            lambda _, lr, at=at: 0.9 - 0.01 * np.log2(lr / at) ** 2,
            lrs,
            num,
            max(num - 1, 1),
            Exact(num),
            noise,
            optimizer,
        )
        for optimizer, at in zip(("sgd", "momentum"), best, strict=True)
    )
    # A second batch size, since the evidence for a claim compares at least two.
    cells = pd.concat([cells, cells.assign(batch_size=128, num_steps=32)], ignore_index=True).assign(
        device_seconds=SECONDS, examples_per_second=100.0, device="a CPU"
    )
    window = {"64": [min(lrs), max(lrs)], "128": [min(lrs), max(lrs)]}
    mode = {"epochs": 4, "sgd": window, "momentum": window}
    seeds = {"num": num, "keep": max(num - 1, 1)}
    config = validate({"benchmarks": {"wrn_digits": {"seeds": seeds, "constant_epoch": mode}}})
    return config, cells


def ask(config, cells, name="5"):
    """Return one claim as decided by a sibling, and its study."""
    optimum = optimum_table(cells, config)
    found = measure(optimum, cells)
    decided = decide_claims(optimum, {"wrn_digits": "wrn_cifar10"}, found)
    (one,) = (one for one in decided if (one.role, one.claim.name) == ("sibling", name))
    return one, Study(config, cells, optimum, found)


def with_lines(config, lines):
    """Do what the lines say: a dotted key has a new value, or one override more."""
    study = {"benchmarks": config["benchmarks"]}
    for line in lines:
        key, _, value = line.partition(": ")
        if key == "overrides":
            study.setdefault("overrides", []).append(yaml.safe_load(value))
        else:
            *parents, last = key.split(".")
            study = copy.deepcopy(study)
            entry = study
            for name in parents:
                entry = entry[name]
            assert last in entry
            entry[last] = yaml.safe_load(value)
    return validate(study)


def new_cells(config, lines):
    before, after = ({cell.path: cell for cell in grid.cells(one)} for one in (config, with_lines(config, lines)))
    assert before.keys() <= after.keys()  # nothing is trained again
    return [cell for path, cell in after.items() if path not in before]


def num_runs(cells):
    return sum(len(seed_range(cell.seeds)) for cell in cells)


# Foresight


@pytest.mark.parametrize(("effect", "error"), [(0.0, 0.1), (0.0, 0.3), (0.2, 0.2), (-0.9, 0.1)])
def test_the_chance_of_a_decision_is_that_of_a_test_of_equivalence(effect, error):
    """Normal errors: the estimate has to be within the band by 1.645 errors, or beyond it by as much."""
    contrast = Contrast("", {Cell("error", "sgd", 64): 1.0}, -0.5, 0.5)
    draws = effect + error * np.random.default_rng(0).standard_normal((1, NUM_DRAWS))
    reach = 1.645 * error
    inside = stats.norm.cdf((0.5 - reach - effect) / error) - stats.norm.cdf((-0.5 + reach - effect) / error)
    outside = stats.norm.cdf((-0.5 - reach - effect) / error) + stats.norm.sf((0.5 + reach - effect) / error)
    found = foresight.decided_share([contrast], draws, np.array([[effect]]), np.zeros(1), ONLY)
    assert found[0] == pytest.approx(max(inside, 0) + outside, abs=0.05)


def test_a_claim_is_decided_by_all_of_its_contrasts_together():
    low, high = (Contrast("", {Cell("error", "sgd", 64): 1.0}, *band) for band in ((0.0, np.inf), (-np.inf, 1.0)))
    draws = np.random.default_rng(0).standard_normal((2, NUM_DRAWS)) * 0.01
    effects = np.array([[0.5, 0.5, 0.5], [0.5, 1.0, 2.0]])  # agrees, at the end of a band, disagrees
    found = foresight.decided_share([low, high], draws, effects, np.zeros(2), ONLY)
    assert (found[0], found[2]) == (1, 1)
    assert found[1] < 0.15


def test_what_seeds_do_not_remove_scatters_no_estimate():
    contrast = Contrast("", {Cell("lr", "sgd", 64): 1.0}, -1.0, 1.0)
    draws = np.random.default_rng(0).uniform(-0.9, 0.9, (1, NUM_DRAWS))
    width = np.array([0.9 * 1.8])
    assert foresight.decided_share([contrast], draws, np.zeros((1, 1)), width, ONLY) > 0.95
    assert foresight.decided_share([contrast], draws, np.zeros((1, 1)), np.zeros(1), ONLY) < 0.5


def test_enough_is_the_first_number_with_the_power():
    assert foresight.enough(np.array([0.9] * 8)) == 1
    assert foresight.enough(np.array([0.1] * 8)) == np.inf


# Advice


@pytest.fixture
def few_rungs(monkeypatch):
    monkeypatch.setattr(foresight, "LADDER", (1, 16, 64))


@pytest.mark.usefixtures("few_rungs")
def test_seeds_are_advised_that_train_only_what_they_say():
    config, cells = study_of(noise=0.012, lrs=[2.0**k for k in range(-4, 6)])
    decided, study = ask(config, cells)
    assert {one.state for one in decided.outcomes} == {"noise"}
    advice = advise(decided, study)
    assert advice.text.startswith("+")
    assert "as the effect is uncertain): 64 of momentum at lr " in advice.text
    added = new_cells(config, advice.lines)
    (more,) = {yaml.safe_load(line.partition(": ")[2])["add_seeds"] for line in advice.lines}
    assert {(cell.optimizer, cell.batch_size, cell.seeds) for cell in added} == {
        (name, 64, f"3-{2 + more}") for name in ("sgd", "momentum")
    }
    assert num_runs(added) * SECONDS == pytest.approx(advice.seconds)
    assert len(added) < 2 * 10  # not at learning rates that are far from the optimum
    # More noise, more seeds.
    noisier = advise(*ask(*study_of(noise=0.016, lrs=[2.0**k for k in range(-4, 6)])))
    assert noisier.seconds > advice.seconds


@pytest.mark.usefixtures("few_rungs")
def test_an_effect_at_the_end_of_its_band_is_called_so():
    config, cells = study_of(lrs=[2.0**k for k in range(-4, 6)], best=(1, 2), noise=0.01)
    decided, study = ask(config, cells)
    assert {one.state for one in decided.outcomes} == {"noise"}
    advice = advise(decided, study)
    assert advice.text.startswith("64 seeds more would decide with a probability of 0.")
    assert advice.text.endswith("its value lies too near the end of what agrees for its noise")
    assert np.isnan(advice.seconds)
    assert advice.lines == ()


@pytest.mark.usefixtures("few_rungs")
def test_learning_rates_too_far_apart_are_halved_in_their_steps():
    config, cells = study_of(lrs=[4.0**k for k in range(-3, 4)], best=(1, 1.5), noise=0.001)
    config["benchmarks"]["wrn_digits"]["lr_ratio"] = 4
    advice = advise(*ask(config, cells))
    assert advice.text.startswith("64 seeds more would decide with a probability of 0.")
    line = "benchmarks.wrn_digits.lr_ratio: 2"
    assert advice.text.endswith(
        f"its learning rates are too far apart, or too few: {line} halves their steps; no run is trained again"
    )
    added = {cell.lr for cell in new_cells(config, [line])}
    assert added == {f"{2.0**k:.4g}" for k in range(-5, 6, 2)}


def test_windows_that_are_too_narrow_are_widened():
    config, cells = study_of(lrs=[1.0, 2.0, 4.0], best=(4, 1))
    advice = advise(*ask(config, cells))
    assert advice.lines == (
        "benchmarks.wrn_digits.constant_epoch.momentum.64: [0.5, 4]",
        "benchmarks.wrn_digits.constant_epoch.sgd.64: [1, 8]",
    )
    added = new_cells(config, advice.lines)
    assert {(cell.optimizer, cell.lr) for cell in added} == {("momentum", "0.5"), ("sgd", "8")}
    assert num_runs(added) * SECONDS == advice.seconds == 60
    assert advice.text.endswith("about 60 seconds; then look again")


def test_one_seed_is_asked_for_more_before_anything_else():
    config, cells = study_of(num=1)
    decided, study = ask(config, cells)
    assert {one.state for one in decided.outcomes} == {"unknown"}
    advice = advise(decided, study)
    assert advice.text.startswith("+2 seeds, and then the noise is known: ")
    added = new_cells(config, advice.lines)
    assert {cell.seeds for cell in added} == {"1-2"}
    assert len(added) == 2 * len(LRS)
    assert num_runs(added) * SECONDS == advice.seconds


def test_one_seed_whose_optimum_is_at_an_edge_is_asked_for_a_wider_window_of_its_own_metric(tmp_path):
    """The train metric is best at the high end, the test metric is enclosed: an empty text, which a table that is read has as NaN."""
    config, cells = study_of(num=1)
    optimum_table(cells.assign(train_objective=-cells["lr"]), config).to_csv(tmp_path / "optimum.csv", index=False)
    optimum = read_table(tmp_path / "optimum.csv")
    study = Study(config, cells, optimum, measure(optimum, cells))
    ends = {name: decide.open_ends(("wrn_digits", "constant_epoch", "sgd", 64, name), study) for name in QUANTITIES}
    assert ends == {name: [] for name in QUANTITIES} | {"stable_lr": ["high"], "best_train": ["high"], "train_lr": ["high"]}


def test_decided_claims_and_missing_cells_get_no_advice():
    config, cells = study_of(noise=0.0005)
    decided, study = ask(config, cells)
    assert {one.state for one in decided.outcomes} == {"agrees"}
    paper = decide_claims(study.optimum, {}, study.found)
    assert {advise(one, study).text for one in [decided, *paper]} == {""}


def test_a_time_that_was_not_measured_is_said():
    config, cells = study_of(num=1)
    advice = advise(*ask(config, cells.assign(device_seconds=np.nan)))
    assert advice.text.endswith("time not measured")


def test_points_that_several_quantities_need_are_advised_once():
    config, cells = study_of(num=1)
    _, study = ask(config, cells)
    keys = [("wrn_digits", "constant_epoch", "sgd", 64, quantity) for quantity in ("lr", "error", "best_train")]
    advice = decide.seeds_advice(keys, 2, "", study)
    assert len(advice.lines) == 1
    assert advice.seconds == 2 * SECONDS * len(LRS)


# The verb


def test_the_list_has_the_cheapest_first(tmp_path, monkeypatch, capsys):
    config, cells = study_of(num=1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"benchmarks": config["benchmarks"]}))
    assert main(["decide"]) == 1
    assert "results/claims.csv is missing; make it with: sgdnoise run CONFIG -- results/claims.csv" in capsys.readouterr().err
    (tmp_path / "Snakefile").touch()
    assert main(["decide"]) == 1
    assert "results/claims.csv is missing; make it with: snakemake" in capsys.readouterr().err
    cells.to_csv("results/cells.csv", index=False)
    tables = ["--config=config.yaml", "--cells=results/cells.csv"]
    assert main(["optimum", *tables, "--out=results/optimum.csv"]) == 0
    assert main(["claims", *tables, "--optimum=results/optimum.csv", "--out=results/claims.csv"]) == 0
    pd.DataFrame({"benchmark": ["wrn_digits"], "optimizer": "sgd", "metric": "test_accuracy", "decide": "add x"}).to_csv(
        "results/regimes.csv", index=False
    )
    (tmp_path / "results/grid.json").write_text(grid_part(config))
    capsys.readouterr()
    assert main(["decide"]) == 0
    lines = capsys.readouterr().out.splitlines()
    claims = pd.read_csv("results/claims.csv")
    seconds = [claims.query("claim == @name and role == 'sibling'")["decide_seconds"].item() for name in names_of(lines)]
    assert len(seconds) == 4
    assert seconds == sorted(seconds)
    assert lines[1].startswith("    overrides: {benchmark: wrn_digits, optimizer: ")
    assert lines[-1] == "regimes, wrn_digits, sgd, test_accuracy: add x"


def test_the_list_has_what_advice_leaves_open_with_lines_that_the_config_takes(tmp_path, monkeypatch, capsys):
    config, cells = study_of(num=3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    advice = recommend(cells, config)
    nothing = pd.DataFrame({"decide": [np.nan], "decide_seconds": [np.nan], "decide_lines": [np.nan]})
    lines = listed(nothing, nothing, advice)
    rows = [row for one in advice for its in one.optimizers for row in its.rows if row.more_at]
    assert rows
    assert sum(line.startswith("advice, wrn_digits, ") for line in lines) >= len(rows)
    added = [yaml.safe_load(line.removeprefix("    overrides: ")) for line in lines if "add_seeds" in line]
    assert num_runs(grid.cells(validate(config | {"overrides": added}))) > num_runs(grid.cells(config))


def names_of(lines):
    return [line.split()[1] for line in lines if line.startswith("claim ")]


def test_nothing_left_open_is_said():
    nothing = partial(pd.DataFrame, {"decide": [np.nan], "decide_seconds": [np.nan], "decide_lines": [np.nan]})
    assert listed(nothing(), nothing(), []) == ["everything is decided, or lacks cells that `needs` in claims.csv names"]
