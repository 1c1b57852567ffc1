"""Data files."""

import zipfile

import numpy as np
import pytest

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


def test_an_unwritable_data_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="choose a data folder that you can write to"):
        datasets.prepare(tmp_path / "file" / "data.npz", lambda folder: {"a": np.zeros(1)})
