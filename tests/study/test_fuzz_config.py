"""The whole way in, over many configs: valid ones plan and come back from their frozen form; damage is refused or changes nothing.

20 configs and 60 damaged ones in the fast suite, 1,000 and 5,000 in the slow one, always the same.
"""

import copy
import json
import math

import pytest
import yaml
from conftest import ROOT
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sgdnoise import benchmarks
from sgdnoise.study import cost, figures, grid, windows
from sgdnoise.study.config import grid_part, load_config, validate
from sgdnoise.study.optimizers import OPTIMIZERS

SAME = {"deadline": None, "derandomize": True, "database": None, "phases": [Phase.explicit, Phase.generate]}  # unshrunk: quick
OPTIONAL = st.booleans()
FEW = {"autoencoder_digits": (0.08, 2), "lstm_synthetic": (1, 2**0.5), "wrn_digits": (1, 2), "autoencoder_mnist": (0.08, 2)}
OWN = "nan"  # a benchmark of one's own, by a name that is none elsewhere


@st.composite
def a_window(draw, name):
    """Two points of the benchmark's grid, rounded as a person would."""
    anchor, ratio = FEW[name]
    low = draw(st.integers(-30, 30))
    high = low + draw(st.integers(0, 3))
    return [float(f"{anchor * ratio**k:.4g}") for k in (low, high)]


def some_windows(draw, name, keys, written):
    """One or a few windows, with keys as numbers or as text."""
    return {
        written(key): draw(a_window(name)) for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True))
    }


@st.composite
def a_benchmark(draw, name):
    num = draw(st.integers(1, 20))
    entry = {"seeds": {"num": num, "keep": draw(st.integers(1, num))}}
    if draw(OPTIONAL):
        entry["seeds"]["first"] = draw(st.integers(0, 10**18))
    written, sizes = draw(st.sampled_from([int, str])), [1, 2, 16, 64, 128]
    for mode in draw(st.lists(st.sampled_from(list(grid.MODES)), min_size=1, unique=True)):
        fixed = grid.MODES[mode]
        limit = {"epochs": 10**5, "steps": 10**12, "batch_size": 128}[fixed]
        entry[mode] = {fixed: draw(st.integers(1, limit) if fixed != "epochs" else st.integers(4, limit))}
        for optimizer in draw(st.lists(st.sampled_from(list(OPTIMIZERS)), min_size=1, unique=True)):
            keys = [4, 5, 64, 999, 10**5] if mode == "unlimited" else sizes
            entry[mode][optimizer] = some_windows(draw, name, keys, written)
    if draw(OPTIONAL):
        entry["settings"] = draw(some_settings(name))
    used = sorted({int(key) for mode in ("constant_epoch", "constant_step") for key in _keys(entry.get(mode, {}))})
    if draw(OPTIONAL):
        entry["lr_ratio"] = 2 ** (1 / draw(st.sampled_from([2, 4, 8])))  # other grids lack the ends of windows
    alone = any(OPTIMIZERS[key].source for mode in grid.MODES for key in entry.get(mode, {}) if key in OPTIMIZERS)
    if used and not alone and draw(OPTIONAL):
        size = draw(st.sampled_from(used))
        entry["processes"] = {
            written(size): draw(st.sampled_from([number for number in range(1, size + 1) if size % number == 0]))
        }
    return entry


def _keys(mode):
    return [key for found in mode.values() if isinstance(found, dict) for key in found]


@st.composite
def some_settings(draw, name):
    offered = benchmarks.protocol(name)["settings"]
    chosen = {}
    for setting in draw(st.lists(st.sampled_from(sorted(offered)), unique=True)):
        offer = offered[setting]
        if isinstance(offer, list):
            chosen[setting] = draw(st.sampled_from(offer))
        elif isinstance(offer, bool):
            chosen[setting] = draw(st.booleans())
        elif setting == "num_train":
            chosen[setting] = draw(st.integers(4096 if "lstm" in name else 600, offer["to"]))
        elif setting == "ghost_batch":
            chosen[setting] = draw(st.integers(1, 1024))
        elif setting == "micro_batch":
            chosen[setting] = draw(st.integers(0, 10**9))
        else:
            chosen[setting] = draw(st.floats(1e-12, 0.999))
    return chosen


