from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tape_bench.data.examples import Split, load_task
from tape_bench.data.lengths import apply_length_policy
from tape_bench.errors import DataError

Maker = Callable[..., Any]


@pytest.fixture
def split(make_card: Maker, data_root: Maker) -> Split:
    """Proteins of 4, 12, 9 (unlabelled) and 10 residues."""
    records = [
        {
            "id": str(n),
            "primary": "MKVLA" * 2 + "W" * (n - 10),
            "ss3": [0, 1] * (n // 2) + [2] * (n % 2),
        }
        for n in (12, 10)
    ]
    records.insert(0, {"id": "4", "primary": "MKVL", "ss3": [0, 1, 2, -1]})
    records.insert(2, {"id": "9", "primary": "A" * 9, "ss3": [-1] * 9})
    return load_task(make_card("token_class"), data_root("token_class", test=records))["test"]


@pytest.mark.parametrize("policy", ["error", "skip", "truncate", "window"])
@pytest.mark.parametrize("longest", [None, 12, 99])
def test_nothing_happens_where_nothing_is_too_long(
    split: Split, policy: Any, longest: int | None
) -> None:
    assert apply_length_policy(split, policy, longest) is split


def test_error_names_the_first(split: Split) -> None:
    with pytest.raises(DataError, match="2 of 4 proteins of the split test are longer than 9"):
        apply_length_policy(split, "error", 9)


def test_skip_leaves_out_and_counts(split: Split) -> None:
    kept = apply_length_policy(split, "skip", 9)
    assert kept.ids == ["4", "9"]
    assert kept.skipped == {"longer than 9 residues": 2, "no residue has a label": 1}
    assert (kept.n_total, kept.n_scored) == (4, 1)
    assert kept.digest == split.digest


def test_skip_that_leaves_nothing_to_score_is_an_error(split: Split) -> None:
    with pytest.raises(DataError, match="no protein of the split test can be scored"):
        apply_length_policy(split, "skip", 3)


def test_truncate_cuts_sequences_and_labels_and_counts(split: Split) -> None:
    cut = apply_length_policy(split, "truncate", 9)
    assert cut.ids == split.ids
    assert [len(s) for s in cut.sequences] == [4, 9, 9, 9]
    for short, whole in zip(cut, split, strict=True):
        assert short.sequence == whole.sequence[:9]
        np.testing.assert_array_equal(short.targets["ss3"], whole.targets["ss3"][:9])
    assert cut.shortened == {"longer than 9 residues: the rest left out": 2}
    assert cut.skipped == split.skipped


def test_truncate_that_leaves_nothing_to_score_is_counted(
    make_card: Maker, data_root: Maker
) -> None:
    records = [
        {"id": "a", "primary": "MKVL", "ss3": [-1, -1, 0, 0]},
        {"id": "b", "primary": "MKVL", "ss3": [1, -1, 0, 0]},
    ]
    task = load_task(make_card("token_class"), data_root("token_class", test=records))
    assert apply_length_policy(task["test"], "truncate", 2).skipped == {"no residue has a label": 1}


def test_window_keeps_everything_and_counts(split: Split) -> None:
    kept = apply_length_policy(split, "window", 9)
    assert kept.sequences == split.sequences
    assert kept.shortened == {"longer than 9 residues: read in windows": 2}
    assert kept.skipped == split.skipped
