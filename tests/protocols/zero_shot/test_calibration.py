"""Splits put together: ProteinGym's GFP set of TAPE's three, scored without training only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

from tape_bench import evaluate, load_model, load_task, registry
from tape_bench.cards import read_task
from tape_bench.cli import program
from tape_bench.data.parents import consensus
from tape_bench.errors import CardError, TasksFailedError, UsageError
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.run.plan import plan
from tape_bench.run.settings import Settings


def test_it_is_the_three_splits(tmp_path: Path):
    data = load_task("fluorescence", "sample")
    whole = data.joined("calibration")["calibration"]
    parts = [data[name] for name in ("train", "valid", "test")]
    assert whole.sequences == [s for part in parts for s in part.sequences]
    assert len(set(whole.ids)) == len(whole) == sum(map(len, parts))
    assert whole.role == "test"
    (record,) = evaluate(
        "mutations", "fluorescence", data="sample", protocol="zero_shot", splits=["calibration"],
        out=tmp_path,
    )  # fmt: skip
    parent = consensus(whole.sequences)
    known = [
        (-sum(map(str.__ne__, e.sequence, parent)), e.targets["log_fluorescence"])
        for part in parts
        for e in part
        if len(e.sequence) == len(parent)
    ]
    metric = record.metric("log_fluorescence.spearman", "calibration")
    assert metric.n == len(known)
    assert metric.value == pytest.approx(spearmanr(*zip(*known, strict=True)).statistic)
    assert {m.split for m in record.metrics} == {"calibration"}
    assert record.leakage == {}


def test_whoever_trains_may_not_see_it(tmp_path: Path):
    with pytest.raises(TasksFailedError, match="are learnt from under probe"):
        evaluate("onehot", "fluorescence", data="sample", splits=["calibration"], out=tmp_path)


def test_nor_whoever_may_have_been_trained(tmp_path: Path):
    card = registry.task("fluorescence")
    settings = Settings(protocol="finetuned", splits=("calibration",), data="sample")
    with pytest.raises(UsageError, match=r"(?s)learnt from under finetuned.*--protocol zero_shot"):
        plan(card, load_model("onehot").identity, settings)


def test_the_leaderboard_shows_the_headline(tmp_path: Path):
    settings = {"data": "sample", "protocol": "zero_shot", "out": tmp_path}
    (headline,) = evaluate("mutations", "fluorescence", **settings)
    (beside,) = evaluate("mutations", "fluorescence", splits=["calibration"], **settings)
    assert beside.task.data.digest == headline.task.data.digest, "the data are the same"
    cards = {"fluorescence": registry.task("fluorescence")}
    board = build_leaderboard([headline, beside], (), cards)
    (row,) = board.sections[0].rows
    assert row.cells[0].value == headline.headline.value
    assert [said for said in board.warnings if "1 record of other splits" in said]
    alone = build_leaderboard([beside], (), cards)
    assert [row.cells[0].state for row in alone.sections[0].rows] == ["undefined"]


def test_it_is_scored_only_if_asked(tmp_path: Path):
    (record,) = evaluate(
        "mutations", "fluorescence", data="sample", protocol="zero_shot", out=tmp_path
    )
    assert {m.split for m in record.metrics} == {"test"}


def test_the_command_says_the_score(tmp_path: Path):
    command = ["run", "blosum62", "-t", "fluorescence", "--protocol", "zero_shot", "--data"]
    done = CliRunner().invoke(
        program, [*command, "sample", "--split", "calibration", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    assert "fluorescence, calibration: Spearman ρ " in done.output


def test_all_of_proteingym(shared: Path, tmp_path: Path):
    """51,715 of full length: ProteinGym's 51,714 variants and the parent."""
    data = load_task("fluorescence", shared / "data").joined("calibration")["calibration"]
    parent = registry.task("fluorescence").parent.sequence
    whole = [s for s in data.sequences if len(s) == len(parent)]
    assert len(whole) == 51_715
    assert len(set(whole)) == 51_715
    assert parent in whole
    assert np.isfinite(data.columns.fields["log_fluorescence"]).all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[joined.train]\nof = ["train"]', "already a split"),
        ('[joined.both]\nof = ["train", "nothing"]', "which is no split"),
    ],
)
def test_faults_of_a_card(tmp_path: Path, line: str, said: str):
    card = Path(registry.__file__).parent.parent / "tasks" / "fluorescence.toml"
    content = card.read_text("utf-8")
    (tmp_path / "own.toml").write_text(content + f'\n{line}\nprotocol = "zero_shot"\n')
    with pytest.raises(CardError, match=said):
        read_task(tmp_path / "own.toml")
