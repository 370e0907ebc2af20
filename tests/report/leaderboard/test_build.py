from __future__ import annotations

from tape_bench import registry
from tape_bench.cards import BaselineRow, BaselineTable, Measurement
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.report.leaderboard.table import Cell, Leaderboard, Row
from tape_bench.results import store


def published(task: str = "fluorescence", **measured) -> BaselineTable:
    known = {
        "metric": "log_fluorescence.spearman",
        "protocol": "finetune",
        "split": "test",
        "comparable": True,
    }
    return BaselineTable(
        name="paper",
        title="A paper",
        citation="rao2019tape",
        source="its table 2",
        measured={task: Measurement(**(known | measured))},
        rows=(
            BaselineRow(model="Transformer", scores={task: 0.68}),
            BaselineRow(model="LSTM", scores={task: 0.67}, note="no attention"),
        ),
    )


def row(board: Leaderboard, model: str, variant: str | None = None) -> Row:
    rows = [row for section in board.sections for row in section.rows]
    return next(r for r in rows if r.model == model and variant in (None, r.variant))


def only(row: Row) -> Cell:
    cells = [cell for cell in row.cells if cell.state != "absent"]
    assert len(cells) == 1
    return cells[0]


def test_figures_of_the_published_protocol_are_ranked_among_comparable_published_ones(make, cards):
    ours = make(value=0.674, half_width=0.01, protocol="finetune")

    board = build_leaderboard([ours], [published()], cards)

    cell = only(row(board, "bert"))
    # At the two decimals of the paper, 0.674 and LSTM's 0.67 are the same.
    assert (cell.rank, cell.ranked, cell.mark, cell.daggers) == (2, 3, "second", ())
    assert only(row(board, "Transformer")).mark == "best"
    assert only(row(board, "LSTM")).rank == 2


def test_a_probe_is_not_ranked_with_fine_tuned_published_figures(make, cards):
    board = build_leaderboard([make(value=0.675), make(value=0.6, model="x")], [published()], cards)

    assert [(only(row(board, m)).rank, only(row(board, m)).ranked) for m in ("bert", "x")] == [
        (1, 2),
        (2, 2),
    ]
    assert only(row(board, "LSTM")).ranked == 2
    assert [group.published for group in board.sections[0].groups] == [False, True]


def test_an_older_version_of_a_protocol_is_a_group_of_its_own(make, cards):
    new = make(model="new")
    protocol = new.protocol.model_copy(update={"version": "2"})
    new = new.model_copy(update={"protocol": protocol})
    new = new.model_copy(update={"digest": store.digest(new)})

    board = build_leaderboard([new, make(model="old")], [], cards)

    assert [(g.protocol, [r.model for r in g.rows]) for g in board.sections[0].groups] == [
        ("probe", ["new"]),
        ("probe version 1", ["old"]),
    ]
    assert only(row(board, "old")).ranked == 1


def test_among_controls_nobody_wins(make, cards):
    records = [make(value=v, model=m, control=True) for v, m in ((0.5, "a"), (0.4, "b"))]

    board = build_leaderboard(records, [], cards)

    assert [(only(row(board, m)).rank, only(row(board, m)).mark) for m in "ab"] == [
        (1, None),
        (2, None),
    ]
    with_model = build_leaderboard([*records, make(value=0.45)], [], cards)
    assert [only(row(with_model, m)).mark for m in ("a", "bert", "b")] == ["best", "second", None]


def test_groups_hold_one_kind_of_data_in_every_column(make, cards):
    records = [
        make(model="a"),
        make("stability", model="a"),
        make("stability", model="b", data="partial", digest="7" * 64),
        make(model="b"),
        make(model="c"),
        make(model="d", limit=10),
    ]

    groups = build_leaderboard(records, [], cards).sections[0].groups

    assert sorted(sorted(r.model for r in g.rows) for g in groups) == [["a", "c"], ["b"], ["d"]]
    for group in groups:
        for column in range(2):
            assert len({r.cells[column].data for r in group.rows} - {""}) < 2


def test_a_published_row_may_have_a_metric_of_its_own(make, cards):
    table = published()
    own = Measurement(
        metric="its own", protocol="finetune", split="test", comparable=False, reason="in batches"
    )
    lstm = table.rows[1].model_copy(update={"measured": {"fluorescence": own}})
    table = table.model_copy(update={"rows": (table.rows[0], lstm)})

    board = build_leaderboard([make()], [table], cards)

    cell = only(row(board, "LSTM"))
    assert (cell.daggers, cell.rank, cell.metric) == (("in batches",), None, "its own")
    assert only(row(board, "Transformer")).daggers == ()


