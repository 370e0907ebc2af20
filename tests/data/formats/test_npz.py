"""Archives of arrays from anybody: what cannot be is refused before NumPy stumbles over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tape_bench.data.formats.npz import Members, read_npz


def test_arrays_come_back(tmp_path: Path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "Ω", "𐍈"]), "c": np.array(7),
        "d": np.asfortranarray(np.arange(6).reshape(2, 3)), "e": np.zeros((0, 4)),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    found, members = read_npz(tmp_path / "a.npz"), Members(tmp_path / "a.npz")
    assert found.keys() == arrays.keys() == set(members.names)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(members.read(name), array)
        np.testing.assert_array_equal(members.mapped(name), array)
        assert members.shape(name) == array.shape


@pytest.mark.parametrize("order", ["<", ">"])
def test_letters_that_there_are_not_are_refused(order: str, tmp_path: Path):
    wrong = np.array([0x110000, 65], order + "u4").view(order + "U2")
    np.savez(tmp_path / "a.npz", ids=wrong)
    with pytest.raises(ValueError, match="letters that there are not"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="letters that there are not"):
        Members(tmp_path / "a.npz").read("ids")
