from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tape_bench.atomic import replace, storage_error
from tape_bench.errors import StorageError


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    replace(path, lambda temporary: temporary.write_text("one"))
    replace(path, lambda temporary: temporary.write_text("two"))
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_what_is_interrupted_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, interruption: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fill(temporary: Path) -> None:
        temporary.write_text("half")
        raise interruption

    with pytest.raises((KeyboardInterrupt, StorageError)):
        replace(path, fill)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EROFS, "cannot write")],
)
def test_the_reason_is_said_in_plain_words(number: int, words: str) -> None:
    error = storage_error(OSError(number, "Whatever"), Path("some/file"))
    assert words in error.what
    assert (error.where, error.exit_code) == ("some/file", 2)


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write here"):
        replace(tmp_path / "file" / "folder" / "new", lambda temporary: None)


def test_what_a_killed_process_has_left_of_the_same_file_goes(tmp_path: Path) -> None:
    (tmp_path / ".file.abcd_123").write_text("half")
    (tmp_path / ".other.abcd_123").write_text("half")
    replace(tmp_path / "file", lambda temporary: temporary.write_text("whole"))
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".other.abcd_123"}


def test_a_folder_that_goes_meanwhile_is_made_again(tmp_path: Path) -> None:
    times: list[Path] = []

    def fill(temporary: Path) -> None:
        times.append(temporary)
        if len(times) < 3:
            shutil.rmtree(temporary.parent)
        temporary.write_text("whole")

    replace(tmp_path / "folder" / "file", fill)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
    with pytest.raises(StorageError):
        replace(tmp_path / "folder" / "file", lambda temporary: shutil.rmtree(temporary.parent))


def test_what_is_written_reaches_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "file", []

    def sync(handle: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    replace(path, lambda temporary: temporary.write_text("whole"))
    (content, before), (folder, after) = synced
    assert content.startswith(str(tmp_path / ".file."))
    assert (before, folder, after) == (False, str(tmp_path), True)