def test_proteinlm_200m_and_3b_measured_contacts_differently(cards):
    board = build_leaderboard([], registry.baselines(), cards)
    column = [c.task for c in board.sections[0].columns].index("contact")

    small, large = (row(board, f"ProteinLM-{size}").cells[column] for size in ("200M", "3B"))

    assert small.metric == "contact.tape_p_at_l5.batch8"
    assert large.metric == "contact.proteinlm_p_at_l5.both_triangles.pooled"
    assert small.daggers != large.daggers


def test_a_figure_on_partial_data_has_a_dagger_and_is_not_ranked_with_published_ones(make, cards):
    record = make(value=0.99, data="partial", reason="27 of 40 records")

    ours = only(row(build_leaderboard([record], [published()], cards), "bert"))

    assert "27 of 40 records" in ours.daggers[0]
    assert (ours.rank, ours.ranked, ours.mark) == (1, 1, None)


def test_the_reason_of_an_incomparable_published_figure_stands_once(make, cards):
    table = published(comparable=False, reason="both triangles")

    board = build_leaderboard([make()], [table], cards)

    assert [only(row(board, m)).daggers for m in ("Transformer", "LSTM")] == [
        ("both triangles",),
        ("both triangles",),
    ]
    assert list(board.footnotes) == ["both triangles", "no attention"]
    assert list(board.footnotes.values()) == ["a", "b"]


def test_a_published_figure_of_another_metric_or_split_has_a_dagger(make, cards):
    for measured in ({"metric": "log_fluorescence.pearson"}, {"split": "valid"}):
        board = build_leaderboard([make()], [published(**measured)], cards)
        cell = only(row(board, "LSTM"))
        assert cell.daggers
        assert cell.rank is None


def test_simulated_data_is_never_beside_published_figures(make, cards):
    board = build_leaderboard([make(data="simulated")], [published()], cards)

    assert [section.simulated for section in board.sections] == [True]
    assert "SIMULATED" in board.sections[0].caption
    assert not any(row.published for row in board.sections[0].rows)
    assert board.citations == ()


def test_simulated_and_real_data_make_two_tables(make, cards):
    records = [make(data="simulated", model="toy"), make(model="real")]

    board = build_leaderboard(records, [published()], cards)

    assert [section.simulated for section in board.sections] == [False, True]
    assert {r.model for r in board.sections[1].rows} == {"toy"}


def test_different_runs_are_different_rows_and_say_how_they_differ(make, cards):
    records = [
        make(value=0.5),
        make(value=0.4, dtype="bfloat16"),
        make(value=0.3, given={"head": "linear"}),
    ]

    rows = build_leaderboard(records, [], cards).sections[0].rows

    assert len(rows) == 3
    assert len({r.variant for r in rows}) == 3
    assert any("bfloat16" in r.variant for r in rows)
    assert any("head linear" in r.variant for r in rows)


def test_runs_on_two_versions_of_the_data_are_two_rows_ranked_apart(make, cards):
    records = [
        make(value=0.5, digest="1" * 64, source="old", data="other"),
        make(value=0.6, digest="2" * 64, source="new", data="other"),
    ]

    board = build_leaderboard(records, [], cards)

    rows = board.sections[0].rows
    assert {r.variant for r in rows} == {"data old", "data new"}
    assert [only(r).ranked for r in rows] == [1, 1]
    assert any("2 different versions of the data" in warning for warning in board.warnings)


def test_repeats_of_one_setting_leave_the_newest_and_are_counted(make, cards):
    records = [
        make(value=0.5, started="2026-01-01T00:00:00+00:00"),
        make(value=0.6, started="2026-01-03T00:00:00+00:00"),
        make(status="failed", error="no memory", started="2026-01-05T00:00:00+00:00"),
    ]

    board = build_leaderboard(records, [], cards)

    assert only(board.sections[0].rows[0]).value == 0.6
    assert any(warning.startswith("2 older records") for warning in board.warnings)


def test_tasks_of_one_run_share_a_row(make, cards):
    board = build_leaderboard([make("contact"), make("stability")], [], cards)

    assert len(board.sections[0].rows) == 1
    assert [column.task for column in board.sections[0].columns] == ["contact", "stability"]


def test_failed_unfinished_and_undefined_say_why(make, cards):
    records = [
        make(status="failed", error="out of memory\ntraceback", model="a"),
        make(status="started", model="b"),
        make(value=None, undefined="constant predictions", model="c"),
    ]

    board = build_leaderboard(records, [], cards)

    cells = {model: only(row(board, model)) for model in "abc"}
    assert [cells[model].state for model in "abc"] == ["failed", "unfinished", "undefined"]
    assert cells["a"].remarks == ("failed: out of memory",)
    assert cells["c"].remarks == ("undefined: constant predictions",)
    assert all(cell.value is None for cell in cells.values())


