"""Learning curves as TensorBoard reads them."""

import numpy as np
import pytest
from made_up import made_up_wrn

from sgdnoise.cli.main import main
from sgdnoise.results.run import read_run, write_run
from sgdnoise.study import grid
from sgdnoise.study.cell import seed_range


def test_every_value_of_every_seed_is_there(study, tmp_path, capsys):
    """Of all cells in a folder, by update; what has no value, after a run has diverged, is left out."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    cell = grid.cells(study)[0]
    run = made_up_wrn(cell)
    run.curves["test_accuracy"][0, -1] = np.nan
    write_run(tmp_path / "results" / cell.path, run)
    assert main(["tensorboard", str(tmp_path / "results/cells"), f"--out={tmp_path / 'events'}"]) == 0
    assert f"{sum(len(seed_range(one.seeds)) for one in grid.cells(study))} runs" in capsys.readouterr().out
    run = read_run(tmp_path / "results" / cell.path)
    for row, seed in enumerate(run.seed):
        folder = tmp_path / "events" / cell.path.removeprefix("cells/").removesuffix(".h5") / f"seed{seed}"
        found = events.EventAccumulator(str(folder))
        found.Reload()
        for name, curve in run.curves.items():
            there = np.isfinite(curve[row])
            scalars = found.Scalars(name) if there.any() else []
            assert [one.step for one in scalars] == run.step[there].tolist()
            assert [one.value for one in scalars] == pytest.approx(curve[row][there].tolist(), rel=1e-6)
        assert found.Scalars("lr")[-1].value == pytest.approx(run.lr[-1])


def test_no_run_is_written_over_another(study, tmp_path, monkeypatch, capsys):
    """Neither by the same command again, nor from two folders, or two files, that have cells of one name."""
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    cell = grid.cells(study)[0]
    paths = [tmp_path / root / cell.path for root in ("a", "b")]
    for path in paths:
        write_run(path, made_up_wrn(cell))
    seeds, name = len(seed_range(cell.seeds)), cell.path.removesuffix(".h5")
    assert main(["tensorboard", "a/cells"]) == 0
    assert main(["tensorboard", "a/cells"]) == 1
    there = f"tensorboard/{name.removeprefix('cells/')}"
    assert f"{there} is there already, so a/{cell.path} cannot go there; remove it" in capsys.readouterr().err
    assert len(list((tmp_path / there).rglob("events*"))) == seeds
    for out, words in {"folders": ["a/cells", "b/cells", "a/cells"], "files": [f"a/{cell.path}", str(paths[1])]}.items():
        assert main(["tensorboard", *words, f"--out={out}"]) == 0
        assert f"{out}: {2 * seeds} runs" in capsys.readouterr().out
        assert len(list((tmp_path / out).rglob("seed*"))) == 2 * seeds
    assert len(list((tmp_path / "folders" / "b" / name).iterdir())) == seeds


def test_a_place_without_cells(tmp_path, capsys):
    assert main(["tensorboard", str(tmp_path), f"--out={tmp_path / 'events'}"]) == 1
    assert f"no cells in {tmp_path}" in capsys.readouterr().err
