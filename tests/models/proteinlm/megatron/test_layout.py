"""From every path a user may give to all of a checkpoint's files, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tape_bench.errors import CheckpointError
from tape_bench.models.proteinlm.megatron.layout import SHARD, TRACKER, find


def make(root: Path, ranks: Sequence[str], iteration: str = "iter_0000120") -> Path:
    for rank in ranks:
        (root / iteration / rank).mkdir(parents=True)
        (root / iteration / rank / SHARD).touch()
    return root


@pytest.mark.parametrize(
    ("tracked", "folder"),
    [("120", "iter_0000120"), ("release", "release"), ("120\n", "iter_0000120")],
)
def test_the_tracker_names_the_iteration(tmp_path: Path, tracked: str, folder: str) -> None:
    root = make(tmp_path, ["mp_rank_00"], folder)
    make(root, ["mp_rank_00"], "iter_0000007")
    (root / TRACKER).write_text(tracked)
    found = find(root)
    assert found.revision == folder
    assert found.shards == ((root / folder / "mp_rank_00" / SHARD,),)


@pytest.mark.parametrize("given", ["iter_0000120", f"iter_0000120/mp_rank_00/{SHARD}",
                                   "iter_0000120/mp_rank_00"])  # fmt: skip
def test_an_iteration_a_rank_or_a_file_may_be_given(tmp_path: Path, given: str) -> None:
    root = make(tmp_path, ["mp_rank_00"])
    found = find(root / given)
    assert found.revision == "iter_0000120"
    assert found.shards == ((root / "iter_0000120" / "mp_rank_00" / SHARD,),)


def test_ranks_are_ordered_by_number_and_not_by_name(tmp_path: Path) -> None:
    root = make(tmp_path, [f"mp_rank_{rank}" for rank in range(12)])
    (stage,) = find(root / "iter_0000120").shards
    assert [shard.parent.name for shard in stage] == [f"mp_rank_{rank}" for rank in range(12)]


def test_stages_come_before_ranks(tmp_path: Path) -> None:
    names = [f"mp_rank_{rank:02d}_{stage:03d}" for rank in range(2) for stage in range(3)]
    root = make(tmp_path, names)
    shards = find(root / "iter_0000120").shards
    assert [[shard.parent.name for shard in stage] for stage in shards] == [
        [f"mp_rank_{rank:02d}_{stage:03d}" for rank in range(2)] for stage in range(3)
    ]


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        pytest.param(["mp_rank_00", "mp_rank_02"], "missing: mp_rank_01", id="gap"),
        pytest.param(
            ["mp_rank_00_000", "mp_rank_01_001"], "missing: mp_rank_01_000, mp_rank_00_001",
            id="grid with holes",
        ),
        pytest.param(["mp_rank_00", "mp_rank_01_000"], "some rank folders name", id="mixed"),
    ],
)  # fmt: skip
def test_missing_ranks_are_named(tmp_path: Path, ranks: Sequence[str], message: str) -> None:
    root = make(tmp_path, ranks)
    with pytest.raises(CheckpointError, match=message):
        find(root / "iter_0000120")


def test_a_folder_without_its_file_is_a_missing_rank(tmp_path: Path) -> None:
    root = make(tmp_path, ["mp_rank_00", "mp_rank_01"])
    (root / "iter_0000120" / "mp_rank_01" / SHARD).unlink()
    with pytest.raises(CheckpointError, match="missing: mp_rank_01"):
        find(root / "iter_0000120")


def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        find(tmp_path / "nowhere")
    make(tmp_path, ["mp_rank_00"])
    with pytest.raises(CheckpointError, match=r"no checkpoint is in this folder[^$]*iter_0000120"):
        find(tmp_path)


@pytest.mark.parametrize(("tracked", "message"), [("latest", "holds 'latest'"),
                                                  ("999", "names iter_0000999"),
                                                  ("../../etc", "holds")])  # fmt: skip
def test_a_tracker_that_leads_nowhere_is_named(tmp_path: Path, tracked: str, message: str) -> None:
    root = make(tmp_path, ["mp_rank_00"])
    (root / TRACKER).write_text(tracked)
    with pytest.raises(CheckpointError, match=message):
        find(root)


@pytest.mark.parametrize("name", ["mp_rank_999999999", "mp_rank_00_999999999"])
def test_a_number_in_a_name_is_not_counted_up_to(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match="shards are missing"):
        find(tmp_path)
