"""Where a result cannot be written is said before anything is computed."""

import pytest

from sgdnoise.cli.main import KINDS, main, parser, verbs_of

REQUIRED = {
    "--study": '{"benchmarks": {"wrn_digits": {"seeds": {"num": 1, "keep": 1}, "unlimited": {"batch_size": 8, "sgd": {"1": [1, 1]}}}}}',
    "--low": "1",
    "--high": "1",
    "--stage": "full",
    "--batch-size": "8",
    "--lr": "1",
    "--target": "1",
}
VERBS = {verb.name: verb for kind in KINDS for verb in verbs_of(kind) if any("--out" in names for names, _ in verb.options)}
HOPELESS = {
    "below a file": lambda folder: folder / "file" / "some" / "out.png",
    "a folder": lambda folder: folder,
    "too long": lambda folder: folder / ("a" * 250 + ".png"),
    "not of this world": lambda folder: "/proc/nowhere/out.png",
    "a device": lambda folder: "/dev/null",
}


def test_every_verb_that_writes_is_tried():
    assert len(VERBS) > 10
    assert {"train", "figure", "reference", "report", "calibrate", "check", "collect"} <= set(VERBS)


@pytest.mark.parametrize("where", HOPELESS)
@pytest.mark.parametrize("name", VERBS)
def test_a_hopeless_place_is_one_error_and_nothing_is_run(name, where, tmp_path, capsys, monkeypatch):
    if where == "a folder" and any(details.get("dest") == "out_folder" for _, details in VERBS[name].options):
        pytest.skip("it is what this verb writes")
    (tmp_path / "file").write_text("")
    bad, run = str(HOPELESS[where](tmp_path)), []
    words = [name]
    for names, details in VERBS[name].options:
        if not names[0].startswith("-"):
            words.append("wrn_digits")
        elif details.get("required") and names[0] != "--out":
            words += [names[0], REQUIRED.get(names[0], "missing")]
    assert parser().parse_args([*words, "--out", str(tmp_path / "new.png")]).run  # the words are complete
    parse = parser().parse_args
    monkeypatch.setattr(parser(), "parse_args", lambda arguments: silenced(parse(arguments), run))
    outs = [str(tmp_path / "good.png"), bad] if name == "figure" else [bad]
    assert main([*words, "--out", *outs]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sgdnoise: error: cannot write the ")
    assert bad in line
    assert run == []
    assert (tmp_path / "file").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def silenced(options, run):
    """Note that a verb is run, instead of running it."""
    options.run = lambda options: run.append(options)
    return options


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path, capsys):
    """What is there stays until the new result takes its place: here the verb fails."""
    (tmp_path / "old.csv").write_text("old")
    assert main(["collect", "--config=missing.yaml", f"--out={tmp_path / 'old.csv'}"]) == 1
    assert "missing.yaml" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"
