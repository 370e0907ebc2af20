"""What is under way is left alone, and what a killed process has left behind goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tape_bench import leftovers
from tape_bench.errors import StorageError

WORKING = """
import sys, time
from pathlib import Path
from tape_bench import leftovers
with leftovers.{}(Path(sys.argv[1]), {}):
    print("working", flush=True)
    time.sleep(60)
"""


def working(code: str, place: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_folder_is_swept_only_once_its_process_is_gone(tmp_path: Path) -> None:
    process = working(WORKING.format("private_folder", "'stability'"), tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "half").write_text("half")
    leftovers.sweep(tmp_path, "stability")
    assert folder.exists()
    kill(process)
    leftovers.sweep(tmp_path, "other")
    assert folder.exists()
    with leftovers.private_folder(tmp_path, "stability") as mine:
        assert [*tmp_path.iterdir()] == [mine]
    assert [*tmp_path.iterdir()] == []


def test_what_bears_another_name_stays(tmp_path: Path) -> None:
    others = [".stability.abc", "stability.abcdefgh", ".stability.abcdefghi", ".stability"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".stability.linktosm").symlink_to(tmp_path / ".stability")
    (tmp_path / ".stability.leftover").touch()
    leftovers.sweep(tmp_path, "stability")
    assert {path.name for path in tmp_path.iterdir()} == {*others, ".stability.linktosm"}


def test_two_who_make_the_same_are_told_of_each_other(tmp_path: Path) -> None:
    place, out = tmp_path / "out.work", tmp_path / "out.npz"
    process = working(WORKING.format("claimed", "Path('out')"), place)
    with pytest.raises(StorageError, match="another process") as caught:
        leftovers.claimed(place, out).__enter__()
    assert caught.value.where == str(out)
    kill(process)
    with leftovers.claimed(place, out):
        (place / "part").touch()
    assert place.exists()
    with leftovers.claimed(place, out):
        (place / "part").unlink()
    assert not place.exists()


def test_a_claim_outlives_neither_its_folder_nor_its_block(tmp_path: Path) -> None:
    place = tmp_path / "work"
    with leftovers.claimed(place, place):
        place.rename(tmp_path / "done")
        with leftovers.claimed(place, place):
            assert place.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_a_folder_that_cannot_be_made_is_the_systems_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        leftovers.claimed(tmp_path / "file" / "x", tmp_path).__enter__()
    leftovers.sweep(tmp_path / "nowhere", "x")
    leftovers.to_disk(tmp_path / "nowhere")


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with leftovers.private_folder(tmp_path, "x"), leftovers.claimed(tmp_path / "y", tmp_path):
            leftovers.sweep(tmp_path, "x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_command_sweeps_what_killed_ones_left_in_the_temporary_folder(tmp_path: Path) -> None:
    process = working(WORKING.format("private_folder", "'tape-bench'"), tmp_path)
    (left,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "tape_bench.cli", "tasks"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert left.exists()
    kill(process)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [*tmp_path.iterdir()] == []
