from __future__ import annotations

from pathlib import Path

import pytest

from tape_bench.errors import UsageError
from tape_bench.report.comparison.pairing import Pair, pair, why_not_comparable
from tape_bench.results.collect import Filed

METRIC, SPLIT = "log_fluorescence.spearman", "test"


def filed(*records):
    return [Filed(Path(f"{i}.json"), record) for i, record in enumerate(records)]


def names(pairing):
    return [(p.a.record.model.name, p.b.record.model.name) for p in pairing.pairs]


def test_records_pair_by_task_and_model(make):
    left = filed(make(model="a"), make(model="b"), make("stability", model="a"))
    right = filed(make(model="b"), make(model="a"))

    pairing = pair(left, right)

    assert names(pairing) == [("a", "a"), ("b", "b")]
    assert [f.record.task.id for f in pairing.only_a] == ["stability"]
    assert pairing.only_b == ()


def test_single_models_pair_whatever_their_names(make):
    assert names(pair(filed(make(model="old")), filed(make(model="new")))) == [("old", "new")]


def test_of_repeats_the_newest_is_meant(make):
    old, new = make(started="2026-01-01"), make(started="2026-01-02")

    (one,) = pair(filed(make()), filed(old, new)).pairs

    assert one.b.record.provenance.started == "2026-01-02"


def test_variants_pair_with_their_like(make):
    left = filed(make(dtype="float32"), make(dtype="bfloat16"))
    right = filed(make(dtype="bfloat16"), make(dtype="float32"))

    pairs = pair(left, right).pairs

    assert all(p.a.record.model.dtype == p.b.record.model.dtype for p in pairs)
    assert len(pairs) == 2


def test_what_could_be_several_is_refused(make):
    left = filed(make(dtype="float32"), make(dtype="bfloat16"))
    right = filed(make(dtype="float16"))

    with pytest.raises(UsageError, match="which records of fluorescence"):
        pair(left, right)


def test_equal_runs_are_comparable(make):
    assert why_not_comparable(Pair(*filed(make(), make(model="b"))), METRIC, SPLIT) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "finetune"}, "protocols differ"),
        ({"digest": "9" * 64}, "the data differs in test, train, valid"),
        ({"limit": 10}, "the first 10"),
        ({"status": "failed"}, "has no log_fluorescence.spearman"),
    ],
)
def test_reasons_not_to_compare(make, changes, reason):
    reasons = why_not_comparable(Pair(*filed(make(), make(**changes))), METRIC, SPLIT)

    assert any(reason in said for said in reasons)


def test_an_edited_record_is_not_comparable(make):
    edited = make().model_copy(update={"limit": None, "run_key": "b" * 64})

    reasons = why_not_comparable(Pair(*filed(make(), edited)), METRIC, SPLIT)

    assert any("digest does not match" in said for said in reasons)


def test_test_splits_one_run_left_out_do_not_matter(make):
    whole = make("secondary_structure")
    splits = {n: s for n, s in whole.task.data.splits.items() if n not in ("ts115", "casp12")}
    data = whole.task.data.model_copy(update={"splits": splits, "digest": "7" * 64})
    part = whole.model_copy(update={"task": whole.task.model_copy(update={"data": data})})

    reasons = why_not_comparable(Pair(*filed(whole, part)), "ss3.accuracy.pooled", "cb513")

    assert not any("data differs" in said for said in reasons)
