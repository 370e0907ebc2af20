"""Stand-in proteins: lengths that real ones have, and the same ones every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench import registry
from tape_bench.data.examples import load_task
from tape_bench.errors import UsageError
from tape_bench.speed.synthetic import SETS, lengths, proteins

FOLDERS = {"fluorescence": "official", "stability": "official"}


@pytest.mark.parametrize(
    "name",
    [
        "stability",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("fluorescence", "remote_homology", "secondary_structure")
        ),
    ],
)
def test_the_table_is_that_of_the_data(shared: Path, name: str) -> None:
    task = load_task(name, shared / "data" / FOLDERS.get(name, "rebuilt"))
    real = np.sort([len(sequence) for split in task.values() for sequence in split.sequences])
    middles = ((np.arange(32) + 0.5) / 32 * len(real)).astype(int)
    assert np.abs(np.array(SETS[name].quantiles) - real[middles]).max() <= 1
    assert np.mean(SETS[name].quantiles) == pytest.approx(real.mean(), rel=0.015)


@pytest.mark.parametrize("name", registry.task_names())
def test_as_many_proteins_as_published(name: str) -> None:
    published = sum(split.records for split in registry.task(name).splits.values())
    assert SETS[name].proteins == published


@given(st.integers(0, 300), st.sampled_from(["tape", "77", *SETS]))
def test_as_many_as_asked(count: int, of: str) -> None:
    drawn = lengths(count, of)
    assert len(drawn) == count
    assert drawn == lengths(count, of)


def test_sets_go_by_their_names_in_tape_too() -> None:
    assert lengths(50, "contact_prediction") == lengths(50, "contact")


def test_each_set_has_its_share() -> None:
    total = sum(one.proteins for one in SETS.values())
    drawn = Counter(lengths(1000))
    # No other set has proteins of these lengths in such numbers.
    assert drawn[237] == pytest.approx(1000 * SETS["fluorescence"].proteins / total, rel=0.1)
    short = sum(count for length, count in drawn.items() if 43 <= length <= 50)
    assert short == pytest.approx(1000 * SETS["stability"].proteins / total, rel=0.05)


def test_all_sets_have_the_residues_they_are_known_to_have() -> None:
    residues = sum(one.proteins * np.mean(one.quantiles) for one in SETS.values())
    assert residues == pytest.approx(28e6, rel=0.03)


def test_one_set_and_one_length() -> None:
    assert sorted(lengths(32, "contact")) == list(SETS["contact"].quantiles)
    assert lengths(3, "512") == [512, 512, 512]


@pytest.mark.parametrize("of", ["stabilty", "0", "-3", "1.5", ""])
def test_unknown_lengths(of: str) -> None:
    with pytest.raises(UsageError, match="no data set named"):
        lengths(3, of)


def test_proteins_have_their_lengths_and_twenty_letters() -> None:
    drawn = proteins([1, 500, 3000])
    assert [len(protein) for protein in drawn] == [1, 500, 3000]
    assert set("".join(drawn)) == set("ACDEFGHIKLMNPQRSTVWY")
    assert drawn == proteins([1, 500, 3000])
    assert drawn != proteins([1, 500, 3000], seed=1)
    assert proteins([]) == []