@st.composite
def a_config(draw):
    names = draw(st.lists(st.sampled_from(sorted(FEW)), min_size=1, max_size=2, unique=True))
    config = {"benchmarks": {name: draw(a_benchmark(name)) for name in names}}
    if draw(OPTIONAL):
        entry = draw(a_benchmark("wrn_digits"))
        config["benchmarks"][OWN] = entry | {"file": str(ROOT / "src/sgdnoise/benchmarks/wrn_digits.py")}
    every = list(config["benchmarks"])
    path = st.sampled_from(["out", "~/out", "/tmp/größer", "a b/c", "./x", "$HOME"])
    top = {
        "results": path,
        "data": path,
        "device": st.sampled_from(["auto", "cpu", "cuda"]),
        "engine": st.sampled_from(["auto", "plain", "packed", "graph"]),
        "evaluations": st.integers(1, 100_000),
        "checkpoint_seconds": st.integers(1, 10**9),
    }
    for key, strategy in top.items():
        if draw(OPTIONAL):
            config[key] = draw(strategy)
    if draw(OPTIONAL):
        fewest = min(entry["seeds"]["num"] for entry in config["benchmarks"].values())
        config |= {
            "extend_grid": True,
            "extend_limit": draw(st.integers(0, 50)),
            "bracket_seeds": draw(st.integers(0, fewest - 1)),
        }
    elif draw(OPTIONAL):
        shards = draw(st.integers(1, 99))
        config |= {"allow_missing": draw(OPTIONAL), "shard": f"{draw(st.integers(1, shards))}/{shards}"}
    if draw(OPTIONAL):
        run = {"optimizer": draw(st.sampled_from(list(OPTIMIZERS))), "budget": draw(st.sampled_from(["epochs7", "steps3"]))}
        run |= {"batch_size": draw(st.sampled_from([1, 64])), "lr": draw(st.floats(1e-30, 1e30))}
        if draw(OPTIONAL):
            run |= {"at": draw(st.lists(st.floats(1e-9, 1), min_size=1)), "num_batches": draw(st.integers(8, 10**6))}
        config["noise_scale"] = {draw(st.sampled_from(every)): run}
    if draw(OPTIONAL):
        num = draw(st.integers(1, 5))
        config["overrides"] = [{"benchmark": draw(st.sampled_from(every)), "seeds": {"num": num + 1, "keep": num}}]
    if draw(OPTIONAL):
        config["figures"] = {
            "dpi": draw(st.integers(50, 1200)),
            "context": draw(st.sampled_from(["paper", "poster"])),
            "folder": "f",
        }
        config["figures"]["formats"] = draw(st.lists(st.sampled_from(["png", "pdf", "svg"]), min_size=1, unique=True))
        swept = {
            name: sorted({int(key) for key in _keys(config["benchmarks"][name].get("constant_epoch", {}))}) for name in every
        }
        config["figures"]["lr_sweep"] = {name: sizes for name, sizes in swept.items() if sizes and draw(OPTIONAL)}
    return config


def planned(config):
    """All that is planned from a valid config: what may be trained, what is drawn, what it costs."""
    cells = grid.cells(windows.widest(config)) if config["extend_grid"] else grid.cells(config)
    if config["extend_grid"]:
        assert {point: grid.cells(study) for point, study in windows.studies(config).items()}.keys() == windows.ladders(
            config
        ).keys()
        assert all(window.path for window in windows.starts(config))
    assert len({cell.path for cell in cells}) == len(cells)
    assert all(1 <= cell.num_steps <= 10**12 and math.isfinite(float(cell.lr)) and float(cell.lr) > 0 for cell in cells)
    assert sum(one.cells for one in cost.costs(config, None).values()) == len(grid.cells(config))
    drawn = [figures.figure_arguments(config, path) for path in figures.figure_paths(config)]
    return cells, grid.noise_cells(config), drawn, config


