from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tape_bench.data.digests import read_digest
from tape_bench.data.fetch.tarballs import RECEIPT, read_receipt, unpack
from tape_bench.errors import DataError, StorageError, TapeBenchError

TarballMaker = Callable[..., Path]
LINK_TYPES = [tarfile.SYMTYPE, tarfile.LNKTYPE]
DEVICE_TYPES = [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]


@pytest.fixture
def tarball(tmp_path: Path) -> TarballMaker:
    """Write a gzipped tar of members given as name -> bytes, or as TarInfo."""

    def make(*members: tuple[str, bytes] | tarfile.TarInfo, name: str = "toy.tar.gz") -> Path:
        path = tmp_path / "tarballs" / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w:gz") as tar:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    tar.addfile(member, io.BytesIO(bytes(member.size)))
                else:
                    info = tarfile.TarInfo(member[0])
                    info.size = len(member[1])
                    tar.addfile(info, io.BytesIO(member[1]))
        return path

    return make


def unpacked(path: Path, root: Path) -> Path:
    return unpack(path, read_digest(path), "toy", root, root.parent / "cache")


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_the_folder_is_unpacked_with_a_receipt(tmp_path: Path, tarball: TarballMaker) -> None:
    path = tarball(("toy/a.lmdb/data.mdb", b"data"), ("toy/a.lmdb/lock.mdb", b"lock"))
    folder = unpacked(path, tmp_path / "root")
    assert (folder / "a.lmdb" / "data.mdb").read_bytes() == b"data"
    receipt = read_receipt(folder)
    assert receipt is not None
    assert receipt.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    assert receipt.files == {"a.lmdb/data.mdb": hashlib.sha256(b"data").hexdigest()}
    assert receipt.changes(folder, tmp_path / "cache") == []
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["toy"]


def test_a_receipt_notices_changed_and_missing_files(tmp_path: Path, tarball: TarballMaker) -> None:
    folder = unpacked(tarball(("toy/a", b"data"), ("toy/b", b"data")), tmp_path / "root")
    receipt = read_receipt(folder)
    assert receipt is not None
    (folder / "a").write_bytes(b"DATA")
    (folder / "b").unlink()
    assert receipt.changes(folder, tmp_path / "cache") == [
        "a is not what was unpacked",
        "b is missing",
    ]


def test_a_receipt_inside_a_tarball_counts_for_nothing(
    tmp_path: Path, tarball: TarballMaker
) -> None:
    forged = json.dumps({"tarball": "x", "md5": "0" * 32, "sha256": "0" * 64, "files": {}})
    path = tarball(("toy/a", b"data"), (f"toy/{RECEIPT}", forged.encode()))
    receipt = read_receipt(unpacked(path, tmp_path / "root"))
    assert receipt is not None
    assert receipt.md5 == read_digest(path).md5


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x"),
        ("toy/../../evil", b"x"),
        ("/tmp/tape-bench-evil", b"x"),
        ("elsewhere/evil", b"x"),
        *(special("toy/evil", kind, "../../canary") for kind in LINK_TYPES),
        *(special("toy/evil", kind) for kind in DEVICE_TYPES),
    ],
    ids=lambda member: str(member),
)
def test_an_unsafe_member_is_refused_and_nothing_stays(
    tmp_path: Path, tarball: TarballMaker, member: tuple[str, bytes] | tarfile.TarInfo
) -> None:
    path = tarball(("toy/good", b"data"), member)
    with pytest.raises(DataError, match="unsafe tarball"):
        unpacked(path, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/tape-bench-evil").exists()


@pytest.mark.parametrize("kept", [0, 5, 60, -400, -8, -1])
def test_a_tarball_cut_short_is_refused_and_nothing_stays(
    tmp_path: Path, tarball: TarballMaker, kept: int
) -> None:
    path = tarball(("toy/a", bytes(range(256)) * 8), ("toy/b", hashlib.sha256(b"").digest() * 40))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"cut short or damaged|no folder"):
        unpacked(path, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>not found</html>", gzip.compress(b"no tar" * 200)])
def test_what_is_no_tarball_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "toy.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cut short or damaged"):
        unpacked(path, tmp_path / "root")


