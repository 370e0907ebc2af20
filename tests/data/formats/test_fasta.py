from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from tape_bench.data.formats.fasta import Cleaning, read_fasta, readable_again
from tape_bench.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_ids_and_wrapped_sequences(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">p1 a protein\r\nMKV\r\nLLA\r\n\r\n>p2|x\tmore\nGG\n")
    assert list(read_fasta(path)) == [("p1", "MKVLLA"), ("p2|x", "GG")]


def test_gzipped_files_are_known_by_content(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(gzip.compress(b">p1\nMKV\n"))
    assert list(read_fasta(path)) == [("p1", "MKV")]


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa", ">p1\nMKV\n>p2\nM*\n")
    entries = read_fasta(path)
    assert next(entries) == ("p1", "MKV")
    with pytest.raises(DataError, match="no residue letter"):
        next(entries)


@pytest.mark.parametrize(
    ("text", "fault", "line"),
    [
        (">p\nMK\n>q\nML\n>p\nMV\n", "'p' stands twice, first in line 1", 5),
        (">p\n>q\nMK\n", "empty sequence", 1),
        (">p\nMK\n>q\n", "empty sequence", 3),
        ("MK\n>p\nMK\n", "before the first", 1),
        ("> \nMK\n", "without an id", 1),
        (">p\nMKj\n", "'j' at residue 3", 1),
        (">p\nMKJ\n", "'J' at residue 3", 1),
        (">p\nMK*\n", r"'\*' at residue 3", 1),
        (">p\nM-K\n", "'-' at residue 2", 1),
        (">p\nM K\n", "' ' at residue 2", 1),
    ],
)
def test_a_faulty_entry_is_named(tmp_path: Path, text: str, fault: str, line: int) -> None:
    path = write(tmp_path / "a.fa", text)
    with pytest.raises(DataError, match=fault) as caught:
        list(read_fasta(path))
    assert f"{path}, line {line}" in (caught.value.where or "")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "no sequence"),
        (b"\n\n", "no sequence"),
        (gzip.compress(b">p\nMKVLA\n")[:-9], "cannot read"),
        (b">p\n\xff\xfe\n", "not text"),
    ],
)
def test_a_broken_file_is_an_error_of_ours(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(content)
    with pytest.raises(DataError, match=fault):
        list(read_fasta(path))


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        list(read_fasta(tmp_path / "none.fa"))


SOFT = ">p\nMKvl\nla*\n"


@pytest.mark.parametrize(
    ("text", "clean", "sequence"),
    [
        (SOFT, Cleaning(uppercase=True, strip_stop=True), "MKVLLA"),
        (">p\nMKvl\nla\n", Cleaning(uppercase=True), "MKVLLA"),
        (">p\nMKVL*\n", Cleaning(strip_stop=True), "MKVL"),
        (">p\nMKVL\n", Cleaning(uppercase=True, strip_stop=True), "MKVL"),
    ],
)
def test_small_letters_and_a_stop_are_read_if_asked(
    tmp_path: Path, text: str, clean: Cleaning, sequence: str
) -> None:
    assert list(read_fasta(write(tmp_path / "a.fa", text), clean)) == [("p", sequence)]


@pytest.mark.parametrize(
    ("letters", "clean", "remedy"),
    [
        ("MKvla", Cleaning(), "give --uppercase if"),
        ("MKVL*", Cleaning(), "give --strip-stop, which"),
        ("MKvl*", Cleaning(), "give --uppercase and --strip-stop"),
        ("MKvl*", Cleaning(uppercase=True), "give --uppercase and --strip-stop"),
        ("MK*VL", Cleaning(strip_stop=True), "remove gaps and stop signs"),
        ("MKVL**", Cleaning(strip_stop=True), "remove gaps and stop signs"),
        ("mk-vl", Cleaning(), "remove gaps and stop signs"),
        ("MKß", Cleaning(uppercase=True), "use capitals"),
    ],
)
def test_the_error_names_the_option_that_helps(
    tmp_path: Path, letters: str, clean: Cleaning, remedy: str
) -> None:
    with pytest.raises(DataError, match="is no residue letter") as caught:
        list(read_fasta(write(tmp_path / "a.fa", f">p\n{letters}\n"), clean))
    assert remedy in str(caught.value)


def test_nothing_but_a_stop_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty sequence"):
        list(read_fasta(write(tmp_path / "a.fa", ">p\n*\n"), Cleaning(strip_stop=True)))


def test_a_pipe_can_be_read_as_often_as_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "".join(f">p{i}\nMKV\n" for i in range(20_000))
    threading.Thread(target=pipe.write_text, args=(content,), daemon=True).start()
    with readable_again(pipe) as file:
        assert len(list(read_fasta(file))) == len(list(read_fasta(file))) == 20_000


def test_what_is_wrong_in_a_pipe_is_told_of_the_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=(">a\nM*V\n",), daemon=True).start()
    with pytest.raises(DataError) as caught, readable_again(pipe) as file:
        list(read_fasta(file))
    assert caught.value.where == f"{pipe}, line 1 (a)"


@pytest.mark.parametrize("id", ["a\x1b[2J", "a\x00", "M" * 70_000])
def test_an_id_is_a_name(tmp_path: Path, id: str) -> None:
    path = tmp_path / "a.fa"
    path.write_text(f">{id}\nMKV\n")
    with pytest.raises(DataError, match="the id") as caught:
        list(read_fasta(path))
    assert "\x1b" not in str(caught.value)


def test_a_line_that_gzip_makes_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.fa.gz"
    with gzip.open(path, "wb") as file:
        file.write(b">a\n")
        for _ in range(40):
            file.write(b"M" * (1 << 20))
    with pytest.raises(DataError, match="longer than any protein"):
        list(read_fasta(path))
