"""A network that begins with weights of its own, part of them frozen, or that is compiled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import own_benchmark
from torch import nn

from sgdnoise.study.cell import make_cell
from sgdnoise.training import loop
from sgdnoise.training.cell import load_data, plan_of, train_cell
from sgdnoise.training.noise_run import COLUMNS, measure_run

CPU = torch.device("cpu")
BEGINS = [
    ('"settings": {}', '"settings": {}, "reads": ["start.pt"]'),
    ("import numpy as np\n", "from pathlib import Path\n\nimport numpy as np\n"),
    (
        "    return network",
        '    network.load_state_dict(torch.load(Path(__file__).parent / "start.pt"))\n'
        "    network[0].requires_grad_(False)\n    return network",
    ),
]
COMPILED = [("    return network", '    return torch.compile(network, backend="aot_eager")')]
ATTENTION = [("    return network", "    return Attention()"), ("def loss", "ATTENTION\n\n\ndef loss")]


def cell(folder, *changes, optimizer="momentum", **words):
    file = own_benchmark(folder, *changes)
    return make_cell("own", optimizer, "steps8", 16, 0.01, "0-0", "{}", 2, str(file), **words)


def write_start(folder, seed):
    """Write a checkpoint of the network of own_table.py."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
    torch.save(network.state_dict(), folder / "start.pt")
    return network


@pytest.mark.parametrize("words", [{}, {"optimizer": "mine", "definition": '{"class": "AdamW", "weight_decay": 0.1}'}])
def test_a_run_begins_with_a_checkpoint_and_leaves_what_is_frozen(tmp_path, words):
    start, one = write_start(tmp_path, 1), cell(tmp_path, *BEGINS, **words)
    benchmark, data = load_data(one, tmp_path / "data", CPU)
    first = loop.start(benchmark, plan_of(one), 0, CPU, None).model
    assert all(map(torch.equal, first.parameters(), start.parameters()))
    states = []
    loop.train(benchmark, data, plan_of(one), 0, CPU, states.append)
    same = [torch.equal(*pair) for pair in zip(states[-1].model.parameters(), start.parameters(), strict=True)]
    assert same == [True, True, False, False]


def test_a_checkpoint_is_part_of_the_identity_by_its_bytes(tmp_path):
    write_start(tmp_path, 1)
    before = cell(tmp_path, *BEGINS).depends_on
    write_start(tmp_path, 2)
    after = cell(tmp_path, *BEGINS).depends_on
    assert {name for name in before if before[name] != after[name]} == {"start.pt"}
    (tmp_path / "start.pt").unlink()
    with pytest.raises(ValueError, match=r"PROTOCOL reads 'start.pt', which cannot be read"):
        cell(tmp_path, *BEGINS)


def test_a_folder_is_known_by_all_its_files(tmp_path):
    changes = [('"settings": {}', '"settings": {}, "reads": ["rows"]')]
    digests = set()
    for name, text in (("a", "1"), ("a", "2"), ("b/c", "2")):
        (tmp_path / "rows" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "rows" / name).write_text(text)
        digests.add(cell(tmp_path, *changes).depends_on["rows"])
    assert len(digests) == 3


def test_a_compiled_network_trains_the_same_and_goes_on_bitwise(tmp_path):
    plain = train_cell(cell(tmp_path), tmp_path / "data", CPU)
    compiled, path = cell(tmp_path, *COMPILED), tmp_path / "checkpoint"
    whole = train_cell(compiled, tmp_path / "data", CPU)
    np.testing.assert_allclose(whole.curves["train_loss"], plain.curves["train_loss"], rtol=1e-5)
    steps = []
    with pytest.raises(KeyboardInterrupt):
        train_cell(compiled, tmp_path / "data", CPU, steps.append, path, asked_to_stop=lambda: steps[-1] == 5)
    again = train_cell(compiled, tmp_path / "data", CPU, checkpoint_path=path)
    assert again.provenance["continued"]
    assert all(again.curves[name].tobytes() == curve.tobytes() for name, curve in whole.curves.items())


@pytest.mark.parametrize("changes", [COMPILED, ATTENTION])
def test_noise_is_measured_where_the_network_as_it_is_has_no_second_derivative(tmp_path, changes):
    (row,) = measure_run(cell(tmp_path, *changes), tmp_path / "data", CPU, [1.0], 8)
    assert all(np.isfinite(row[name]) for name in COLUMNS if name.startswith("top_eigenvalue"))


def test_the_noise_of_a_compiled_network_is_that_of_the_network(tmp_path):
    rows = [measure_run(cell(tmp_path, *changes), Path(tmp_path / "data"), CPU, [1.0], 8)[0] for changes in ([], COMPILED)]
    for name in ("top_eigenvalue", "residual"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-3)