def check_valid(config, folder):
    valid = validate(config)
    before, copied = planned(valid), copy.deepcopy(valid)
    assert validate(valid) == valid == copied
    text = grid_part(valid)
    frozen = validate(json.loads(text))
    assert grid_part(frozen) == text
    assert set(grid.cells(frozen)) == set(grid.cells(valid))
    for name, written in (("grid.json", text), ("config.yaml", yaml.safe_dump(config, allow_unicode=True, sort_keys=False))):
        (folder / name).write_text(written, encoding="utf-8")
    assert grid_part(load_config(folder / "grid.json")) == text
    assert planned(load_config(folder / "config.yaml")) == before


BAD = [True, None, "", "text", "032", -1, 0, 1.5, 10**30, 1e300, float("nan"), float("inf"), [], [1], {}, {"a": 1}, {1: {2: 3}}]


def places(config, path=()):
    """Yield every path in a config."""
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def a_damaged_config(draw):
    """The keys that may be named of what was done to a valid config, and the text of the result."""
    config = draw(a_config())
    where = draw(st.sampled_from(list(places(config))))
    damaged = copy.deepcopy(config)
    parent = damaged
    for key in where[:-1]:
        parent = parent[key]
    named = [str(key) for key in where[-3:]]
    last, kind = where[-1], draw(st.sampled_from(["value", "rename", "add", "double"]))
    if kind == "value":
        parent[last] = draw(st.sampled_from(BAD))
    elif isinstance(parent, list):
        parent.append(draw(st.sampled_from(BAD)))
    elif kind == "rename":
        named.append(draw(st.sampled_from([f"{last}x", f"x{last}", f" {last}", 0, -7, f"0{last}", "ä\nb"])))
        parent[named[-1]] = parent.pop(last)
    elif kind == "add":
        named.append(draw(st.sampled_from(["x", "seed", 0, "1.0", "l2"])))
        parent[named[-1]] = draw(st.sampled_from(BAD))
    else:
        parent["a key twice"] = parent[last]
    text = yaml.safe_dump(damaged, allow_unicode=True, sort_keys=False, width=10**6)
    if kind == "double" and isinstance(parent, dict):
        text = text.replace("a key twice", str(last))
    return named, text


def check_damaged(case, folder):
    """Either it is refused in one line that names the key, or where it lies, or it is a valid config that plans as one."""
    named, text = case
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    try:
        found = load_config(folder / "config.yaml")
        planned(found)
    except ValueError as error:
        message = str(error).removeprefix(f"cannot read the config {folder / 'config.yaml'}: ")
        assert "\n" not in message
        assert any(str(name) in message or repr(name) in message for name in named) or "top level" in message, (message, named)
        return
    assert validate(json.loads(json.dumps(found))) == found


@settings(max_examples=20, **SAME)
@given(config=a_config())
def test_valid_configs_plan_and_come_back_from_their_frozen_form(config, tmp_path_factory):
    check_valid(config, tmp_path_factory.getbasetemp())


@settings(max_examples=60, **SAME)
@given(case=a_damaged_config())
def test_damage_is_refused_in_one_line_or_makes_another_valid_config(case, tmp_path_factory):
    check_damaged(case, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@settings(max_examples=1000, **SAME)
@given(config=a_config())
def test_many_valid_configs(config, tmp_path_factory):
    check_valid(config, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@settings(max_examples=5000, **SAME)
@given(case=a_damaged_config())
def test_much_damage(case, tmp_path_factory):
    check_damaged(case, tmp_path_factory.getbasetemp())