def test_proteins_left_out_are_counted(make, cards):
    record = make()
    metric = record.metrics[0].model_copy(update={"n_left_out": {"no contacts": 2}})
    split = record.task.data.splits["test"].model_copy(update={"n_skipped": {"too long": 3}})
    data = record.task.data.model_copy(update={"splits": {"test": split}})
    task = record.task.model_copy(update={"data": data})
    record = record.model_copy(update={"metrics": [metric], "task": task})

    cell = only(row(build_leaderboard([record], [], cards), "bert"))

    assert cell.remarks == (
        "3 proteins left out: too long",
        "2 proteins left out: no contacts",
    )


def test_a_limited_run_is_marked(make, cards):
    cell = only(row(build_leaderboard([make(limit=100)], [published()], cards), "bert"))

    assert "first 100 records" in cell.daggers[0]
    assert cell.ranked == 1


def test_an_edited_record_is_marked_and_not_ranked(make, cards):
    record = make(value=0.5)
    better = record.metrics[0].model_copy(update={"value": 0.9})
    edited = record.model_copy(update={"metrics": [better]})

    cell = only(row(build_leaderboard([edited, make(value=0.4, model="x")], [], cards), "bert"))

    assert "digest does not match" in cell.daggers[0]
    assert cell.rank is None


def test_gain_is_over_the_best_control_of_the_same_data(make, cards):
    records = [
        make(value=0.50, model="bert"),
        make(value=0.30, model="composition", control=True),
        make(value=0.42, model="positional", control=True),
        make(value=0.90, model="elsewhere", control=True, data="other", digest="9" * 64),
    ]

    board = build_leaderboard(records, [], cards)

    bert = only(row(board, "bert"))
    assert bert.gain is not None
    assert abs(bert.gain - 0.08) < 1e-12
    assert bert.gain_over == "positional"
    assert only(row(board, "composition")).gain is None


def test_ties_are_overlapping_intervals(make, cards):
    records = [
        make(value=0.50, half_width=0.02, model="best"),
        make(value=0.47, half_width=0.02, model="close"),
        make(value=0.40, half_width=0.02, model="far"),
    ]

    board = build_leaderboard(records, [], cards)

    assert [only(row(board, model)).tied for model in ("best", "close", "far")] == [
        False,
        True,
        False,
    ]


def test_a_record_of_an_older_card_is_not_ranked(make, cards):
    newer = {"fluorescence": cards["fluorescence"].model_copy(update={"version": "2"})}

    cell = only(row(build_leaderboard([make()], [], newer), "bert"))

    assert "version 1 of the task's card" in cell.daggers[0]
    assert cell.rank is None


def test_a_task_without_a_card_has_a_column_of_its_own(make):
    board = build_leaderboard([make()], [], {})

    assert board.sections[0].columns[0].label == "Spearman ρ"
    assert only(row(board, "bert")).value == 0.5


def test_without_records_the_published_figures_stand_alone(cards):
    board = build_leaderboard([], [published()], cards)

    assert [r.model for r in board.sections[0].rows] == ["Transformer", "LSTM"]


def test_data_sets_and_papers_are_cited(make, cards):
    board = build_leaderboard([make()], [published()], cards)

    assert board.citations == ("rao2019tape", "sarkisyan2016gfp")


def test_every_published_score_is_listed_under_what_moved(make, cards):
    board = build_leaderboard([make("stability")], registry.baselines(), cards)

    found = {(one.way, one.model): one.value for one in board.published}

    # Schmirler et al. 2024, Tables S3 and S4.
    assert found["frozen, head", "ESM-2 650M"] == 0.664
    assert found["finetune", "ESM-2 650M"] == 0.743
    assert found["finetune, LoRA", "ESM-2 3B"] == 0.841
    assert {one.task for one in board.published} == {"stability"}
    assert not any(r.model == "ESM-2 3B" for r in board.sections[0].rows)


def test_a_model_measured_again_stands_beside_its_published_score(make, cards):
    board = build_leaderboard(
        [make("stability", 0.105, model="onehot")], registry.baselines(), cards
    )

    (one,) = board.remeasured
    assert (one.published.model, one.published.value, one.value) == ("One Hot", 0.19, 0.105)
    assert "17 wild types" in one.why


def test_simulated_data_brings_no_published_scores(make, cards):
    board = build_leaderboard(
        [make("stability", data="simulated", model="onehot")], registry.baselines(), cards
    )

    assert board.published == board.remeasured == ()
