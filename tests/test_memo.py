"""What the program leaves for itself is read whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench import memo

CONTENT = {"head": ["a", 1], "selected": {"epoch": 3, "loss": 0.25}, "none": None}


def test_what_is_written_is_read(tmp_path: Path):
    memo.write(tmp_path / "memo.json", CONTENT)
    assert memo.read(tmp_path / "memo.json") == CONTENT
    assert memo.read(tmp_path / "other.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{}", '"text"', "[" * 100_000, "1" * 10_000, '{"content": {}}',
        '{"content": 1, "sha256": 1}', '{"content": {}, "sha256": []}', '{"sha256": "a"}', "\x00",
        json.dumps({"content": CONTENT, "sha256": "0" * 64}), json.dumps(CONTENT),
    ],
)  # fmt: skip
def test_anything_else_is_as_good_as_not_there(tmp_path: Path, text: str):
    (tmp_path / "memo.json").write_text(text)
    assert memo.read(tmp_path / "memo.json") is None


@given(place=st.integers(0), to=st.binary(max_size=2))
def test_no_change_goes_unseen(tmp_path_factory: pytest.TempPathFactory, place: int, to: bytes):
    path = tmp_path_factory.mktemp("memo") / "memo.json"
    memo.write(path, CONTENT)
    content = path.read_bytes()
    place %= len(content)
    path.write_bytes(content[:place] + to + content[place + 1 :])
    assert memo.read(path) in (None, CONTENT)


def test_a_folder_in_its_place(tmp_path: Path):
    assert memo.read(tmp_path) is None
