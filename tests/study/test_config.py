"""Configs are read as a person means them, or refused in one line that names the place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, changed

from sgdnoise.cli.main import main
from sgdnoise.study import grid
from sgdnoise.study.config import grid_part, load_config, validate

TEXT = """\
results: results
evaluations: 2
benchmarks:
  wrn_digits:
    seeds: {num: 3, keep: 2}
    settings: {norm_eps: 1.0e-4}
    constant_epoch:
      epochs: 4
      sgd:
        64: [0.5, 1]
        128: [1, 2]
figures:
  dpi: 100
"""
STUDY = yaml.safe_load(TEXT)
NETWORK = '''\
PROTOCOL = {
    "title": "Mine",
    "dataset": "rows",
    "num_train": 1024,
    "num_test": 10,
    "lr_grid": {"anchor": 1, "ratio": 2},
    "metrics": {"test_loss": "min"},
    "settings": {"width": 3, "slope": 0.5, "norm": True, "kind": "a", "pick": [1, 2], "free": None, "part": {"default": 1, "to": 4}},
}
ROWS = 3


def rows(folder):
    """Make the rows."""
    return {"train_x": ROWS}


def benchmark(settings):
    return Benchmark(arrays=rows)
'''


def written(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path):
    """Return why a config is refused, in one line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the callers look at the message
        grid.cells(load_config(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Keys


@pytest.mark.parametrize(
    ("old", "new", "key", "lines"),
    [
        ("[0.5, 1]\n", "[0.5, 1]\n        64: [0.25, 0.25]\n", "benchmarks.wrn_digits.constant_epoch.sgd.64", (10, 11)),
        ("[0.5, 1]\n", '[0.5, 1]\n        "64": [0.25, 0.25]\n', "benchmarks.wrn_digits.constant_epoch.sgd.64", (10, 11)),
        ("[0.5, 1]\n", "[0.5, 1]\n        +64: [0.25, 0.25]\n", "benchmarks.wrn_digits.constant_epoch.sgd.64", (10, 11)),
        ("evaluations", "'results': elsewhere\nevaluations", "results", (1, 2)),
        ("figures", "  wrn_digits: {}\nfigures", "benchmarks.wrn_digits", (4, 12)),
        ("keep: 2}", "keep: 2, num: 4}", "benchmarks.wrn_digits.seeds.num", (5, 5)),
        ("    settings", "    settings: {}\n    settings", "benchmarks.wrn_digits.settings", (6, 7)),
        ("figures", "<<: {device: cpu}\n<<: {data: a}\nfigures", "<<", (12, 13)),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_both_lines(tmp_path, old, new, key, lines):
    assert TEXT.count(old) == 1
    message = refused(written(tmp_path, TEXT.replace(old, new)))
    assert message.startswith(f"cannot read the config {tmp_path / 'config.yaml'}: ")
    assert f"{key} is there twice, in lines {lines[0]} and {lines[1]}" in message


def test_a_doubled_key_in_json_is_named_with_both_lines(tmp_path):
    text = json.dumps(STUDY, indent="\t").replace('"evaluations": 2', '"evaluations": 2,\n\t"evaluations": 3')
    assert "evaluations is there twice, in lines 3 and 4" in refused(written(tmp_path, text))


def test_keys_that_are_equal_as_text_are_refused_after_merging():
    with pytest.raises(ValueError, match="constant_epoch.sgd: the key 64 is there twice, as a number and as text"):
        validate(changed(STUDY, {"benchmarks.wrn_digits.constant_epoch.sgd": {64: [1, 1], "64": [1, 2]}}))


def test_a_merged_mapping_is_overridden_whatever_its_keys_look_like(tmp_path):
    text = TEXT.replace("sgd:\n", "sgd: &windows\n") + "<<: {data: a, device: cpu}\ndevice: auto\n"
    text = text.replace("figures:", '      momentum: {<<: *windows, "64": [0.25, 0.5]}\nfigures:')
    config = load_config(written(tmp_path, text))
    assert (config["data"], config["device"]) == ("a", "auto")
    assert config["benchmarks"]["wrn_digits"]["constant_epoch"]["momentum"] == {"64": [0.25, 0.5], "128": [1, 2]}


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}"])
def test_a_config_that_contains_itself(tmp_path, text):
    assert "contains itself" in refused(written(tmp_path, text))


# Words

AMBIGUOUS = ["032", "089", "0o32", "0x20", "0b11", "1_000", "1:30", "1:30.5", "2020-01-01", "2020-01-01 10:00:00", "1e3", "1.5e3"]
AMBIGUOUS += ["1_0.5", "+.5", "-01.5", "yes", "No", "ON", "off", "=", "00"]


@pytest.mark.parametrize("word", AMBIGUOUS)
@pytest.mark.parametrize("template", ["results: {}", "benchmarks:\n  a: [{}]", "x:\n  {}: 1", "x:\n  y: {{z: {}}}"])
def test_a_word_that_versions_of_yaml_read_differently(tmp_path, template, word):
    message = refused(written(tmp_path, template.format(word)))
    assert f"line {template.count(chr(10)) + 1}: " in message
    assert f"the versions of YAML read {word} differently" in message


@pytest.mark.parametrize("word", ["null", "~", "", "true", "64.0", ".inf", "[1]", "{a: 1}"])
def test_a_key_that_is_neither_text_nor_a_whole_number(tmp_path, word):
    assert "line 2: x" in refused(written(tmp_path, f"x:\n  ? {word}\n  : 1"))


@pytest.mark.parametrize("value", ["!!int '032'", "!!str 032", "!!python/tuple [1]", "!own {a: 1}", "!!set {a}", "!!binary aGk="])
def test_tags_are_refused(tmp_path, value):
    assert "without the tag" in refused(written(tmp_path, f"results: {value}"))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0.001", 0.001),
        ("1.0e-3", 0.001),
        (".5", 0.5),
        ("2.", 2),
        ("0", 0),
        ("-3", -3),
        ("true", True),
        ("nan", "nan"),
        ("n", "n"),
    ]
    + [(f"'{word}'", word) for word in AMBIGUOUS],
)
def test_plain_words_and_quoted_ones_are_read_as_written_as_snakemake_reads_them(tmp_path, word, value):
    from snakemake.common.configfile import load_configfile

    from sgdnoise.study.reader import read_file

    path = written(tmp_path, f"x: {word}\n")
    assert read_file(path) == {"x": value} == dict(load_configfile(str(path)))


def test_a_small_number_survives_the_frozen_grid(tmp_path):
    """JSON writes 1e-05, which is text in YAML 1.1."""
    config = validate(changed(STUDY, {"benchmarks.wrn_digits.settings": {"norm_eps": 0.00001}}))
    path = tmp_path / "grid.json"
    path.write_text(grid_part(config))
    assert load_config(path)["benchmarks"] == config["benchmarks"]


# Files


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32", "cp1252"])
def test_a_file_that_is_not_utf8_is_named(tmp_path, encoding):
    message = refused(written(tmp_path, f"# größer\n{TEXT}".encode(encoding)))
    assert f"cannot read the config {tmp_path / 'config.yaml'}: it is not text in UTF-8" in message


def test_utf8_with_a_byte_order_mark_is_utf8(tmp_path):
    assert load_config(written(tmp_path, f"# größer\n{TEXT}".encode("utf-8-sig"))) == validate(STUDY)


@pytest.mark.parametrize("name", ["results", "data", "figures.folder", "benchmarks.own.file"])
def test_home_is_written_out_in_every_path(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").write_text(NETWORK)
    study = changed(STUDY, {"benchmarks.own": STUDY["benchmarks"]["wrn_digits"] | {"settings": {}, "file": str(tmp_path / "x")}})
    config = validate(changed(study, {name: "~/x"}))
    *parents, last = name.split(".")
    for key in parents:
        config = config[key]
    assert config[last] == f"{tmp_path}/x"
    with pytest.raises(ValueError, match=rf"{name}: '~nobody_here/x': there is no such home folder; write ./~nobody"):
        validate(changed(study, {name: "~nobody_here/x"}))
    assert validate(changed(study, {"results": "$HOME/x"}))["results"] == "$HOME/x"  # as config.yaml says


def test_home_is_written_out_in_every_path_of_the_command_line(tmp_path, monkeypatch):
    """Of every verb: what is no path, or no path of an option, has another type."""
    from sgdnoise.cli.main import KINDS, verbs_of
    from sgdnoise.cli.verbs import file_name, to_path

    monkeypatch.setenv("HOME", str(tmp_path))
    assert (file_name("~/a"), to_path("~/a")) == (f"{tmp_path}/a", tmp_path / "a")
    words = {"--config", "--file", "--data", "--out", "--cells", "--optimum", "--claims", "--regimes", "--noise", "--figures"}
    words |= {"--roots", "--throughput", "file", "folders"}
    for verb in (verb for kind in KINDS for verb in verbs_of(kind)):
        types = {name: details.get("type") for names, details in verb.options for name in names}
        assert all(types[name] in (file_name, to_path) for name in words & set(types)), verb.name


def test_the_file_of_a_benchmark_is_relative_to_the_config_that_names_it(tmp_path, monkeypatch):
    folder = tmp_path / "work" / "studies"
    folder.mkdir(parents=True)
    entry = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {64: [1, 1]}}}
    study = {"benchmarks": {"near": entry | {"file": "./net.py"}, "far": entry | {"file": str(tmp_path / "net.py")}}}
    for place in (tmp_path / "net.py", folder / "net.py"):
        place.write_text(NETWORK)
    for place in (folder, folder.parent):
        (place / "study.yaml").write_text(yaml.safe_dump(study))

    def files(config):
        return [config["benchmarks"][name]["file"] for name in ("near", "far")]

    monkeypatch.chdir(folder.parent)
    far = str(tmp_path / "net.py")
    for path in ("studies/study.yaml", folder / "study.yaml"):
        assert files(load_config(path)) == ["studies/net.py", far]
    for path in ("study.yaml", "./study.yaml", folder.parent / "study.yaml"):
        assert files(load_config(path)) == ["./net.py", far]  # as written: what was trained so is not trained again
    frozen = load_config("studies/study.yaml")
    Path("results").mkdir()
    Path("results/grid.json").write_text(grid_part(frozen))
    assert grid.cells(load_config("results/grid.json")) == grid.cells(frozen)
    monkeypatch.chdir(folder)
    assert files(load_config("../study.yaml")) == ["../net.py", far]


