from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.bounded import parse_json, parse_toml, read_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_what_is_within_bounds_is_what_json_reads(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("parse", [parse_json, lambda content: parse_toml(f"a = {content}")])
@pytest.mark.parametrize(
    "content",
    ["1" * 5000, "[" * 100_000, "[" * 200 + "]" * 200, '{"a": ' * 100_000, "-" + "9" * 101],
    ids=["digits", "open", "deep", "objects", "negative"],
)
def test_large_numbers_and_deep_nesting_are_faults_of_the_file(
    parse: Callable[[str], Any], content: str
) -> None:
    if parse is not parse_json and content == "-" + "9" * 101:
        pytest.skip("TOML's own readers take any that Python does")
    with pytest.raises(ValueError, match=r"digits|deep|Invalid|Expect|Exceeds"):
        parse(content)


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("abc", "utf-8")
    assert read_text(path, 3) == "abc"
    with pytest.raises(ValueError, match="more than 2 bytes"):
        read_text(path, 2)
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)
