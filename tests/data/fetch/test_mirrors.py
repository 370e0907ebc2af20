from __future__ import annotations

import hashlib
import shutil
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from tape_bench.cards import TaskCard
from tape_bench.data.examples import load_task
from tape_bench.data.fetch.mirrors import PARTIAL, fetch
from tape_bench.errors import DownloadError, StorageError

Maker = Callable[..., Any]
KIND = "sequence_value"


@dataclass
class Server:
    """What a small web server gives, how it fails, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    """For each next answer, after how many bytes to cut the connection."""
    etag: str | None = '"one"'
    ranges: bool = True
    says_length: bool = True
    shifted: bool = False
    """Whether it answers with another piece than was asked for."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""
    address: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append((self.path, asked))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = 0
            fresh = self.headers.get("If-Range") == state.etag
            if asked and state.ranges and fresh:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                self.send_response(206)
                given = start + 1 if state.shifted else start
                self.send_header("Content-Range", f"bytes {given}-{len(content)}/{len(content)}")
            else:
                self.send_response(200)
            if state.etag:
                self.send_header("ETag", state.etag)
            body = content[start:]
            if state.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cut_after and self.path.endswith(".gz"):
                body = body[: state.cut_after.pop(0)]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def tarball(data_root: Maker, tmp_path: Path) -> Path:
    """A toy set of some 100 kB, so that it comes in several blocks."""
    root = data_root(KIND)
    filler = np.random.default_rng(0).bytes(100_000)
    (root / "toy" / "README").write_bytes(filler)
    path = tmp_path / "mirror" / "toy.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root / "toy", "toy")
    return path


@pytest.fixture
def card(make_card: Maker) -> TaskCard:
    return make_card(KIND)


