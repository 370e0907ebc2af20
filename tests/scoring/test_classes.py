from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tape_bench import registry
from tape_bench.scoring.metrics import score

TOP5 = "accuracy.top5.ties_shared"


def test_accuracy_is_that_of_the_reference(golden_metrics, predict):
    got = {
        name: score(
            name, predict.residues(golden_metrics["tok/labels"], golden_metrics["tok/scores"])
        )
        for name in ("accuracy.pooled", "accuracy.by_protein")
    }
    assert got["accuracy.pooled"].value == pytest.approx(golden_metrics["tok/accuracy_pooled"])
    assert got["accuracy.by_protein"].value == pytest.approx(
        golden_metrics["tok/per_protein"].mean()
    )


def test_equal_scores_call_the_lowest_class(golden_metrics, predict):
    tied = predict.residues(golden_metrics["tok/tie_labels"], golden_metrics["tok/tie_scores"])
    assert score("accuracy.pooled", tied).value == pytest.approx(golden_metrics["tok/tie_accuracy"])


def test_top1_and_top5_are_those_of_the_reference(golden_metrics, predict):
    folds = predict.folds(golden_metrics["top1/labels"], golden_metrics["top1/logits"])
    assert score("accuracy.top1", folds).value == pytest.approx(golden_metrics["top1/accuracy_int"])
    assert score("accuracy.top5", folds).value == pytest.approx(
        golden_metrics["top1/top5_strict_rank"]
    )


@pytest.mark.parametrize(("name", "shared"), [(TOP5, 1 / 2), ("accuracy.top5", 1)])
def test_top5_by_hand(predict, name, shared):
    five_higher, four_higher_one_equal = [9, 8, 7, 6, 5, 1], [9, 8, 7, 6, 1, 1]
    assert score(name, predict.folds([5], [five_higher])).value == 0
    assert score(name, predict.folds([5], [four_higher_one_equal])).value == shared
    assert score(name, predict.folds([-1], [five_higher])).value is None


def test_who_scores_all_classes_alike_knows_nothing(predict):
    blind = predict.folds([0, 7, 1194], np.zeros((3, 1195)))
    assert score(TOP5, blind).value == pytest.approx(5 / 1195)
    assert "fold." + TOP5 in [metric.id for metric in registry.task("remote_homology").metrics]
    # TAPE's accuracy calls the lowest class among equals: right where it is class 0.
    assert score("accuracy.top1", blind).value == pytest.approx(1 / 3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_ties_are_the_mean_over_every_order_of_the_classes(predict, scores, data):
    true = data.draw(st.integers(0, len(scores) - 1))
    orders = list(itertools.permutations(range(len(scores))))
    # A stable sort keeps equal scores in the order in which the classes are numbered.
    hits = [true in sorted(order, key=lambda class_: -scores[class_])[:5] for order in orders]
    got = score(TOP5, predict.folds([true], [scores])).value
    assert got == pytest.approx(np.mean(hits))


def test_pooled_and_by_protein_by_hand(predict):
    # 1 of 2 labelled, 3 of 3, none labelled: 4/5 pooled, (1/2 + 1)/2 by protein.
    given_ = predict.called([[0, 1, -1], [2, 2, 2], [-1, -1]], [[0, 0, 0], [2, 2, 2], [0, 1]])
    pooled, by_protein = (score(f"accuracy.{how}", given_) for how in ("pooled", "by_protein"))
    assert (pooled.value, pooled.n, pooled.left_out) == (0.8, 2, {"no label": 1})
    assert (by_protein.value, by_protein.n) == (0.75, 2)


def test_f1_by_hand(predict):
    # Class 0: 1 hit, 2 occurrences, 1 prediction: 2/3. Class 1: 1 hit, 1 and 2: 2/3. Class 2: 1.
    given_ = predict.called([[0, 0, 1], [2, -1]], [[0, 1, 1], [2, 0]])
    assert score("f1.class0", given_).value == pytest.approx(2 / 3)
    assert score("f1.class1", given_).value == pytest.approx(2 / 3)
    assert score("f1.class2", given_).value == 1
    assert score("f1.macro", given_).value == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_f1_of_a_class_nobody_speaks_of_is_undefined_and_of_a_missed_one_zero(predict):
    given_ = predict.called([[0, 0, 1]], [[0, 0, 0]])
    assert score("f1.class1", given_).value == 0
    absent = score("f1.class7", given_)
    assert absent.value is None
    assert absent.reason == "class 7 neither occurs nor is predicted"


@pytest.mark.parametrize(
    "name", ["accuracy.pooled", "accuracy.by_protein", "f1.macro", "f1.class0"]
)
def test_without_any_label_there_is_no_figure(predict, name):
    got = score(name, predict.called([[-1, -1], [-1]], [[0, 0], [0]]))
    assert got.value is None
    assert got.n == 0
    assert got.reason == "no protein can be scored: 2 with no label"


@given(st.data())
def test_f1_follows_sklearn(predict, data):
    classes = st.lists(st.integers(0, 7), min_size=1, max_size=30)
    true = data.draw(classes)
    predicted = data.draw(st.lists(st.integers(0, 7), min_size=len(true), max_size=len(true)))
    given_ = predict.called([true], [predicted])
    assert score("f1.macro", given_).value == pytest.approx(
        f1_score(true, predicted, average="macro")
    )
    of_class = f1_score(true, predicted, labels=range(8), average=None, zero_division=np.nan)
    for class_, expected in enumerate(of_class):
        got = score(f"f1.class{class_}", given_).value
        assert got == (None if np.isnan(expected) else pytest.approx(expected))
    assert score("accuracy.pooled", given_).value == pytest.approx(
        np.mean(np.array(true) == predicted)
    )
