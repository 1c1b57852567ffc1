"""What `run` hands on to Snakemake, `status`, and what is said where something is not installed."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from sgdnoise.cli import run
from sgdnoise.cli.main import main, parser
from sgdnoise.machine import imports

STUDY = {
    "benchmarks": {
        "autoencoder_digits": {"seeds": {"num": 2, "keep": 2}, "constant_epoch": {"epochs": 4, "sgd": {64: [0.08, 0.16]}}}
    },
    "results": "mine",
}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A folder with a study, and the commands that are started in place of Snakemake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    started = []
    monkeypatch.setattr(run, "wait_for", lambda command: started.append(command) or 0)
    return started


def test_what_snakemake_is_told(commands, capsys):
    assert main(["run", "study.yaml", "--cores=2", "--", "-n", "--config", "results=other", "--", "more"]) == 0
    (command,) = commands
    assert command[1:6] == ["-P", "-m", "snakemake", "figures/all", "report"]
    assert command[6:] == [
        f"--snakefile={run.HOME / 'workflow/Snakefile'}",
        "--configfile=study.yaml",
        "--cores=2",
        "--logger-sgdnoise-screen=progress",
        *["-n", "--config", "results=other", "--", "more"],
    ]
    assert capsys.readouterr().err == "study.yaml: 2 cells, 4 runs\n"


@pytest.mark.parametrize("verb", ["status", "decide", "plan", "grid"])
def test_where_no_study_is_named_and_none_is_found_it_is_said_how(verb, commands, capsys):
    assert main([verb]) == 1
    assert "config.yaml: there is none in this folder; name the study with --config" in capsys.readouterr().err


def test_further_targets_come_before_options(commands):
    assert main(["run", "study.yaml", "--", "results/one.csv", "two", "-n"]) == 0
    assert commands[0][4:9] == [
        "figures/all",
        "report",
        "results/one.csv",
        "two",
        f"--snakefile={run.HOME / 'workflow/Snakefile'}",
    ]
    assert commands[0][-1] == "-n"


def test_another_folder_and_all_that_snakemake_says(commands, tmp_path):
    assert main(["run", "study.yaml", "--verbose", "--", "--directory", "there"]) == 0
    assert f"--configfile={tmp_path / 'study.yaml'}" in commands[0]
    assert "--logger-sgdnoise-screen=all" in commands[0]


@pytest.mark.parametrize(
    ("words", "dry_run", "results"),
    [
        (["-np"], True, "mine"),
        (["-pn", "-kc4"], True, "mine"),
        (["-Fpc", "2", "-d", "there", "-q", "rules"], False, "mine"),
        (["-C", "results=a", "-np", "--config", "results=b", "-R", "train", "-n"], True, "b"),
    ],
)
def test_snakemakes_short_options_may_be_written_together(commands, words, dry_run, results):
    asked = run.asked_of_snakemake(words)
    assert (asked.dry_run, dict(map(run.change, asked.config)).get("results", "mine")) == (dry_run, results)
    assert main(["run", "study.yaml", "--", *words]) == 0
    assert commands[0][-len(words) :] == words


def test_every_option_of_one_letter_that_snakemake_has_is_known():
    import snakemake.cli

    theirs = {letter for action in snakemake.cli.get_argument_parser()._actions for letter in action.option_strings}
    known = {letter for action in run.SNAKEMAKE._actions for letter in action.option_strings}
    assert {letter for letter in theirs if len(letter) == 2} <= known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--directory"], "after --, for Snakemake: argument --directory/-d: expected one argument"),
        (["--config", "figures={dpi: 300"], "--config figures={dpi: 300: while parsing a flow mapping"),
    ],
)
def test_what_snakemake_could_not_read_is_one_line(commands, capsys, words, message):
    assert main(["run", "study.yaml", "--", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"sgdnoise: error: {message}")
    assert said.count("\n") == 1
    assert commands == []


def test_the_advice_is_given_where_the_study_ran(commands, tmp_path, monkeypatch):
    """There lies its grid.json, whose paths are relative to that folder."""
    asked = []
    monkeypatch.setitem(parser()._defaults, "run_verb", lambda words: asked.append((Path.cwd(), words)))
    (tmp_path / "there/mine").mkdir(parents=True)
    (tmp_path / "there/mine/cells.csv").touch()
    assert main(["run", "study.yaml", "--", "--directory", "there"]) == 0
    assert asked == [(tmp_path / "there", ["recommend", "--cells=mine/cells.csv"])]
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("cores", ["-1", "0", "two", "1.5"])
def test_cores_are_a_number_or_all(commands, capsys, cores):
    """Or the tables of the study are removed before Snakemake finds out."""
    with pytest.raises(SystemExit):
        main(["run", "study.yaml", f"--cores={cores}"])
    assert f"argument --cores: '{cores}' is not a whole number from 1" in capsys.readouterr().err
    assert commands == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["look", "--out=x.json"], "study.yaml: it has no `decide`, by which looks add seeds"),
        (
            ["gap", "--benchmark=nope", "--cells=x.csv", "--out=x.csv"],
            "study.yaml: no benchmark 'nope'; it has: autoencoder_digits",
        ),
    ],
)
def test_what_a_study_does_not_have_is_one_line(commands, capsys, words, message):
    assert main([*words, "--config=study.yaml"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["figure", "claims", "--style={}", "--out=x.png"], ["check", "wrn_digits", "--optimizers={}"]])
@pytest.mark.parametrize(
    ("said", "message"), [("{", "'{' is not JSON (Expecting"), ("[]", "'[]' is no JSON object; write {...}")]
)
def test_an_option_that_is_no_json_object_is_named(capsys, words, said, message):
    words = [word.replace("{}", said) for word in words]
    with pytest.raises(SystemExit):
        main(words)
    assert f"argument {words[2].partition('=')[0]}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lr_sweep", '--style={"dpi": "x"}'], "--style: dpi: 'x' is not of type 'integer'"),
        (["lr_sweep", '--style={"lr_sweep": 16}'], "--style: lr_sweep.wrn_digits: 16 is not of type 'array'"),
        (["lr_sweep", '--style={"dip": 1}'], "--style: top level: unknown key 'dip'; did you mean 'dpi'?"),
        (["variants", '--style={"variants": {}}'], "the figure variants needs --style with what it compares"),
        (["variants", '--style={"variants": {"optimizer": "sgd"}}'], "--style: variants.benchmarks: expected {benchmark: "),
        (["variants", '--style={"variants": {"benchmarks": ["a", "b"]}}'], "--style: variants.benchmarks: expected {benchmark: "),
        (
            ["variants", '--style={"variants": {"benchmarks": {"a": "", "b": ""}}}'],
            "--style: variants: 'optimizer' is a dependency",
        ),
        (["ablation", '--style={"ablation": [1]}'], "--style: ablation: [1] is not of type 'object'"),
    ],
)
def test_a_style_that_is_none_is_one_line(capsys, words, message):
    assert main(["figure", *words, "--benchmark=wrn_digits", "--out=x.png"]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("verb", [["check", "wrn_digits", '--optimizers={"a": 1}'], ["noise-scale", "--definition=[]"]])
def test_an_optimizer_that_is_no_mapping_is_one_line(tmp_path, capsys, verb):
    if verb[0] == "noise-scale":
        cell = {
            "benchmark": "wrn_digits",
            "optimizer": "a",
            "budget": "steps1",
            "batch-size": 8,
            "lr": 1,
            "out": tmp_path / "x.csv",
        }
        verb += [f"--{key}={value}" for key, value in cell.items()]
    assert main(verb) == 1
    said = capsys.readouterr().err
    assert "--optimizers: a: 1 is not of type 'object'" in said or "definition '[]' is no JSON object" in said


def test_a_study_that_is_none_starts_nothing(commands, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text("benchmarks: {}")
    assert main(["run", "study.yaml"]) == 1
    assert "sgdnoise: error: config: benchmarks" in capsys.readouterr().err
    assert commands == []


def test_a_profile_of_the_package_needs_only_its_name(commands, monkeypatch, capsys):
    """If Snakemake's plugin for it is installed; one of the user's own of that name comes first."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert main(["run", "study.yaml", "--", "--profile", "slurm"]) == 0
    assert commands[0][-2:] == ["--profile", str(run.PROFILES / "slurm")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["run", "study.yaml", "--", "--profile", "slurm"]) == 1
    assert "the profile slurm needs Snakemake's plugin for slurm: pip install 'sgdnoise[cluster]'" in capsys.readouterr().err
    assert main(["run", "study.yaml", "--", "--profile", "mine"]) == 0
    assert commands[-1][-1] == "mine"


