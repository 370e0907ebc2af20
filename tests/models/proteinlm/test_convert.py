"""A conversion is whole or is not there, is compared with its source, and goes on if stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tape_bench.errors import CheckpointError, StorageError, UsageError
from tape_bench.leftovers import claimed
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import convert as module
from tape_bench.models.proteinlm import open_checkpoint
from tape_bench.models.proteinlm.checkpoint import digest
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.megatron.writer import Sharding
from tape_bench.models.proteinlm.source import Origin


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a tiny network take as many files as a large one."""
    monkeypatch.setattr(module, "_LARGEST_FILE", 20_000)


def test_there_and_back_again(source: RandomWeights, write: Callable[..., Path]) -> None:
    root = write(source, 4, 2, "1.0")
    folder, shards = root.parent / "folder", root.parent / "shards"
    convert(open_checkpoint(root), folder)
    convert(open_checkpoint(folder), shards, to="megatron", sharding=Sharding(2, 4, "0"))
    assert digest(open_checkpoint(shards)) == digest(source)


def test_large_networks_are_cut_into_files_with_an_index(
    source: RandomWeights, tmp_path: Path, small_files: None
) -> None:
    convert(source, tmp_path / "folder")
    files = sorted(path.name for path in (tmp_path / "folder").glob("*.safetensors"))
    count = len(files)
    assert count > 3
    assert files == [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    index = json.loads((tmp_path / "folder" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)
    assert digest(open_checkpoint(tmp_path / "folder")) == digest(source)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("to", ["safetensors", "megatron"])
def test_another_precision(source: RandomWeights, tmp_path: Path, dtype: Any, to: Any) -> None:
    convert(source, tmp_path / "out", to=to, dtype=dtype)
    opened = open_checkpoint(tmp_path / "out")
    assert opened.stored_dtype == dtype
    weight = "layers.1.attention.qkv.weight"
    assert torch.equal(opened.read(weight), source.read(weight).to(dtype))


def test_an_iteration_keeps_its_number(source: RandomWeights, tmp_path: Path) -> None:
    source.origin = Origin("iter_0000120", "3.0", "v2")
    convert(source, tmp_path / "out", to="megatron", sharding=Sharding(2))
    assert (tmp_path / "out" / "latest_checkpointed_iteration.txt").read_text() == "120"
    assert open_checkpoint(tmp_path / "out").origin.revision == "iter_0000120"


class Stopped(Exception):  # noqa: N818
    """The machine went down."""


class Failing(RandomWeights):
    """A source that stops in the middle, or whose disk does."""

    error: Exception | None = None
    reads = 0

    def read(self, name: str, **options: Any) -> Any:
        self.reads += 1
        if self.error and name == "final_norm.weight" and self.reads > 60:
            raise self.error
        return super().read(name, **options)


def test_a_stopped_conversion_goes_on_where_it_was(
    source: RandomWeights, tmp_path: Path, small_files: None
) -> None:
    failing = Failing(source.config, 1, torch.float16)
    failing.error = Stopped()
    with pytest.raises(Stopped):
        convert(failing, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    unfinished = tmp_path / ".out.unfinished"
    done = {path: path.stat().st_mtime_ns for path in unfinished.glob("model-*.safetensors")}
    assert len(done) >= 2
    failing.error = None
    convert(failing, tmp_path / "out")
    assert not unfinished.exists()
    for path, written in done.items():
        assert (tmp_path / "out" / path.name).stat().st_mtime_ns == written
    assert digest(open_checkpoint(tmp_path / "out")) == digest(failing)


def test_what_another_conversion_left_is_not_used(
    source: RandomWeights, tmp_path: Path, small_files: None
) -> None:
    failing = Failing(source.config, 2, torch.float16)
    failing.error = Stopped()
    with pytest.raises(Stopped):
        convert(failing, tmp_path / "out")
    convert(source, tmp_path / "out")
    assert digest(open_checkpoint(tmp_path / "out")) == digest(source)


@pytest.mark.parametrize("note", ["", "{}", "[" * 100_000, "null"])
def test_a_damaged_note_begins_anew(source: RandomWeights, tmp_path: Path, note: str) -> None:
    unfinished = tmp_path / ".out.unfinished"
    unfinished.mkdir()
    (unfinished / "conversion.json").write_text(note)
    (unfinished / "model.safetensors").write_text("of whatever it was")
    convert(source, tmp_path / "out")
    assert digest(open_checkpoint(tmp_path / "out")) == digest(source)


def test_weights_that_are_not_finite_are_not_converted(
    source: RandomWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RandomWeights.read

    def read(self: Any, name: str, **asked: Any) -> Any:
        tensor = real(self, name, **asked)
        if name == "layers.2.mlp.expand.bias":
            tensor[3] = float("nan")
        return tensor

    monkeypatch.setattr(RandomWeights, "read", read)
    with pytest.raises(CheckpointError, match=r"layers.2.mlp.expand.bias has values that are not"):
        convert(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_reads_back_otherwise_is_thrown_away(
    source: RandomWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "digest", lambda *_: str(len(list(tmp_path.rglob("*")))))
    with pytest.raises(CheckpointError, match="are not the weights written"):
        convert(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_destination_is_left_alone(source: RandomWeights, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        convert(source, tmp_path / "out")


def test_too_little_space_is_said_before_writing(
    source: RandomWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"are needed, 0\.0 GB are free"):
        convert(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_that_looks_whole(source: RandomWeights, tmp_path: Path) -> None:
    failing = Failing(source.config, 1)
    failing.error = OSError(28, "No space left on device")
    with pytest.raises(StorageError, match="No space left"):
        convert(failing, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_from_torchs_own_words(
    source: RandomWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(StorageError, match="is the disk full"):
        convert(source, tmp_path / "out", to="megatron")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("sharding", "message"),
    [
        (Sharding(3), "8 heads cannot be shared equally by 3"),
        (Sharding(1, 3), "4 layers cannot be shared equally by 3"),
        (Sharding(0), "cannot be shared equally by 0"),
        (Sharding(version="4"), "version '4' is not known"),
    ],
)
def test_impossible_shardings_are_refused(
    source: RandomWeights, tmp_path: Path, sharding: Sharding, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        convert(source, tmp_path / "out", to="megatron", sharding=sharding)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_conversion_has_left_is_no_part_of_the_next(
    source: RandomWeights, tmp_path: Path
) -> None:
    unfinished = tmp_path / ".made.unfinished"
    unfinished.mkdir()
    (unfinished / "conversion.json").touch()
    (unfinished / ".tmpAbCdEf").write_bytes(b"half")
    (unfinished / "model.safetensors.begun").write_bytes(b"half")
    convert(source, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == ["config.json", "model.safetensors"]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()}
    assert modes == {0o644}


def test_two_who_make_one_folder_are_told_of_each_other(
    source: RandomWeights, tmp_path: Path
) -> None:
    with claimed(tmp_path / ".made.unfinished", tmp_path), pytest.raises(StorageError) as caught:
        convert(source, tmp_path / "made")
    assert "another process" in caught.value.what
    assert caught.value.where == str(tmp_path / "made")


def test_somebodys_own_folder_is_not_emptied(source: RandomWeights, tmp_path: Path) -> None:
    (tmp_path / ".made.unfinished").mkdir()
    (tmp_path / ".made.unfinished" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="in the way"):
        convert(source, tmp_path / "made")
    assert (tmp_path / ".made.unfinished" / "thesis.tex").exists()


def test_a_damaged_part_of_a_stopped_conversion_is_made_again(
    source: RandomWeights, tmp_path: Path, small_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, times = module._write_group, []

    def stopped(*given: Any) -> None:
        times.append(1)
        if len(times) == 3:
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(module, "_write_group", stopped)
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "made")
    (first, *_) = sorted((tmp_path / ".made.unfinished").glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-100])
    assert convert(source, tmp_path / "made") == digest(source)
    assert digest(open_checkpoint(tmp_path / "made")) == digest(source)