@pytest.mark.parametrize("folder", ["größer", "結果"])
def test_nothing_depends_on_the_locale(tmp_path, folder):
    """A config and a file of one's own with letters beyond ASCII; a path is refused where the locale has no name for it."""
    (tmp_path / "net.py").write_text(NETWORK.replace("Mine", "Größer"), encoding="utf-8")
    entry = {"file": "net.py", "seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {64: [1, 1]}}}
    text = yaml.safe_dump({"results": folder, "benchmarks": {"own": entry}}, allow_unicode=True)
    (tmp_path / "plain.yaml").write_text(f"# größer\n{text.replace(folder, 'out')}", encoding="utf-8")
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")

    def run(config, **variables):
        command = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning", "-m", "sgdnoise", "grid"]
        environment = os.environ | {"LC_ALL": "C"} | variables
        return subprocess.run([*command, f"--config={config}"], cwd=tmp_path, env=environment, capture_output=True)

    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert run("plain.yaml", **ascii_only).returncode == 0
    assert f"--out={folder}/cells".encode() in run("config.yaml", PYTHONUTF8="1").stdout
    done = run("config.yaml", **ascii_only)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert b"config: results: " in done.stderr
    assert b"set PYTHONUTF8=1" in done.stderr


# Numbers

SGD = "benchmarks.wrn_digits.constant_epoch.sgd"
NUMBERS = {  # every number of the schema, and a study that has it
    "evaluations": {},
    "checkpoint_seconds": {},
    "extend_limit": {"extend_grid": True},
    "bracket_seeds": {"extend_grid": True},
    "benchmarks.wrn_digits.lr_ratio": {},
    "benchmarks.wrn_digits.seeds.first": {},
    "benchmarks.wrn_digits.seeds.num": {},
    "benchmarks.wrn_digits.seeds.keep": {},
    "benchmarks.wrn_digits.processes.64": {"benchmarks.wrn_digits.processes": {}},
    "benchmarks.wrn_digits.constant_epoch.epochs": {},
    "benchmarks.wrn_digits.constant_step.steps": {"benchmarks.wrn_digits.constant_step": {"sgd": {64: [1, 1]}}},
    "benchmarks.wrn_digits.unlimited.batch_size": {"benchmarks.wrn_digits.unlimited": {"sgd": {4: [1, 1]}}},
    f"{SGD}.64.0": {},
    f"{SGD}.64.1": {},
    "overrides.0.batch_size": {"overrides": [{"benchmark": "wrn_digits", "seeds": {"num": 1, "keep": 1}}]},
    "overrides.0.lr": {"overrides": [{"benchmark": "wrn_digits", "seeds": {"num": 1, "keep": 1}}]},
    "noise_scale.wrn_digits.batch_size": {},
    "decide.max_seeds": {"decide": {"max_seeds": 9}},
    "decide.margin": {"decide": {"max_seeds": 9}},
    "noise_scale.wrn_digits.lr": {},
    "noise_scale.wrn_digits.num_batches": {},
    "noise_scale.wrn_digits.at.0": {},
    "figures.dpi": {},
    "optimizers.mine.final": {"optimizers.mine": {"class": "AdamW", "schedule": "cosine"}},
    "optimizers.mine.warmup_steps": {"optimizers.mine": {"class": "AdamW"}},
    "optimizers.mine.warmup_epochs": {"optimizers.mine": {"class": "AdamW"}},
    "optimizers.mine.groups.0.lr_factor": {"optimizers.mine": {"class": "AdamW", "groups": [{"match": "bias"}]}},
    "figures.lr_sweep.wrn_digits.0": {"figures.lr_sweep": {"wrn_digits": [64]}},
    "benchmarks.wrn_digits.settings.norm_eps": {},
    "benchmarks.wrn_digits.settings.norm_decay": {},
    "benchmarks.wrn_digits.settings.micro_batch": {},
}
NOISE = {"noise_scale": {"wrn_digits": {"optimizer": "sgd", "budget": "epochs1", "batch_size": 64, "lr": 1, "at": [0.5]}}}
BAD = [float("nan"), float("inf"), -float("inf"), -1, 1e300, 10**30, 2**64, True, "4", None, [1], {"a": 1}]


def planned(study):
    config = validate(study)
    return grid.cells(config), grid.noise_cells(config)


def test_noise_of_a_regulariser_that_makes_gradients_of_its_own_is_not_planned():
    study = changed(STUDY, NOISE | {"optimizers": {"sharp": {"optimizer": "momentum", "regulariser": "sam", "micro_batch": 4}}})
    with pytest.raises(ValueError, match="config: noise_scale.wrn_digits: optimizer sharp@0.1: what sam makes of gradients"):
        planned(changed(study, {"noise_scale.wrn_digits.optimizer": "sharp@0.1"}))


@pytest.mark.parametrize("place", NUMBERS)
def test_a_number_that_is_none_or_out_of_range_is_named(place):
    study = changed(STUDY | {"optimizers": {}}, NOISE | NUMBERS[place])
    for bad in BAD:
        with pytest.raises(ValueError, match="^config: ") as caught:
            planned(changed(study, {place: bad}))
        message = str(caught.value)
        assert "\n" not in message
        assert place.removesuffix(".0").removesuffix(".1") in message, bad


def test_every_number_of_the_schema_is_tried():
    schema = yaml.safe_load((ROOT / "src/sgdnoise/study/config.schema.yaml").read_text())

    def numbers(part):
        if isinstance(part, dict):
            own = {"type", "minimum"} <= set(part) and part["type"] in ("integer", "number")
            assert not own or "maximum" in part, part
            return own + sum(map(numbers, part.values()))
        return sum(map(numbers, part)) if isinstance(part, list) else 0

    assert numbers(schema) == 19  # some of them at several places


def test_a_study_may_have_a_step_between_learning_rates_of_its_own():
    """Which rates a window has, and no more: those that both grids have are the same cells."""
    octaves, halves, doubled = (
        [cell for cell in grid.cells(validate(changed(STUDY, {f"{SGD}.64": [1, 4]} | own))) if cell.batch_size == 64]
        for own in ({}, {"benchmarks.wrn_digits.lr_ratio": 1.41421356}, {"benchmarks.wrn_digits.lr_ratio": 4})
    )
    assert [cell.lr for cell in octaves] == ["1", "2", "4"]
    assert [cell.lr for cell in halves] == ["1", "1.414", "2", "2.828", "4"]
    assert halves[::2] == octaves
    assert doubled == octaves[::2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{SGD}.64": [-1, 1]}, "sgd.64.0: -1 is less than the minimum"),
        (
            {"benchmarks.wrn_digits.lr_ratio": 1},
            "lr_ratio: 1 is less than the minimum of 1.01; expected a number from 1.01 to 1000",
        ),
        (
            {"benchmarks.wrn_digits.lr_ratio": 4, f"{SGD}.64": [2, 2]},
            r"no learning rate of the grid 1 \* 4\^k lies in \[2, 2\]; widen the window",
        ),
        ({f"{SGD}.64": [2, 1]}, r"sgd.64: no learning rate .* lies in \[2, 1\]; the lowest comes first"),
        ({"evaluations": 4.0}, "evaluations: 4.0 is not of type 'integer'"),
        ({"overrides": [{"benchmark": "wrn_digits", "add_seeds": 0}]}, "overrides.0.add_seeds: 0 is less than the minimum"),
        (
            {"benchmarks.wrn_digits.seeds": {"first": 2**64, "num": 1, "keep": 1}},
            "seeds.first: a whole number of more than 64 bits",
        ),
        ({"benchmarks.wrn_digits.constant_epoch.epochs": 10**9}, "epochs: 1000000000 is greater than the maximum"),
        ({f"{SGD}.1000000000": [1, 1]}, "sgd: unknown key '1000000000'"),
        ({f"{SGD}.2048": [1, 1]}, "sgd.2048: batch size 2048 is more than the 1,024 training examples"),
        ({"benchmarks.wrn_digits.constant_epoch.sgd": {"64\n": [1, 1]}}, r"unknown key '64\\n'"),
        ({"benchmarks.wrn_digits.processes": {32: 2}}, "processes.32: no cell of this study has that batch size"),
        ({"figures": {"lr_sweep": {"wrn_digits": [32]}}}, "figures.lr_sweep.wrn_digits: batch size 32 has no window"),
        ({"overrides": [{"benchmark": "wrn_digits", "lr": None, "seeds": {"num": 1, "keep": 1}}]}, "overrides.0.lr: None is not"),
        ({"results": "a\n"}, r"results: 'a\\n' does not match"),
        ({"shard": "1/2\n"}, r"shard: '1/2\\n' does not match"),
        ({"data": float}, "data: .* is neither text nor a number"),
    ],
)
def test_other_slips_are_named(changes, message):
    with pytest.raises(ValueError, match=f"^config: .*{message}"):
        grid.cells(validate(changed(STUDY, changes)))