def test_the_exit_code_is_snakemakes(commands, monkeypatch):
    monkeypatch.setattr(run, "wait_for", lambda command: 3)
    with pytest.raises(SystemExit) as ended:
        main(["run", "study.yaml"])
    assert ended.value.code == 3


def test_waiting_goes_on_through_ctrl_c(tmp_path):
    """The child gets the signal too, and ends by itself: here after it has written a file."""
    script = (
        "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.3); open('ended', 'w'); raise SystemExit(5)"
    )
    assert run.wait_for([sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {script}"]) == 5
    assert (tmp_path / "ended").exists()


def test_status_in_another_terminal(commands, capsys):
    assert main(["status", "--config=study.yaml"]) == 0
    assert capsys.readouterr().out == "study.yaml: 0 of 2 cells done; ETA after the first seconds of training\n"


@pytest.mark.parametrize(
    ("module", "benchmark", "extra"), [("sklearn", "wrn_digits", "digits"), ("torchvision", "wrn_cifar10", "vision")]
)
def test_what_is_not_installed_is_asked_for_by_name(tmp_path, monkeypatch, capsys, module, benchmark, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["prepare", benchmark, f"--data={tmp_path}"]) == 1
    assert capsys.readouterr().err == f"sgdnoise: error: {module} is not installed: pip install 'sgdnoise[{extra}]'\n"


def test_another_module_that_is_missing_is_none_of_them():
    assert imports.missing_extra(ModuleNotFoundError("No module named 'timm'", name="timm")) == ""
