from __future__ import annotations

from pathlib import Path

from tape_bench.report.history import history
from tape_bench.results.collect import Filed

WHAT = ("fluorescence", "bert", "log_fluorescence.spearman", "test")


def filed(*records):
    return [Filed(Path(f"{i}.json"), record) for i, record in enumerate(records)]


def test_figures_stand_in_the_order_of_time(make):
    entries = history(
        filed(
            make(value=0.6, started="2026-03-01", commit="b" * 40),
            make(value=0.5, started="2026-01-01", commit="a" * 40),
            make(value=0.9, started="2026-02-01", model="other"),
            make("stability", value=0.9, started="2026-02-01"),
        ),
        *WHAT,
    )

    assert [(e.value, e.commit) for e in entries] == [(0.5, "a" * 40), (0.6, "b" * 40)]
    assert entries[0].change is None
    assert entries[1].change is not None
    assert abs(entries[1].change - 0.1) < 1e-12


def test_no_change_is_given_over_different_data(make):
    entries = history(
        filed(make(started="2026-01-01"), make(started="2026-02-01", digest="9" * 64)), *WHAT
    )

    assert entries[1].change is None
    assert "the data differs" in (entries[1].remark or "")
    assert entries[1].changed == ("official data 9999999",)


def test_each_entry_says_what_changed(make):
    records = (
        make(started="2026-01-01"),
        make(started="2026-01-02", given={"head": "linear"}, commit="b" * 40),
        make(started="2026-01-03", given={"head": "linear"}, commit="b" * 40, seeds=(0, 1)),
        make(started="2026-01-04", given={"head": "linear"}, commit="b" * 40, seeds=(0, 1)),
    )

    found = [entry.changed for entry in history(filed(*records), *WHAT)]

    assert found[0] == ("tape-bench 0.1.0", "probe", "official data")
    assert set(found[1]) == {"head linear", "commit bbbbbbb"}
    assert found[2:] == [("seeds 0, 1",), ("nothing that the record tells",)]


def test_failed_and_undefined_say_why(make):
    entries = history(
        filed(
            make(started="2026-01-01", status="failed", error="out of memory"),
            make(started="2026-02-01", value=None, undefined="constant"),
        ),
        *WHAT,
    )

    assert [entry.remark for entry in entries] == ["out of memory", "constant"]