def test_a_budget_that_would_never_end_is_refused():
    study = changed(STUDY, {"benchmarks.wrn_digits.constant_epoch": {"epochs": 999_999_999, "sgd": {"1": [1, 1]}}})
    with pytest.raises(ValueError, match="sgd.1: budget epochs999999999 at batch size 1 has .* updates, more than"):
        grid.cells(validate(study))


# Settings


def own_cells(tmp_path, settings, text=NETWORK, **more):
    (tmp_path / "net.py").write_text(text)
    entry = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {64: [1, 1]}}}
    entry |= {"file": str(tmp_path / "net.py"), "settings": settings}
    return grid.cells(validate({"benchmarks": {"own": entry} | more}))


@pytest.mark.parametrize(
    ("benchmark", "setting", "bad", "right"),
    [
        ("wrn_digits", "norm_eps", [True, 0, -1e-5, 2, "small", None, [1]], "a number above 0 to 1"),
        ("wrn_digits", "norm_decay", [2, 1, -0.1, "fast", True, {}], "a number from 0 below 1"),
        ("wrn_digits", "micro_batch", [True, -1, 0.5, 64.0, "64", 10**12], "a whole number from 0 to 1000000000"),
        ("wrn_digits", "l2_scope", [True, 0, None, "none", ["all"]], r"one of \['all', 'weights'\]"),
        ("autoencoder_mnist", "num_train", [0, 60_001, 5000.0, True, "5000"], "a whole number from 1 to 60000"),
        ("resnet50_imagenet", "label_smoothing", [1, -0.1, True], "a number from 0 below 1"),
    ],
)
def test_settings_of_shipped_benchmarks_have_a_type_and_a_range(benchmark, setting, bad, right):
    windows = {"epochs": 5, "sgd": {64: [0.08, 8]}}
    for value in bad:
        entry = {"seeds": {"num": 1, "keep": 1}, "settings": {setting: value}, "constant_epoch": windows}
        with pytest.raises(ValueError, match=f"^config: benchmarks.{benchmark}.settings.{setting}: .* is not {right}$"):
            grid.cells(validate({"benchmarks": {benchmark: entry}}))


