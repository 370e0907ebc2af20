"""Which proteins belong together: what the card names, and identical sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tape_bench.data.clusters import joined
from tape_bench.data.column_cache import cached
from tape_bench.data.columns import Columns, build
from tape_bench.data.examples import load_task
from tape_bench.data.records import check
from tape_bench.errors import DataError

Maker = Callable[..., Any]
KIND = "sequence_value"
MUTATION = r"(.+?)(?:_[A-Z]\d+[A-Z])?"


@pytest.fixture
def card(make_card: Maker) -> Any:
    return make_card(KIND, cluster={"field": "parent", "rule": MUTATION})


@pytest.fixture
def raw(toy_records: Maker) -> Any:
    def make(*parents: Any) -> list[dict[str, Any]]:
        records = toy_records(KIND, count=len(parents))
        return [r | {"parent": p} for r, p in zip(records, parents, strict=True)]

    return make


def laid_out(raw: list[dict[str, Any]], card: Any) -> Columns:
    return build([check(r, card, "here") for r in raw], card.kind, "here")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_joined_are_the_connected_components(labels: list[tuple[int, int]]) -> None:
    a, b = (list(one) for one in zip(*labels, strict=True))
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a)) if a[i] == a[j] or b[i] == b[j]]
    rows, columns = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)))
    count, expected = connected_components(graph, directed=False)
    found = joined(a, b)
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
    assert sorted(set(found.tolist())) == list(range(count))
    assert found[0] == 0


def test_the_rule_takes_the_cluster_out_of_the_field(card: Any, raw: Maker) -> None:
    records = raw(b"Pin1_A2D", "Pin1", b"HHH_rd2_0134", "villin_W23L", "villin")
    columns = laid_out(records, card)
    assert columns.clusters == ["Pin1", "Pin1", "HHH_rd2_0134", "villin", "villin"]
    assert columns.take([4, 0]).clusters == ["villin", "Pin1"]
    assert columns.shorten(3).clusters == columns.clusters
    again = Columns.from_arrays(KIND, columns.arrays())
    assert again.clusters == columns.clusters


def test_clusters_are_said_about_records_and_not_part_of_them(
    card: Any, raw: Maker, make_card: Maker
) -> None:
    named = laid_out(raw("a", "b"), card)
    plain = laid_out(raw("a", "b"), make_card(KIND))
    assert plain.clusters is None
    assert named.digest == plain.digest


def test_the_field_stands_in_all_records_or_in_none(card: Any, raw: Maker) -> None:
    assert laid_out(raw(None, None), card).clusters is None
    for parents in (("a", None), (None, "a")):
        with pytest.raises(DataError, match="names the cluster stands in some records"):
            laid_out(raw(*parents), card)


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ("", "is no parent"),
        (3.5, "is no parent"),
        (b"\xff", "not UTF-8"),
        ("\n", "is no text"),
    ],
)
def test_what_names_no_cluster_is_refused(card: Any, raw: Maker, parent: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        laid_out(raw(parent), card)


def test_the_cache_keeps_clusters_and_notices_a_flipped_bit_in_them(
    tmp_path: Path, card: Any, raw: Maker
) -> None:
    def make() -> Columns:
        return laid_out(raw("Pin1_A2D", "villin"), card)

    assert cached(tmp_path, "content", card, make).clusters == ["Pin1", "villin"]
    (file,) = (tmp_path / "columns").iterdir()
    file.write_bytes(file.read_bytes().replace(b"Pin1villin", b"Pin2villin"))
    assert cached(tmp_path, "content", card, make).clusters == ["Pin1", "villin"]
    other_rule = card.model_copy(update={"cluster": None})
    cached(tmp_path, "content", other_rule, make)
    assert len(list((tmp_path / "columns").iterdir())) == 2


def test_examples_share_a_cluster_by_name_or_by_sequence(
    card: Any, raw: Maker, data_root: Maker
) -> None:
    test = raw("a", "b_A1C", "b", "c", "d")
    test[4]["primary"] = test[0]["primary"]
    root = data_root(KIND, test=test)
    assert load_task(card, root)["test"].clusters.tolist() == [0, 1, 1, 2, 0]
    assert load_task(card, root)["test"].take([4, 2, 0]).clusters.tolist() == [0, 1, 0]


def test_a_csv_names_clusters_in_a_column(tmp_path: Path, card: Any) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        lines = "sequence,score,parent\nMKV,1.0,x_M1A\nMKL,2.0,x\nMKI,3.0,y\n"
        (folder / f"toy_{split}.csv").write_text(lines)
    assert load_task(card, tmp_path)["test"].clusters.tolist() == [0, 0, 1]


def test_the_sample_s_mutants_share_their_parents() -> None:
    assert len(set(load_task("stability", data="sample")["test"].clusters.tolist())) == 20


@pytest.mark.slow
def test_real_clusters(shared: Path) -> None:
    """Counts as published: 17 wild types with their mutants, 434 sequences of 513 records."""
    stability = load_task("stability", shared / "data")["test"]
    assert len(set(stability.clusters.tolist())) == 17
    cb513 = load_task("secondary_structure", shared / "data")["cb513"]
    assert len(set(cb513.clusters.tolist())) == len(set(cb513.sequences)) == 434
