"""At any width every number and every name stands whole: nothing is folded in the middle."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import termios

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tape_bench import registry
from tape_bench.cli import compare, history, report
from tape_bench.report import wording
from tape_bench.report.layout import Field, filled, listing
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.report.leaderboard.formats import terminal as render
from tape_bench.results import store

WIDTHS = [*range(40, 132, 7), 160, 200]


@pytest.fixture(scope="module")
def board(make):
    cards = {name: registry.task(name) for name in registry.task_names()}
    figures = {
        "esm2_t33_650M_UR50D": 0.8234,
        "prot_t5_xl_half_uniref50-enc-sharded": 0.7654,
        "composition": -0.1012,
        "onehot": 0.4051,
    }
    records = [
        make(task, value + 0.01 * place, model=model, control="o" in model[:2], n=27217)
        for place, task in enumerate(cards)
        for model, value in figures.items()
    ]
    records.append(make("contact", 0.321, model="onehot", data="partial", digest="8" * 64, n=36))
    return build_leaderboard(records, registry.baselines(), cards)


def words(text: str) -> set[str]:
    return set(re.split(r"[\s–,≈†]+|[ᵃ-ᶿʰ-ʸⁱⁿ]+", text))


@pytest.mark.parametrize("width", WIDTHS)
def test_leaderboards_show_every_figure_whole(board, width):
    out = io.StringIO()

    render.terminal(board, Console(file=out, width=width))

    lines = out.getvalue().splitlines()
    found = words(out.getvalue())
    assert max(cell_len(line) for line in lines) <= width
    for section in board.sections:
        for row in section.rows:
            assert set(row.model.split()) <= found
            for cell in row.cells:
                whole = {wording.value(cell), *wording.interval(cell).split(" – ")}
                whole |= set(wording.standing(cell).split())
                assert whole - {"", wording.DASH} <= found
        for column in section.columns:
            assert column.split in found
    assert {"27217", "36"} <= found


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    root = tmp_path_factory.mktemp("widths")
    for side, value in (("old", 0.4321), ("new", 0.5678)):
        for task in ("fluorescence", "remote_homology"):
            started = f"2026-01-0{1 + (side == 'new')}T12:34:56+00:00"
            record = make(
                task, value, n=12345, started=started, commit=side[0].replace("o", "f") * 40
            )
            store.write(store.path_of(root / side, record), record)
    return root


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("command", "arguments", "whole"),
    [
        (report.command, ["old"], {"0.432", "0.412", "0.452", "12345", "test_fold_holdout"}),
        (
            compare.command,
            ["old", "new"],
            {"0.432", "0.568", "+0.136", "12345", "remote_homology", "test_fold_holdout"},
        ),
        (
            history.command,
            ["fluorescence", "bert", ""],
            {"0.432", "0.412", "0.452", "0.568", "+0.136", "2026-01-02", "12:34", "nnnnnnn"},
        ),
    ],
)
def test_a_pipe_obeys_the_width_of_columns(command, arguments, whole, width, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    names = arguments[:-2] if command is compare.command else arguments[:-1]
    places = [str(folder / name) for name in arguments[len(names) :]]

    done = CliRunner().invoke(command, [*names, *places])

    assert done.exit_code == 0, done.exception
    assert whole <= words(done.stdout)
    # A path has no blank to fold it at.
    assert all(cell_len(line) <= width for line in done.stdout.splitlines())


texts = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_characters=","),
    min_size=1,
    max_size=12,
)
rows = st.lists(st.tuples(texts, texts, texts, texts), min_size=1, max_size=5)


@given(rows=rows, width=st.integers(40, 200))
@settings(max_examples=60, deadline=None)
def test_listings_break_nothing(rows, width):
    out = io.StringIO()
    fields = [
        Field("name"),
        Field("a", number=True),
        Field("b", number=True),
        Field("c", words=True),
    ]

    listing(Console(file=out, width=width), fields, rows)

    shown = set(out.getvalue().replace(", ", " ").split())
    assert {wording.plain(text) for row in rows for text in row} <= shown
    assert max(cell_len(line) for line in out.getvalue().splitlines()) <= width


@given(parts=st.lists(texts, max_size=20), width=st.integers(20, 80))
def test_filled_lines_keep_parts_in_order_and_in_width(parts, width):
    lines = filled(parts, width)

    assert " ".join(lines).split() == " ".join(parts).split()
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("verb", "columns", "terminal"),
    [
        ("report", 60, "dumb"),
        ("compare", 60, "dumb"),
        ("history", 60, "xterm-256color"),
        ("report", 100, "xterm-256color"),
    ],
)
def test_a_terminal_is_as_wide_as_it_says(verb, columns, terminal, folder):
    places = {
        "report": [folder],
        "compare": [folder / "old", folder / "new"],
        "history": ["fluorescence", "bert", folder],
    }[verb]
    lines = in_a_terminal(columns, terminal, verb, *(str(place) for place in places))

    assert any("0.568" in line for line in lines)
    assert max(cell_len(line) for line in lines) <= columns


def in_a_terminal(columns: int, terminal: str, verb: str, *arguments: str) -> list[str]:
    """Run a verb as in a window of so many columns; return what stood on the screen."""
    inside, outside = pty.openpty()
    termios.tcsetwinsize(outside, (24, columns))
    surroundings = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    done = subprocess.Popen(
        [sys.executable, "-m", "tape_bench.cli", verb, *arguments],
        stdin=outside,
        stdout=outside,
        stderr=outside,
        env=surroundings | {"TERM": terminal},
    )
    os.close(outside)
    text = b""
    # A terminal whose other end is closed answers with an error, not with nothing.
    with contextlib.suppress(OSError):
        while part := os.read(inside, 4096):
            text += part
    os.close(inside)
    assert done.wait(timeout=60) == 0, text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode())
    return [line.rstrip() for line in plain.splitlines()]