@pytest.mark.parametrize(
    ("setting", "good", "bad", "right"),
    [
        ("width", [1, -3], [3.5, True, "3", None], "a whole number as its default 3"),
        ("slope", [1, 0.25], [True, "0.5", None, [1]], "a number as its default 0.5"),
        ("norm", [False], [1, 0, "true", None], "true or false as its default True"),
        ("kind", ["b", ""], [1, True, None], "text as its default 'a'"),
        ("pick", [2, 1], [True, 3, "1", None], r"one of \[1, 2\]"),
        ("free", [1, 0.5, "a", True, None], [[1], {}], "text, true or false, or a number"),
        ("part", [4, -9], [5, 1.0, True], "a whole number to 4"),
    ],
)
def test_settings_of_ones_own_have_the_type_of_their_default(tmp_path, setting, good, bad, right):
    for value in good:
        (cell,) = own_cells(tmp_path, {setting: value})
        assert json.loads(cell.settings)[setting] == value
    for value in bad:
        with pytest.raises(ValueError, match=f"^config: benchmarks.own.settings.{setting}: .* is not {right}$"):
            own_cells(tmp_path, {setting: value})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1024", "0", r"PROTOCOL\['num_train'\]: 0 is not a whole number from 1"),
        ("1024", "1e3", r"PROTOCOL\['num_train'\]: 1000.0 is not a whole number"),
        ('"anchor": 1', '"anchor": -1', r"PROTOCOL\['lr_grid'\]: .* an anchor is from"),
        ('"ratio": 2', '"ratio": 1', "a ratio is from 1.01|a ratio from 1.01"),
        ('"ratio": 2', '"ratio": 1e999', r"PROTOCOL\['lr_grid'\]"),
        ('"rows"', '"../rows"', r"PROTOCOL\['dataset'\]: '../rows' is no name for a file"),
        ('"Mine"', '"{examples}"', r"PROTOCOL\['title'\]: only {num_train} may stand in braces"),
        ('"min"', '"low"', r"PROTOCOL\['metrics'\]"),
        (
            '{"default": 1, "to": 4}',
            '{"default": 1, "max": 4}',
            r"PROTOCOL\['settings'\]\['part'\]: .* bounds: from, above, to, below",
        ),
        ('{"default": 1, "to": 4}', "[]", r"PROTOCOL\['settings'\]\['part'\]: \[\] is not a list of choices"),
        ('"rows"', '"rows", "later": ["age"]', r"PROTOCOL\['later'\]: \['age'\] is not a list of names of its settings"),
        ('"Mine"', "TITLE", "PROTOCOL is read without running the file"),
        ('"Mine",', '"Mine"', "cannot be read as Python|line"),
        ("PROTOCOL = {", "PROTOCOL = 3\nOTHER = {", "PROTOCOL is not a dictionary"),
        ('"num_train"', '"num_trian"', "PROTOCOL has the unknown key 'num_trian'; did you mean 'num_train'"),
        ('"lr_grid"', '"lr_gird"', "PROTOCOL has the unknown key 'lr_gird'; did you mean 'lr_grid'"),
        ('"rows"', '"rows", "read": ["net.py"]', "PROTOCOL has the unknown key 'read'; did you mean 'reads'"),
        ('"rows"', '"rows", 5: 5', "PROTOCOL has the unknown key 5; known: title, dataset"),
        ('"rows"', '"rows", "reads": "net.py"', r"PROTOCOL\['reads'\]: 'net.py' is not a list of paths, such as"),
        ('"rows"', '"rows", "reads": 5', r"PROTOCOL\['reads'\]: 5 is not a list of paths"),
        ('"rows"', '"rows", "reads": [5]', r"PROTOCOL\['reads'\]: \[5\] is not a list of paths"),
        ('"rows"', '"rows", "train_flops": "1e6"', r"PROTOCOL\['train_flops'\]: '1e6' is not a number above 0"),
        ('"rows"', '"rows", "train_flops": 0', r"PROTOCOL\['train_flops'\]: 0 is not a number above 0"),
        (
            '"rows"',
            '"rows", "sibling_of": "wrn_cifar"',
            r"PROTOCOL\['sibling_of'\]: 'wrn_cifar' is not a benchmark of the paper: ",
        ),
        ('"rows"', '"rows", "sibling_of": ["lstm_ptb"]', r"PROTOCOL\['sibling_of'\]: \['lstm_ptb'\] is not a benchmark"),
        ('"rows"', '"rows", "task": ["regression"]', r"PROTOCOL\['task'\]: \['regression'\] is none of the ready tasks"),
        ('"rows"', '"rows", "context": "16"', r"PROTOCOL\['context'\]: '16' is not a whole number from 1"),
        ('"rows"', '"rows", "version": "2"', r"PROTOCOL\['version'\]: '2' is not a whole number from 1"),
        ('"rows"', "5", r"PROTOCOL\['dataset'\]: 5 is not text"),
        ('"Mine"', "5", r"PROTOCOL\['title'\]: 5 is not text"),
        ('"Mine"', '"{num_train[0]}"', r"PROTOCOL\['title'\]: only {num_train} may stand in braces"),
        ('"rows"', '"rows", "labels": {"test_loss": 5}', r"PROTOCOL\['labels'\]\['test_loss'\]: 5 is not text"),
        (
            '"rows"',
            '"rows", "labels": {"test_los": "", 5: ""}',
            r"PROTOCOL\['labels'\]: .* is not {metric: words for the figures}",
        ),
        ('"rows"', '"rows", "labels": {"test_los": ""}', r"PROTOCOL\['labels'\]: 'test_los' is none of its metrics test_loss"),
        ('"min"', '"min", 5: "min"', r"PROTOCOL\['metrics'\]: 5: write test_ or train_"),
        ('"width"', "5", r"PROTOCOL\['settings'\]: .* is not what the paper leaves open"),
        ('"rows"', '"rows", "later": [["part"]]', r"PROTOCOL\['later'\]: \[\['part'\]\] is not a list of names of its settings"),
    ],
)
def test_a_protocol_that_is_none_is_explained(tmp_path, old, new, message):
    from sgdnoise import benchmarks

    benchmarks.protocol.cache_clear()
    assert old in NETWORK
    with pytest.raises(ValueError, match=f"net.py.*{message}|{message}"):
        own_cells(tmp_path, {}, NETWORK.replace(old, new, 1))


