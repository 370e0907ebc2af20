"""What is told of a run that goes on: one line, of what matters most for its width."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tape_bench.cli import progress
from tape_bench.cli.moving_line import IMPORTANT_FIRST, fit
from tape_bench.cli.progress import Lines, Phase, clock

PARTS = {
    "task": "2/5 fluorescence",
    "phase": "train log_fluorescence, seed 0",
    "bar": " " * 24,
    "count": " 13/100 epochs",
    "note": "validation loss 0.1234",
    "rate": "3 epochs/s",
    "eta": "ETA 12:30",
}


def width(parts: dict[str, str]) -> int:
    return sum(1 + cell_len(part) for part in parts.values())


@given(
    st.fixed_dictionaries({name: st.text("ab蛋 ", max_size=40) for name in PARTS}),
    st.integers(0, 200),
)
def test_a_line_always_fits(parts, columns):
    assert width(fit(parts, columns)) <= max(columns, 0)


def test_all_stands_where_there_is_room():
    assert fit(PARTS, width(PARTS)) == PARTS


@pytest.mark.parametrize("columns", range(17, 140))
def test_what_matters_most_stays_longest_and_numbers_stay_whole(columns):
    shown = fit(PARTS, columns)
    for name in ("count", "note", "rate", "eta"):
        assert shown.get(name, PARTS[name]) == PARTS[name]
    assert "count" in shown
    if columns >= 60:
        assert shown["task"] == PARTS["task"]
        assert shown["phase"].startswith("train log_fluore")
    assert [name for name in PARTS if name in shown] == list(shown)
    assert set(shown) <= set(IMPORTANT_FIRST)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3599.9, "1:00:00"), (86_400, "24:00:00")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_rate_and_time_left():
    phase = Phase("contact", "represent", "residues", since=time.perf_counter() - 10)
    phase.move(1000, 4000, "")
    assert phase.rate == "100 residues/s" or phase.rate == "99 residues/s"
    assert phase.left == "ETA 0:30"
    assert phase.so_far() == "1,000/4,000 residues"
    phase.move(1000, 0, "")
    assert (phase.left, phase.so_far()) == ("", "1,000 residues")
    phase.move(0, 0, "")
    assert phase.so_far() == ""
    phase = Phase("contact", "download", "bytes")
    phase.move(5_000_000, 10_000_000, "")
    assert phase.so_far() == "5.0 MB of 10.0 MB"


def test_a_complete_phase_stops_its_clock():
    phase = Phase("contact", "represent", "residues", since=time.perf_counter() - 10)
    phase.move(4000, 4000, "")
    first = phase.seconds
    time.sleep(0.01)
    assert phase.seconds == first


def test_a_log_hears_of_what_lasts(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    lines = Lines()
    lines.begin("contact", 2, 5)
    lines.advance("train, seed 0", 3, 100, "epochs", "validation loss 0.5")
    lines.close("stopped early: best epoch 1 of 3, at most 100")
    lines.advance("score", 8, 8, "metrics")
    lines.end("contact", "complete")
    told = [line.split(" in ")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        "2/5 contact: train, seed 0: 3/100 epochs, validation loss 0.5",
        "2/5 contact: train, seed 0: 3 epochs",
        "2/5 contact: score: 8 metrics",
        "contact: complete",
    ]


def test_a_log_hears_of_nothing_where_nothing_was_done(capsys):
    lines = Lines()
    lines.begin("contact")
    lines.advance("train", 0, 0, "epochs")
    lines.end("contact", "failed")
    assert capsys.readouterr().err == "contact: failed\n"


def test_a_log_hears_of_a_phase_once_where_it_is_short(capsys):
    lines = Lines()
    lines.begin("contact")
    for epoch in range(1, 5):
        lines.advance("train", epoch, 100, "epochs")
    lines.begin("stability")
    assert len(capsys.readouterr().err.splitlines()) == 1
