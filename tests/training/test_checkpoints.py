"""What checkpoints hold comes back, whatever its shape and type, also from files of before."""

from __future__ import annotations

import json

import pytest
import torch

from propensity.errors import DataError
from propensity.tensors import read_tensors, write_tensors
from propensity.training import checkpoints
from propensity.training.checkpoints import read_checkpoint, write_checkpoint

REST = {"callbacks": {}, "optimizer_states": [], "epoch": 1, "global_step": 2}


def test_tensors_of_all_shapes_and_types(tmp_path):
    shared = torch.arange(6.0)
    values = {
        "scalar": torch.tensor(3),
        "none": torch.empty(0, 3),
        "turned": torch.arange(6.0).view(2, 3).T,
        "flags": torch.tensor([True, False]),
        "first": shared[:4],
        "double": torch.rand(2, 2, dtype=torch.float64),
        "other": shared[2:],
    }
    write_checkpoint(tmp_path / "a.ckpt", {"state_dict": values, **REST})
    found = read_checkpoint(tmp_path / "a.ckpt")["state_dict"]
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert torch.equal(found[name], value)
    found["first"].zero_()
    assert torch.equal(found["other"], values["other"]), "memory is not shared"
    assert len(read_tensors(tmp_path / "a.ckpt")) == 4 + 2, "one vector for each type, tree and checksum"


def old_file(path, where):
    """As it was written before tensors of a type became one vector: each by itself."""
    tree = ["dict", ["state_dict", ["dict", ["w", where]]]]
    tree += [["callbacks", ["dict"]], ["optimizer_states", ["list"]], ["epoch", 1], ["global_step", 2]]
    tensors = {"t0": torch.arange(4.0).view(2, 2)}
    tensors["tree"] = torch.frombuffer(bytearray(json.dumps(tree).encode()), dtype=torch.uint8)
    tensors["crc32"] = torch.tensor(checkpoints._checksum(tensors), dtype=torch.int64)
    write_tensors(path, tensors)


def test_files_of_before(tmp_path):
    old_file(tmp_path / "old.ckpt", ["tensor", "t0"])
    assert torch.equal(
        read_checkpoint(tmp_path / "old.ckpt")["state_dict"]["w"], torch.arange(4.0).view(2, 2)
    )


@pytest.mark.parametrize(
    "where", [["tensor", "t1"], ["tensor", "t0", 3, [2]], ["tensor", "t0", 0], ["tensor"]]
)
def test_places_that_are_not_there(tmp_path, where):
    old_file(tmp_path / "wrong.ckpt", where)
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        read_checkpoint(tmp_path / "wrong.ckpt")
