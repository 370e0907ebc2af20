"""`report`, `compare` and `check` from Python say what the command line says."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tape_bench import Filed, Records, check, compare, leaderboard, load_records
from tape_bench.cli import check as check_command
from tape_bench.cli import compare as compare_command
from tape_bench.cli import report as report_command
from tape_bench.errors import NotComparableError, RecordError, UsageError
from tape_bench.report.gate.judge import Exit
from tape_bench.report.leaderboard import formats
from tape_bench.results import store


@pytest.fixture
def runs(tmp_path, write_run, measured):
    for side, noise in (("a", 0.5), ("b", 1.0)):
        write_run(tmp_path / side, measured(noise, seed=ord(side)), "stability", model=side)
    return tmp_path / "a", tmp_path / "b"


def test_records_are_a_sequence_that_knows_its_files(runs):
    found = load_records(*map(str, runs))

    assert [one.record.model.name for one in found] == ["a", "b"]
    assert found[1].path.is_file()
    assert [one.record.model.name for one in found[1:]] == ["b"]
    assert repr(found) == f"<Records: 2 from {runs[0]}, {runs[1]}>"
    assert isinstance(found[:1], Records)


def test_predictions_are_those_that_the_run_wrote(runs, measured):
    (filed,) = load_records(runs[0])
    (said,) = filed.predictions()["stability_score", "test"]

    wrote = measured(0.5, seed=ord("a"))
    assert said.ids == wrote.ids
    assert (said.values == wrote.values).all()


def test_predictions_that_are_gone_are_told(runs, make):
    (filed,) = load_records(runs[0])
    store.predictions_path(filed.path).unlink()

    with pytest.raises(RecordError, match="not beside the record"):
        filed.predictions()
    with pytest.raises(RecordError, match="has no predictions"):
        Filed(filed.path, make()).predictions()


def test_what_cannot_be_read_is_warned_of(runs):
    (runs[0] / "cut.json").write_text("{")

    with pytest.warns(UserWarning, match=r"left out .*cut\.json"):
        found = load_records(runs[0])
    assert len(found) == len(found.faults) == 1
    assert repr(found).endswith("1 unreadable>")
    assert any("cut.json" in line for line in leaderboard(found).warnings)
    assert any("cut.json" in line for line in compare(*runs, draws=200).notes)
    assert check(found, runs[0]).outcome is Exit.UNTOLD


def test_records_are_looked_for_where_runs_leave_them(runs, monkeypatch):
    monkeypatch.chdir(runs[0].parent)
    monkeypatch.delenv("TAPE_BENCH_OUT", raising=False)
    with pytest.raises(RecordError, match="no such file or folder"):
        load_records()
    runs[0].rename("results")

    assert len(load_records()) == 1
    assert "a" in set(leaderboard().to_frame().model)


def test_the_leaderboard_is_that_of_the_command_line(invoke, runs, monkeypatch):
    monkeypatch.chdir(runs[0].parent)
    told = invoke(report_command.command, ".", "--format", "json").output

    for given in (".", load_records("."), list(load_records("."))):
        assert formats.render(leaderboard(given), "json") == told
    records = load_records(".").records
    alone = json.loads(formats.render(leaderboard(records), "json"))
    assert [row["model"] for row in alone["sections"][0]["groups"][0]["rows"]] == ["a", "b"]


def test_a_leaderboard_shows_itself_in_a_notebook_and_at_the_prompt(invoke, runs, tmp_path):
    board = leaderboard(load_records(*runs), notes=["a <note>"])

    assert "<table>" in board._repr_html_()
    assert "a &lt;note&gt;" in board._repr_html_()
    invoke(report_command.command, *runs, "--format", "terminal", "-o", tmp_path / "x.txt")
    assert repr(leaderboard(load_records(*runs))) == (tmp_path / "x.txt").read_text()


def test_a_comparison_is_that_of_the_command_line(invoke, runs):
    (told,) = json.loads(invoke(compare_command.command, *runs, "--draws", 200, "--json").output)
    (change,) = compare(*runs, draws=200).changes

    told.pop("in_words")
    assert json.loads(json.dumps(dataclasses.asdict(change))) == told
    chosen = [one for one in load_records(*runs) if one.record.model.name == "a"]
    assert compare(chosen, runs[1], draws=200).changes == (change,)


def test_what_must_not_be_compared_is_not(tmp_path, make):
    for side, protocol in (("a", "probe"), ("b", "finetune")):
        record = make(protocol=protocol)
        store.write(store.path_of(tmp_path / side, record), record)

    with pytest.raises(NotComparableError):
        compare(tmp_path / "a", tmp_path / "b")
    assert compare(tmp_path / "a", tmp_path / "b", anyway=True).changes[0].doubts
    with pytest.raises(RecordError, match="no records of the two sides pair up"):
        compare(tmp_path / "a", [])


@pytest.mark.parametrize(
    ("tolerance", "typed"),
    [
        (0.0, []),
        (0.5, ["--tolerance", "0.5"]),
        ({"stability": 0.5}, ["--tolerance", "stability=0.5"]),
        (
            {"stability:stability_score.spearman": 0.01},
            ["--tolerance", "stability:stability_score.spearman=0.01"],
        ),
    ],
)
def test_a_check_is_that_of_the_command_line(invoke, runs, tolerance, typed):
    a, b = runs
    # Both sides hold one model: its name need not agree.
    verdict = check(b, a, tolerance=tolerance)

    assert (
        int(verdict.outcome) == invoke(check_command.command, b, "--against", a, *typed).exit_code
    )
    assert verdict.outcome is (Exit.FINE if "0.5" in str(tolerance) else Exit.REGRESSION)


def test_a_tolerance_that_makes_no_sense_is_refused(runs):
    with pytest.raises(UsageError, match="from 0 upwards"):
        check(*runs, tolerance=-1)
