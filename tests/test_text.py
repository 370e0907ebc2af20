from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench import text
from tape_bench.errors import DataError

CLEAR = "\x1b[2J\x1b[1;1H"
TURNED = "\u202eevil"


@given(st.text())
def test_nothing_that_is_shown_steers_a_terminal(given_text: str) -> None:
    for made in (text.lines(given_text), text.line(given_text)):
        assert not set(made) & {chr(c) for c in [*range(9), *range(11, 32), *range(127, 160)]}
        made.encode("utf-8")
    assert "\n" not in text.line(given_text)


def test_plain_text_stays_as_it_is() -> None:
    assert (
        text.lines("ρ ≥ 0.5, naïve,\n\ttwo lines: 蛋白質") == "ρ ≥ 0.5, naïve,\n\ttwo lines: 蛋白質"
    )


@pytest.mark.parametrize("field", ["what", "where", "fix"])
def test_errors_quote_files_without_their_escapes(field: str) -> None:
    told = {"what": "a", "where": "b", "fix": "c"} | {field: f"{CLEAR}{TURNED}"}
    shown = str(DataError(told["what"], where=told["where"], fix=told["fix"]))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[2J" in shown


def test_a_value_is_written_out_as_far_as_a_message_needs() -> None:
    nested: object = ()
    for _ in range(60):
        nested = (nested, nested)
    for value in (nested, 10**9999, "M" * 10**6, [0] * 10**6, b"\x1b" * 100, {"a": nested}):
        shown = text.shown(value)
        assert len(shown) < 300
        assert "\x1b" not in shown
    assert text.shown(12) == "12"
    assert text.shown("a\x1b") == r"'a\x1b'"


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("1abc_A", None),
        ("tr|Q9|naïve 蛋", None),
        ("a\0", "control"),
        ("a\x1b[31m", "control"),
        ("a\nb", "control"),
        ("\ud83d", "half a letter"),
        ("M" * 100_000, "100000 letters"),
    ],
)
def test_what_cannot_be_a_name(name: str, fault: str | None) -> None:
    found = text.fault_of_name(name)
    assert (found is None) if fault is None else fault in (found or "")


def test_passwords_of_addresses_are_not_shown() -> None:
    hidden = text.without_password("https://me:secret@example.org:8000/a?b=c")
    assert hidden == "https://***@example.org:8000/a?b=c"
    assert text.without_password("https://example.org/a@b") == "https://example.org/a@b"
    assert "secret" not in text.without_password("https://me:secret@[::1/broken")


def test_no_error_is_longer_than_anybody_reads() -> None:
    long = DataError("a" * 10**6, where="\n".join("b" * 10_000), fix="c")
    assert len(str(long)) < 5000
    assert str(DataError("a\n  - b", where="c")) == "a\n  - b\n  where: c"
