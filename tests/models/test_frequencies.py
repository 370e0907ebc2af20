"""The site-independent model of an alignment, counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tape_bench import evaluate, load_model
from tape_bench.errors import DataError, ModelError, UsageError

A2M = """>parent/1-4
MK-TA
>near
MKwwGTA
>a second of the same
M.KGTA
>far
ARGT-
"""


def aligned(tmp_path: Path, content: str = A2M, name: str = "relatives.a2m") -> str:
    (tmp_path / name).write_text(content)
    return f"frequencies:{tmp_path / name}"


def test_scores_by_hand(tmp_path: Path):
    model = load_model(aligned(tmp_path), identity=0)
    # Column 1: M M M A, column 2: K K K R, with 1 added for each of the 20 residues.
    scores = model.score_variants("MKTA", ["MKTA", "AKTA", "ARTA", "WKTA", "MKT", "MKTX"])
    expected = [0, math.log(2 / 4), math.log(2 / 4) * 2, math.log(1 / 4), math.nan, math.nan]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_alike_sequences_count_as_one(tmp_path: Path):
    model = load_model(aligned(tmp_path))
    (alignment,) = model.alignments
    assert (alignment.sequences, alignment.effective) == (4, 2)
    (score,) = model.score_variants("MKTA", ["AKTA"])
    assert score == pytest.approx(0), "the three that are alike weigh as much as the far one"
    assert "4 sequences, as good as 2 independent" in model.notes[0]


def test_weights_are_those_of_loops(tmp_path: Path):
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("AC-"), 10)) for _ in range(700)]
    lines[0] = lines[0].replace("-", "A")
    content = "".join(f">{n}\n{line}\n" for n, line in enumerate(lines))
    model = load_model(aligned(tmp_path, content), identity=0.7)
    alike = [sum(sum(map(str.__eq__, a, b)) >= 7 for b in lines) for a in lines]
    assert model.alignments[0].effective == pytest.approx(sum(1 / n for n in alike))


def test_a_part_of_the_parent_scores_its_own_places_only(tmp_path: Path):
    model = load_model(aligned(tmp_path), pseudocount=0.5)
    inside, outside = model.score_variants("GGMKTAGG", ["GGAKTAGG", "AGMKTAGG"])
    assert np.isfinite(inside)
    assert np.isnan(outside)
    with pytest.raises(ModelError, match="no alignment begins with this parent"):
        model.score_variants("WWWW", ["WWWA"])


def test_stability_by_a_folder_of_alignments(tmp_path: Path):
    from tape_bench import load_task
    from tape_bench.data.parents import parents_of

    parents = set(parents_of(load_task("stability", "sample")["test"]))
    folder = tmp_path / "all"
    folder.mkdir()
    for number, parent in enumerate(sorted(parents)):
        aligned(folder, f">p\n{parent}\n>q\n{'A' * len(parent)}\n", f"{number}.fasta")
    (record,) = evaluate(
        f"frequencies:{folder}", "stability", data="sample", protocol="zero_shot",
        out=tmp_path / "results",
    )  # fmt: skip
    assert record.headline.value is not None
    assert record.protocol.resolved["what_moved"] == "nothing"


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (">a\nMKT\n>b\nMK\n", ModelError, "2 columns, where the first one has 3.*(?s:line 3)"),
        (">a\n---\n", ModelError, "the alignment is empty"),
        (">a\nMK1\n", DataError, "neither a residue nor a gap"),
        ("", DataError, "no sequence"),
    ],
)
def test_what_is_no_alignment(tmp_path: Path, content, error, said):
    with pytest.raises(error, match=f"(?s){said}"):
        load_model(aligned(tmp_path, content))


def test_what_cannot_be_asked(tmp_path: Path):
    for options in ({"identity": 2.0}, {"pseudocount": 0.0}):
        with pytest.raises(UsageError):
            load_model(aligned(tmp_path), **options)
    with pytest.raises(UsageError, match="which alignment"):
        load_model("frequencies")
    with pytest.raises(ModelError, match="there is no alignment"):
        load_model(f"frequencies:{tmp_path / 'none'}")