def test_a_protocol_may_say_more_than_it_has_to(tmp_path):
    from sgdnoise import benchmarks

    more = {
        "reads": ("net.py",),
        "train_flops": 1e6,
        "sibling_of": "wrn_cifar10",
        "labels": {"test_loss": "loss"},
        "later": ["part"],
    }
    benchmarks.protocol.cache_clear()
    (cell,) = own_cells(tmp_path, {}, NETWORK.replace('"rows"', f'"rows", **{more!r}', 1))
    assert "net.py" in cell.depends_on


def test_one_data_file_is_made_in_one_way(tmp_path):
    """By another file, or the same code in another, or what is imported it may be made; by other code it may not."""
    entry = {"seeds": {"num": 1, "keep": 1}, "constant_epoch": {"epochs": 1, "sgd": {64: [1, 1]}}, "file": str(tmp_path / "b.py")}
    imported = (
        NETWORK.split("ROWS =")[0] + "from net import rows\n\ndef benchmark(settings):\n    return Benchmark(arrays=rows)\n"
    )
    for same in (NETWORK, NETWORK.replace("Mine", "Another"), NETWORK.replace("ROWS = 3", "ROWS = 3  # rows"), imported):
        (tmp_path / "b.py").write_text(same)
        assert len(own_cells(tmp_path, {}, other=entry)) == 2
    from sgdnoise import benchmarks
    from sgdnoise.study import data

    for other in (NETWORK.replace("ROWS = 3", "ROWS = 4"), NETWORK.replace("train_x", "train_y"), NETWORK.replace("1024", "512")):
        data.maker.cache_clear()
        benchmarks.protocol.cache_clear()
        (tmp_path / "b.py").write_text(other)
        with pytest.raises(ValueError, match=r"benchmarks.other: its data file has the name 'rows', as that of own, but is made"):
            own_cells(tmp_path, {}, other=entry)