def test_a_flipped_bit_is_noticed(tmp_path: Path, tarball: TarballMaker) -> None:
    path = tarball(("toy/a", bytes(5000)))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in gzip's own checksum, after the last member
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpacked(path, tmp_path / "root")


def test_a_bomb_is_refused(tmp_path: Path, tarball: TarballMaker) -> None:
    path = tarball(("toy/zeros", bytes(30_000_000)))
    assert path.stat().st_size < 60_000
    with pytest.raises(DataError, match="unpacks to more"):
        unpacked(path, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_member_that_only_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("toy/huge")
    info.size = 1 << 50
    path = tmp_path / "toy.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(DataError, match="unpacks to more"):
        unpacked(path, tmp_path / "root")


def test_a_tarball_of_something_else_is_refused(tmp_path: Path, tarball: TarballMaker) -> None:
    with pytest.raises(DataError, match="no folder 'toy'"):
        unpacked(tarball(), tmp_path / "root")


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(
    tmp_path: Path, tarball: TarballMaker
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write here"):
        unpacked(tarball(("toy/a", b"data")), tmp_path / "file" / "root")


def test_the_user_s_own_folder_is_never_replaced(tmp_path: Path, tarball: TarballMaker) -> None:
    own = tmp_path / "root" / "toy" / "own"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(TapeBenchError):
        unpacked(tarball(("toy/a", b"data")), tmp_path / "root")
    assert own.read_text() == "mine"
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["toy"]


def test_being_second_is_no_fault(tmp_path: Path, tarball: TarballMaker) -> None:
    path = tarball(("toy/a", b"data"))
    first = unpacked(path, tmp_path / "root")
    assert unpacked(path, tmp_path / "root") == first
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["toy"]


@pytest.mark.parametrize("text", ["{", "[]", '{"md5": 1}', "[" * 100_000])
def test_a_damaged_receipt_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / RECEIPT).write_text(text)
    with pytest.raises(DataError, match="receipt"):
        read_receipt(tmp_path)


def test_what_a_mac_packs_beside_files_is_left_out(tarball: TarballMaker, tmp_path: Path) -> None:
    forks = ["./._toy", "toy/._toy_train.json", "__MACOSX/toy/._x", "._toy"]
    path = tarball(*((name, b"\0\5\x16\7") for name in forks), ("toy/toy_train.json", b"[]"))
    folder = unpacked(path, tmp_path / "root")
    assert sorted(p.name for p in folder.iterdir()) == [RECEIPT, "toy_train.json"]


def test_zeros_after_the_end_are_not_inflated_without_bound(
    tarball: TarballMaker, tmp_path: Path
) -> None:
    path = tarball(("toy/a", b"a"))
    with path.open("ab") as file:
        file.write(gzip.compress(bytes(1 << 28)))
    with pytest.raises(DataError, match="unpacks to more"):
        unpacked(path, tmp_path / "root")
    assert not (tmp_path / "root" / "toy").exists()


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    path = tmp_path / "toy.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf() + bytes(1 << 22)))
    with pytest.raises(DataError, match="damaged"):
        unpacked(path, tmp_path / "root")


@pytest.mark.parametrize("name", ["toy/" + "x" * 300, "toy/a/b", "toy/a"])
def test_a_member_that_cannot_be_made_is_the_tarballs_fault(
    tarball: TarballMaker, tmp_path: Path, name: str
) -> None:
    folder = tarfile.TarInfo("toy/a/")
    folder.type = tarfile.DIRTYPE
    first = ("toy/a", b"a") if name != "toy/a" else folder
    with pytest.raises(DataError, match="cannot be made"):
        unpacked(tarball(first, (name, b"b")), tmp_path / "root")


def test_what_a_killed_unpacking_has_left_goes(tarball: TarballMaker, tmp_path: Path) -> None:
    left = tmp_path / "root" / ".toy.abcdefgh" / "toy"
    left.mkdir(parents=True)
    (left / "half").touch()
    unpacked(tarball(("toy/a", b"a")), tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["toy"]
