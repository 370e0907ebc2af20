"""Data frames: one row a score, read back against the records they come from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tape_bench import check, compare, leaderboard, load_records
from tape_bench.report.leaderboard.formats import render
from tape_bench.results import frames, store


@pytest.fixture
def folder(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [
        make(model="a", seeds=(0, 1), solved=False, others={("log_fluorescence.mse", "test"): 0.2}),
        make("stability", model="a", value=None, undefined="constant", limit=7),
        make("contact", model="b", status="failed", error="no"),
    ]
    for record in records:
        store.write(store.path_of(tmp_path / "results", record), record)
    return "results"


def test_records_have_a_row_for_each_metric_and_split(folder):
    frame = load_records(folder).to_frame().set_index("task")

    assert sorted(frame.index) == ["contact", "fluorescence", "fluorescence", "stability"]
    head = frame[frame.headline].loc["fluorescence"]
    assert (head.value, head.low, head.high) == (0.5, 0.48, 0.52)
    assert (head.n, head.seeds, head.model, head.data) == (1000, "0 1", "a", "official")
    assert head.metric == "log_fluorescence.spearman"
    assert frame[~frame.headline].loc["fluorescence"].metric == "log_fluorescence.mse"
    assert pd.isna(head.n_clusters)
    assert store.read(Path(head.record)).run_key == head.run_key


def test_what_has_no_value_has_a_row_all_the_same(folder):
    frame = load_records(folder).to_frame().set_index("task")

    assert pd.isna(frame.loc["stability"].value)
    assert frame.loc["stability"].limit == 7
    assert frame.loc["contact"].status == "failed"
    assert frame.loc["contact"][["metric", "split", "value", "n"]].isna().all()


def test_no_records_are_a_frame_with_the_same_columns(folder):
    found = load_records(folder)
    empty = found[:0].to_frame()

    assert len(empty) == 0
    assert empty.dtypes[["value", "n"]].equals(found.to_frame().dtypes[["value", "n"]])
    assert list(empty.columns) == list(frames.RECORDS)


def test_a_leaderboard_s_frame_is_its_csv(folder, tmp_path):
    board = leaderboard(folder)
    (tmp_path / "x.csv").write_text(render(board, "csv"))
    read = pd.read_csv(tmp_path / "x.csv", dtype={"seeds": str}, keep_default_na=False)
    frame = board.to_frame()

    assert list(frame.columns) == list(read.columns)
    assert len(frame) == len(read)
    for name in ("model", "task", "metric", "split", "state", "run_key", "record", "seeds"):
        assert frame[name].fillna("").tolist() == read[name].tolist(), name
    values = pd.to_numeric(read["value"])
    pd.testing.assert_series_equal(frame["value"], values, check_exact=True)


def test_a_comparison_s_frame_says_what_it_found(tmp_path, write_run, measured):
    for side, noise in (("a", 0.5), ("b", 1.5)):
        write_run(tmp_path / side, measured(noise, seed=ord(side)), "stability", model=side)

    (row,) = compare(tmp_path / "a", tmp_path / "b", draws=200).to_frame().itertuples()

    assert (row.task, row.model_a, row.model_b, row.n) == ("stability", "a", "b", 400)
    assert row.low < row.difference == row.b - row.a < row.high < 0
    assert "b is worse by" in row.in_words


def test_a_verdict_s_frame_names_each_figure(tmp_path, make):
    for side, value in (("old", 0.5), ("new", 0.4)):
        record = make(value=value)
        store.write(store.path_of(tmp_path / side, record), record)

    (row,) = check(tmp_path / "new", tmp_path / "old").to_frame().itertuples()

    assert (row.task, row.outcome, row.reference, row.new) == (
        "fluorescence",
        "regression",
        0.5,
        0.4,
    )
    assert row.difference == pytest.approx(-0.1)