def paths(server: Server) -> list[str]:
    return [path for path, _ in server.asked if path.endswith(".gz")]


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_mirror_s_tarball_becomes_a_data_root(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/data/toy.tar.gz"] = content = tarball.read_bytes()
    seen: list[tuple[int, int | None]] = []
    root = tmp_path / "fetched"
    fetched = fetch(card, [f"{server.address}/data/"], root, lambda *at: seen.append(at))
    assert fetched.folder == root / "toy"
    assert fetched.origin == f"{server.address}/data/toy.tar.gz"
    assert fetched.md5 == hashlib.md5(content).hexdigest()
    assert seen[-1] == (len(content), len(content))
    assert load_task(card, root).digest == load_task(card, tarball).digest
    assert not (root / PARTIAL).exists()


def test_what_is_there_is_not_fetched_again(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    first = fetch(card, [str(tarball.parent)], tmp_path / "fetched")
    again = fetch(card, [server.address], tmp_path / "fetched")
    assert (again.origin, again.md5) == (None, first.md5)
    assert server.asked == []


@pytest.mark.parametrize("form", ["folder", "file", "file://", "parent"])
def test_a_mirror_may_be_a_folder_or_a_file(
    tarball: Path, card: TaskCard, tmp_path: Path, form: str
) -> None:
    mirror = {
        "folder": str(tarball.parent),
        "file": str(tarball),
        "file://": tarball.parent.as_uri(),
        "parent": str(tarball.parent.parent),
    }[form]
    fetch(card, [mirror], tmp_path / "fetched")
    assert len(load_task(card, tmp_path / "fetched")["test"]) == 4
    assert tarball.exists()


def test_the_next_mirror_is_tried(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/b/toy.tar.gz"] = tarball.read_bytes()
    mirrors = [str(tmp_path / "none"), f"{server.address}/a", f"{server.address}/b/toy.tar.gz"]
    assert fetch(card, mirrors, tmp_path / "fetched").origin == mirrors[2]
    assert paths(server) == ["/a/toy.tar.gz", "/b/toy.tar.gz"]


def test_tape_s_own_address_comes_last(
    server: Server, tarball: Path, make_card: Maker, tmp_path: Path
) -> None:
    server.files["/tape/toy.tar.gz"] = content = tarball.read_bytes()
    own = f"{server.address}/tape/toy.tar.gz"
    md5 = hashlib.md5(content).hexdigest()
    card = make_card(KIND, source={"urls": [own], "md5": md5})
    assert fetch(card, [f"{server.address}/a"], tmp_path / "fetched").origin == own
    assert load_task(card, tmp_path / "fetched").status == "official"


def test_no_answer_anywhere_lists_every_answer(
    server: Server, make_card: Maker, tmp_path: Path
) -> None:
    server.files["/page/toy.tar.gz"] = b"<html>moved</html>"
    own = f"{server.address}/tape/toy.tar.gz"
    mirrors = [
        str(tmp_path / "none"),
        "http://127.0.0.1:9/x",
        "gopher://old",
        f"{server.address}/page",
    ]
    card = make_card(KIND, source={"urls": [own]})
    with pytest.raises(DownloadError) as caught:
        fetch(card, mirrors, tmp_path / "fetched")
    lines = caught.value.what.splitlines()[1:]
    assert len(lines) == 5
    for line, expected in zip(
        lines,
        ["has no toy.tar.gz", "no answer", "unknown url type", "cut short or damaged", "404"],
        strict=True,
    ):
        assert expected in line
    assert caught.value.exit_code == 2
    assert files_in(tmp_path / "fetched") == []


def test_without_any_mirror_the_message_says_so(card: TaskCard, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="nowhere to look"):
        fetch(card, [], tmp_path / "fetched")


def test_a_cut_connection_is_taken_up_again(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/toy.tar.gz"] = content = tarball.read_bytes()
    server.cut_after = [30_000, 20_000]
    fetched = fetch(card, [server.address], tmp_path / "fetched")
    assert fetched.md5 == hashlib.md5(content).hexdigest()
    ranges = [asked for path, asked in server.asked if path.endswith(".gz")]
    assert ranges == [None, "bytes=30000-", "bytes=50000-"]


def test_a_later_fetch_goes_on_where_the_first_stopped(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/toy.tar.gz"] = content = tarball.read_bytes()
    server.cut_after = [40_000, 0]
    with pytest.raises(DownloadError, match="cut after 40000"):
        fetch(card, [server.address], tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "toy").exists()
    assert fetch(card, [server.address], tmp_path / "fetched").md5 == (
        hashlib.md5(content).hexdigest()
    )
    assert server.asked[-3][1] == "bytes=40000-"


@pytest.mark.parametrize("change", ["another version", "no versions", "no ranges"])
def test_pieces_that_may_not_fit_are_not_joined(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path, change: str
) -> None:
    server.files["/toy.tar.gz"] = b"\x00" * 60_000
    server.etag = None if change == "no versions" else '"one"'
    server.cut_after = [40_000, 0]
    with pytest.raises(DownloadError, match="cut after"):
        fetch(card, [server.address], tmp_path / "fetched")
    server.files["/toy.tar.gz"] = content = tarball.read_bytes()
    server.etag = '"two"' if change == "another version" else server.etag
    server.ranges = change != "no ranges"
    fetched = fetch(card, [server.address], tmp_path / "fetched")
    assert fetched.md5 == hashlib.md5(content).hexdigest()


def test_another_piece_than_asked_for_is_refused(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()
    server.cut_after = [40_000]
    server.shifted = True
    with pytest.raises(DownloadError, match="another piece"):
        fetch(card, [server.address], tmp_path / "fetched")


def test_a_part_that_was_complete_already_is_used(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tape_bench.data.fetch.mirrors.unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(card, [server.address], tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "toy").exists()
    fetch(card, [server.address], tmp_path / "fetched")
    assert len(load_task(card, tmp_path / "fetched")["test"]) == 4


def test_a_server_that_gives_no_length_is_believed_if_the_file_is_whole(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()
    server.says_length = False
    server.cut_after = [40_000]
    with pytest.raises(DownloadError, match="cut short or damaged"):
        fetch(card, [server.address], tmp_path / "fetched")
    fetch(card, [server.address], tmp_path / "fetched")
    assert len(load_task(card, tmp_path / "fetched")["test"]) == 4


def test_tape_s_own_address_must_give_tape_s_own_file(
    server: Server, tarball: Path, make_card: Maker, tmp_path: Path
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()
    own = f"{server.address}/toy.tar.gz"
    card = make_card(KIND, source={"urls": [own], "md5": "0" * 32})
    with pytest.raises(DownloadError, match=f"wrong checksum.*should be {'0' * 32}"):
        fetch(card, [], tmp_path / "fetched")
    assert files_in(tmp_path / "fetched") == []


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
@pytest.mark.parametrize("place", ["network", "folder"])
@pytest.mark.parametrize("right", [True, False])
def test_a_checksum_beside_the_file_must_agree(
    server: Server,
    tarball: Path,
    card: TaskCard,
    tmp_path: Path,
    algorithm: str,
    place: str,
    right: bool,
) -> None:
    content = tarball.read_bytes()
    digest = hashlib.new(algorithm, content if right else b"").hexdigest()
    line = f"{digest.upper()}  toy.tar.gz\n".encode()
    server.files |= {"/toy.tar.gz": content, f"/toy.tar.gz.{algorithm}": line}
    tarball.with_name(f"toy.tar.gz.{algorithm}").write_bytes(line)
    mirror = server.address if place == "network" else str(tarball.parent)
    if right:
        fetch(card, [mirror], tmp_path / "fetched")
    else:
        with pytest.raises(DownloadError, match="wrong checksum"):
            fetch(card, [mirror], tmp_path / "fetched")
        assert not (tmp_path / "fetched" / "toy").exists()


def test_an_unsafe_tarball_is_refused_and_the_next_mirror_tried(
    tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    evil = tmp_path / "evil" / "toy.tar.gz"
    evil.parent.mkdir()
    with tarfile.open(evil, "w:gz") as tar:
        tar.add(tarball, "toy/../../escaped")
    with pytest.raises(DownloadError, match="unsafe tarball"):
        fetch(card, [str(evil)], tmp_path / "fetched")
    assert not (tmp_path / "escaped").exists()
    fetch(card, [str(evil), str(tarball)], tmp_path / "fetched")


def test_a_mirror_s_own_records_are_taken_for_what_they_are(
    tarball: Path, make_card: Maker, tmp_path: Path
) -> None:
    card = make_card(KIND, records=5, source={"md5": "0" * 32})
    fetch(card, [str(tarball)], tmp_path / "fetched")
    assert load_task(card, tmp_path / "fetched").status == "partial"


def test_a_full_disk_is_noticed_before_it_is_full(
    server: Server,
    tarball: Path,
    card: TaskCard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000))
    with pytest.raises(StorageError, match="no room: the download takes"):
        fetch(card, [server.address], tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "toy").exists()


@pytest.mark.parametrize("form", ["network", "folder"])
def test_a_root_that_cannot_be_written_is_an_error_of_ours(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path, form: str
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()
    (tmp_path / "file").touch()
    mirror = server.address if form == "network" else str(tarball.parent)
    with pytest.raises(StorageError, match="cannot write here"):
        fetch(card, [mirror], tmp_path / "file" / "root")


def test_what_another_process_is_fetching_is_left_to_it(
    tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    work = tmp_path / "fetched" / PARTIAL / "toy"
    work.mkdir(parents=True)
    with FileLock(work / ".lock"), pytest.raises(DownloadError, match="another process"):
        fetch(card, [str(tarball)], tmp_path / "fetched")
    assert fetch(card, [str(tarball)], tmp_path / "fetched").folder.is_dir()


def test_two_at_once_do_not_write_into_one_another(
    server: Server, tarball: Path, card: TaskCard, tmp_path: Path
) -> None:
    server.files["/toy.tar.gz"] = tarball.read_bytes()
    results: Counter[str] = Counter()

    def one() -> None:
        try:
            fetch(card, [server.address], tmp_path / "fetched")
            results["fetched"] += 1
        except DownloadError:
            results["refused"] += 1

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["fetched"] >= 1
    assert results.total() == 3
    assert len(load_task(card, tmp_path / "fetched")["test"]) == 4


def test_a_password_of_a_mirror_is_in_no_message(card: TaskCard, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(card, ["http://me:secret@127.0.0.1:9"], tmp_path / "root")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)
