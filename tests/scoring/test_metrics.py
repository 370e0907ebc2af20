from __future__ import annotations

import subprocess
import sys

import pytest

from tape_bench.errors import UsageError
from tape_bench.scoring.metrics import METRICS, describe, find, of_kind, score


def test_required_definitions_are_there():
    pairs = {
        f"precision@{cut}.{range_}.upper.by_protein"
        for cut in ("L", "L/2", "L/5")
        for range_ in ("ge6", "short", "medium", "long", "medlong")
    }
    published = {
        "tape_p_at_l5.pooled",
        "tape_p_at_l5.batch8",
        "proteinlm_p_at_l5.both_triangles.pooled",
    }
    assert {m.definition for m in of_kind("residue_pair")} == pairs | published
    assert {"accuracy.pooled", "accuracy.by_protein", "f1.macro", "f1.class7"} <= {
        m.definition for m in of_kind("token_class")
    }
    assert {"accuracy.top1", "accuracy.top5", "f1.macro"} <= {
        m.definition for m in of_kind("sequence_class")
    }
    values = {"spearman", "pearson", "mse", "mae", "spearman.true>2.5", "mse.true<=2.0"}
    assert values <= {m.definition for m in of_kind("sequence_value")}


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ("f1.class1194", "sequence_class"),
        ("mae.true<=-0.5", "sequence_value"),
        ("tape_p_at_l5.batch32", "residue_pair"),
    ],
)
def test_families_take_any_parameter_and_keep_it_in_the_id(definition, kind):
    assert definition not in METRICS
    assert find(definition, kind).definition == definition
    assert describe(definition)


def test_every_metric_says_in_one_sentence_what_it_is():
    sentences = [describe(definition) for definition in METRICS]
    assert len(set(sentences)) == len(METRICS)
    assert not any("\n" in sentence or sentence.endswith(".") for sentence in sentences)


def test_errors_alone_are_better_when_lower():
    worse_when_higher = {m.definition for m in METRICS.values() if not m.higher_is_better}
    assert worse_when_higher == {
        "mse", "mae", "mse.true>2.5", "mse.true<=2.5", "mse.true>2.0", "mse.true<=2.0",
    }  # fmt: skip


def test_unknown_ids_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean spearman or"):
        find("speerman", "sequence_value")
    with pytest.raises(UsageError, match="did you mean accuracy"):
        describe("acuracy.pooled")
    for near_miss in ("f1.class01", "tape_p_at_l5.batch0", "spearman.true>", "mse.true=>2"):
        with pytest.raises(UsageError, match="no metric named"):
            describe(near_miss)


def test_a_metric_for_another_kind_of_task_is_refused(predict):
    with pytest.raises(UsageError, match="scores token_class tasks, not sequence_value"):
        score("accuracy.pooled", predict.values([1], [1]))


def test_scoring_starts_without_torch_or_scipy():
    seen = "import sys, tape_bench.scoring.metrics, tape_bench.scoring.significance as s;" \
           "print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