# The command line


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "inf", "1e3", str(2**64), "two"])
@pytest.mark.parametrize("option", ["--threads", "--processes", "--evaluations", "--batch-size", "--checkpoint-seconds"])
def test_numbers_of_the_command_line_have_a_range(capsys, option, text):
    if option == "--checkpoint-seconds" and text in ("1.5", "1e3"):
        return
    words = ["train", "--benchmark=wrn_digits", "--optimizer=sgd", "--budget=steps1", "--batch-size=64", "--lr=1", "--out=a.h5"]
    with pytest.raises(SystemExit):
        main([*words, f"{option}={text}"])
    assert f"argument {option}: '{text}' is not a " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["collect", "--workers=0"], ["calibrate", "--seconds=nan"], ["noise-scale", "--at", "0"]])
def test_other_numbers_of_the_command_line_too(capsys, words):
    with pytest.raises(SystemExit):
        main(words)
    assert "is not a" in capsys.readouterr().err


@pytest.mark.parametrize(
    "seeds", ["0-18446744073709551616", "9223372036854775808-9223372036854775808", "-1-2", "2-1", "0-1.5", "00-1"]
)
def test_a_seed_has_63_bits(capsys, seeds):
    words = ["--benchmark=wrn_digits", "--optimizer=sgd", "--budget=steps1", "--batch-size=64", "--lr=1", "--out=a.h5"]
    assert main(["train", *words, f"--seeds={seeds}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("settings", ['{"norm_eps": NaN}', '{"norm_eps": 0.1, "norm_eps": 0.2}', "3", "[]", '{"norm_eps": true}'])
def test_settings_of_the_command_line_are_looked_at_as_those_of_a_config(capsys, settings):
    words = ["--benchmark=wrn_digits", "--optimizer=sgd", "--budget=steps1", "--batch-size=64", "--lr=1", "--out=a.h5"]
    assert main(["train", *words, f"--settings={settings}"]) == 1
    assert capsys.readouterr().err.startswith("sgdnoise: error: settings")


def test_what_snakemake_is_given_by_config(tmp_path):
    """Of mappings and lists it hands over all numbers as text."""
    path, nested = written(tmp_path, TEXT), {"dpi": "300", "formats": ["png"], "folder": "figs"}
    config = load_config(path, changes={"figures": nested, "evaluations": 3, "allow_missing": "true", "shard": "1/1"})
    assert (config["figures"]["dpi"], config["figures"]["folder"], config["evaluations"]) == (300, "figs", 3)
    assert config["allow_missing"] is True
    windows = {"benchmarks": {"wrn_digits": {"constant_epoch": {"sgd": {"64": ["0.25", "1"]}}}}}
    assert load_config(path, changes=windows)["benchmarks"]["wrn_digits"]["constant_epoch"]["sgd"] == {
        "64": [0.25, 1],
        "128": [1, 2],
    }
    with pytest.raises(ValueError, match=r"--config figures.dpi: the versions of YAML read 0x20 differently"):
        load_config(path, changes={"figures": {"dpi": "0x20"}})


def test_a_second_file_is_put_into_the_first(tmp_path):
    first, second = written(tmp_path, TEXT), tmp_path / "more.yaml"
    second.write_text('evaluations: 5\nbenchmarks: {wrn_digits: {constant_epoch: {sgd: {"64": [1, 1]}}}}\n')
    config = load_config(first, second)
    assert config["evaluations"] == 5
    assert config["benchmarks"]["wrn_digits"]["constant_epoch"]["sgd"] == {"64": [1, 1], "128": [1, 2]}
