"""Data files."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from sgdnoise.cli.main import main
from sgdnoise.machine import datasets


def test_prepared_data_is_made_once_and_checked(tmp_path):
    made = []

    def arrays(folder):
        made.append(folder)
        return {"pixels": (np.arange(1000) % 256).astype(np.uint8)}

    import torch

    path = tmp_path / "some" / "data.npz"
    for _ in range(2):
        datasets.prepare(path, arrays)
    assert made == [path.parent]
    assert datasets.load(path, torch.device("cpu"))["pixels"].tolist() == list(range(256)) * 3 + list(range(232))
    damaged = bytearray(path.read_bytes())
    damaged[500] ^= 1
    path.write_bytes(damaged)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match=r"data.npz is corrupt .*delete it"):
        datasets.load(path, torch.device("cpu"))


def archive(content):
    """Return the bytes of an archive with an array."""
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    return buffer.getvalue()


def npy():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(100))
    return buffer.getvalue()


WHOLE = archive({"train_images": np.zeros((100, 1, 8, 8), np.uint8)})
DAMAGED = {
    "empty": b"",
    "other arrays": archive({"x": np.zeros(3)}),
    "text": b"404: not found",
    "cut": WHOLE[: len(WHOLE) // 2],
    "one array": npy(),
    "pickle": pickle.dumps([1]),
    "objects": archive({"train_images": np.array([{}, None])}),
    "flipped": bytes([*WHOLE[:300], WHOLE[300] ^ 1, *WHOLE[301:]]),
}


@pytest.mark.parametrize("verb", ["prepare", "train", "check"])
@pytest.mark.parametrize("kind", [*DAMAGED, "folder"])
def test_a_damaged_data_file_is_one_error_with_the_remedy(kind, verb, tmp_path, capsys):
    path = tmp_path / "digits.npz"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(DAMAGED[kind])
    cell = [f"--out={tmp_path / 'out.h5'}", "--optimizer=sgd", "--budget=steps1", "--batch-size=8", "--lr=0.1", "--device=cpu"]
    where = ["--benchmark=autoencoder_digits", *cell] if verb == "train" else ["autoencoder_digits"]
    assert main([verb, *where, f"--data={tmp_path}"]) == 1
    said = capsys.readouterr()
    assert "is ready" not in said.out
    assert "digits.npz" in said.err
    assert "delete it, it is then prepared anew" in said.err
    assert "Traceback" not in said.err


def test_an_unwritable_data_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write the file .*data.npz: a part of it is a file"):
        datasets.prepare(tmp_path / "file" / "data.npz", lambda folder: {"a": np.zeros(1)})


def test_objects_are_refused_before_they_are_written(tmp_path):
    """They would be pickles, and the file one that no one can read, however often it is made anew."""
    for made in (np.array([{}, None]), [[1], None], np.zeros(2, [("a", object)])):
        path = tmp_path / "data.npz"
        with pytest.raises(ValueError, match="data.npz cannot hold odd, an array of objects of Python; make numbers"):
            datasets.prepare(
                path, lambda folder, made=made: {"x": np.zeros(1), "odd": np.array(made, getattr(made, "dtype", object))}
            )
        assert not list(tmp_path.iterdir())


def test_numbers_of_either_byte_order_are_loaded(tmp_path):
    import torch

    datasets.prepare(tmp_path / "data.npz", lambda folder: {kind: np.arange(3, dtype=kind) for kind in (">i2", "<i2", ">f8")})
    loaded = datasets.load(tmp_path / "data.npz", torch.device("cpu"))
    assert [array.tolist() for array in loaded.values()] == [[0, 1, 2]] * 3
