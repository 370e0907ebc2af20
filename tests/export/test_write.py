"""Files of vectors: what stands in them, and that an interrupted run loses nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tape_bench.errors import DataError, ModelError, StorageError, UsageError
from tape_bench.export import write as vectors
from tape_bench.export.write import write_vectors
from tape_bench.leftovers import claimed
from tape_bench.models.embedder import Identity

HIDDEN = 3
PROTEINS = {
    "sp|P1/../../etc": "MKV",
    "b": "A",
    "ünïcode": "ACDEFGHIKLMN",
    "d": "MKV",
    "__metadata__": "WWYY",
}


class Counting:
    """A residue is its letter, its place and the protein's length; says what it was given."""

    # One of ours, so that nobody but the engine asks it anything.
    __module__ = "tape_bench.counting"

    def __init__(self, revision: str = "1", longest: int | None = None, stop: int = 10**9):
        self.identity = Identity(
            spec="counting",
            name="counting",
            revision=revision,
            weights_digest=None,
            parameters=0,
            hidden_size=HIDDEN,
            longest_input=longest,
            pretraining=(),
        )
        self.seen: list[str] = []
        self.stop = stop

    def embed(self, sequences, pool="residues"):
        if len(self.seen) >= self.stop:
            raise KeyboardInterrupt
        self.seen += sequences
        residues = [expected(sequence) for sequence in sequences]
        return residues if pool == "residues" else [one.mean(axis=0) for one in residues]


def expected(sequence: str) -> np.ndarray:
    return np.array(
        [[ord(letter), place, len(sequence)] for place, letter in enumerate(sequence)], np.float32
    )


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write(tmp_path / "proteins.fasta", PROTEINS)


def write(path: Path, proteins: dict[str, str]) -> Path:
    path.write_text("".join(f">{id} words\n{s}\n" for id, s in proteins.items()), encoding="utf-8")
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a file of vectors by the words of `tape-bench embed --help`."""
    if path.suffix == ".parquet":
        table = parquet.read_table(path).to_pandas()
        return {
            id: np.stack(one) if one.dtype == object else one
            for id, one in zip(table["id"], table["vectors"], strict=True)
        }
    if path.suffix == ".npz":
        with np.load(path) as file:
            found = dict(file)
        ids = found["ids"].tolist()
    else:
        found = load_file(path)
        ids = bytes(found["ids"]).decode().split("\n")
    rows = found["vectors"]
    assert rows.dtype == np.float32
    if "offsets" not in found:
        return dict(zip(ids, rows, strict=True))
    offsets = found["offsets"]
    return {id: rows[offsets[i] : offsets[i + 1]] for i, id in enumerate(ids)}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
@pytest.mark.parametrize("pool", ["residues", "mean"])
@pytest.mark.parametrize("chunk", [1, 5, 1000])
class TestFiles:
    def test_every_protein_in_order(self, tmp_path, fasta, suffix, pool, chunk, monkeypatch):
        monkeypatch.setattr(vectors, "CHUNK_RESIDUES", chunk)
        out = tmp_path / "new" / f"out{suffix}"
        write_vectors(Counting(), fasta, out, pool)
        found = read(out)
        assert list(found) == list(PROTEINS)
        for id, sequence in PROTEINS.items():
            rows = expected(sequence)
            np.testing.assert_array_equal(found[id], rows if pool == "residues" else rows.mean(0))
        assert list(out.parent.iterdir()) == [out]


class TestAbout:
    def check(self, text: str, model: Counting) -> None:
        about = json.loads(text)
        assert about["model"]["revision"] == model.identity.revision
        assert about["pool"] == "mean"

    def test_npz(self, tmp_path, fasta):
        write_vectors(Counting("7"), fasta, tmp_path / "out.npz", "mean")
        with np.load(tmp_path / "out.npz") as file:
            self.check(str(file["about"]), Counting("7"))

    def test_safetensors(self, tmp_path, fasta):
        write_vectors(Counting("7"), fasta, tmp_path / "out.safetensors", "mean")
        with safe_open(tmp_path / "out.safetensors", "np") as file:
            self.check(file.metadata()["about"], Counting("7"))

    def test_parquet(self, tmp_path, fasta):
        write_vectors(Counting("7"), fasta, tmp_path / "out.parquet", "mean")
        schema = parquet.read_schema(tmp_path / "out.parquet")
        self.check(schema.metadata[b"about"].decode(), Counting("7"))


class TestResuming:
    @pytest.fixture(autouse=True)
    def _small_chunks(self, monkeypatch):
        monkeypatch.setattr(vectors, "CHUNK_RESIDUES", 4)

    def interrupt(self, fasta: Path, out: Path, after: int = 2) -> list[str]:
        model = Counting(stop=after)
        with pytest.raises(KeyboardInterrupt):
            write_vectors(model, fasta, out, "residues")
        assert not out.exists()
        return model.seen

    def test_goes_on_and_ends_with_the_same_bytes(self, tmp_path, fasta):
        whole = tmp_path / "whole.npz"
        write_vectors(Counting(), fasta, whole, "residues")
        out = tmp_path / "out.npz"
        first = self.interrupt(fasta, out)
        again = Counting()
        reports: list[tuple[int, int]] = []
        write_vectors(
            again, fasta, out, "residues", lambda done, total: reports.append((done, total))
        )
        assert sorted(first + again.seen) == sorted(PROTEINS.values())
        assert out.read_bytes() == whole.read_bytes()
        left = sum(map(len, again.seen))
        assert reports[-1] == (left, left)
        assert not (tmp_path / "out.npz.work").exists()

    def test_a_checkpoint_may_move_meanwhile(self, tmp_path, fasta):
        out = tmp_path / "out.npz"
        self.interrupt(fasta, out)
        moved = Counting()
        object.__setattr__(moved.identity, "spec", "elsewhere/counting")
        write_vectors(moved, fasta, out, "residues")
        assert out.exists()

    @pytest.mark.parametrize("other", ["model", "proteins", "pool"])
    def test_refuses_to_mix(self, tmp_path, fasta, other):
        out = tmp_path / "out.npz"
        self.interrupt(fasta, out)
        model = Counting("2" if other == "model" else "1")
        if other == "proteins":
            write(fasta, PROTEINS | {"b": "C"})
        pool = "mean" if other == "pool" else "residues"
        with pytest.raises(UsageError, match=f"another {other} has left"):
            write_vectors(model, fasta, out, pool)
        assert model.seen == []

    @pytest.mark.parametrize("fault", ["flipped", "cut", "its note", "no note"])
    def test_a_damaged_part_is_computed_again(self, tmp_path, fasta, fault):
        whole, out = tmp_path / "whole.npz", tmp_path / "out.npz"
        write_vectors(Counting(), fasta, whole, "residues")
        self.interrupt(fasta, out)
        part, note = (tmp_path / "out.npz.work" / f"000000.{kind}" for kind in ("f32", "json"))
        content = bytearray(part.read_bytes())
        if fault == "flipped":
            content[5] ^= 1
            part.write_bytes(content)
        elif fault == "cut":
            part.write_bytes(content[:-4])
        elif fault == "no note":
            note.unlink()
        else:
            note.write_text("[" * 100_000)
        write_vectors(Counting(), fasta, out, "residues")
        assert out.read_bytes() == whole.read_bytes()

    @pytest.mark.parametrize("left", ["", "{}", "[[[", '{"content": 1, "sha256": 2}', "null"])
    def test_a_damaged_plan_begins_anew(self, tmp_path, fasta, left):
        whole, out = tmp_path / "whole.npz", tmp_path / "out.npz"
        write_vectors(Counting(), fasta, whole, "residues")
        self.interrupt(fasta, out)
        (tmp_path / "out.npz.work" / "plan.json").write_text(left)
        write_vectors(Counting(), fasta, out, "residues")
        assert out.read_bytes() == whole.read_bytes()

    def test_another_model_of_the_same_name_is_another(self, tmp_path, fasta):
        class Stopping(Counting):
            __module__ = "mine"
            factor = 1.0

            def embed(self, sequences, pool="residues"):
                if "WWYY" in sequences:
                    raise KeyboardInterrupt
                return [self.factor * vectors for vectors in super().embed(sequences, pool)]

        out = tmp_path / "out.npz"
        with pytest.raises(KeyboardInterrupt):
            write_vectors(Stopping(), fasta, out, "residues")
        Stopping.factor = 2.0
        with pytest.raises(UsageError, match="another model has left"):
            write_vectors(Stopping(), fasta, out, "residues")

    def test_leaves_a_folder_of_the_users_alone(self, tmp_path, fasta):
        folder = tmp_path / "out.npz.work"
        folder.mkdir()
        (folder / "thesis.tex").write_text("…")
        with pytest.raises(UsageError, match="in the way"):
            write_vectors(Counting(), fasta, tmp_path / "out.npz", "mean")
        assert [path.name for path in folder.iterdir()] == ["thesis.tex"]

    def test_a_chunk_is_whole_or_not_there(self, tmp_path, fasta, monkeypatch):
        def fill_the_disk(found, sequences, path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(vectors, "_dump", fill_the_disk)
        with pytest.raises(StorageError, match="full"):
            write_vectors(Counting(), fasta, tmp_path / "out.npz", "residues")
        assert not (tmp_path / "out.npz.work").exists()

    def test_what_fails_before_any_vectors_is_in_nobodys_way(self, tmp_path, fasta, monkeypatch):
        out = tmp_path / "out.npz"
        self.interrupt(fasta, out, after=0)
        assert not (tmp_path / "out.npz.work").exists()
        # Killed, it cannot even tidy up.
        monkeypatch.setattr(vectors, "_empty", lambda work: None)
        self.interrupt(fasta, out, after=0)
        assert (tmp_path / "out.npz.work" / "plan.json").exists()
        monkeypatch.undo()
        write_vectors(Counting("2"), fasta, out, "mean")
        assert json.loads(str(np.load(out)["about"]))["model"]["revision"] == "2"


class TestRefusals:
    def refused(self, error: type[Exception], match: str, fasta: Path, out: Path, **model) -> None:
        embedder = Counting(**model)
        with pytest.raises(error, match=match):
            write_vectors(embedder, fasta, out, "mean")
        assert embedder.seen == []
        assert not out.with_name(out.name + ".work").exists()

    def test_unknown_ending(self, tmp_path, fasta):
        self.refused(UsageError, "ending", fasta, tmp_path / "out.csv")

    def test_an_output_that_exists(self, tmp_path, fasta):
        out = tmp_path / "out.npz"
        out.write_text("precious")
        self.refused(UsageError, "exists already", fasta, out)
        assert out.read_text() == "precious"

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            (">a\nMK\n>b\nMK\n>a\nMV\n", "'a' stands twice"),
            (">a\nMK\n>b\n\n", "empty"),
            (">a\nMK\n>b\nMKJ\n", "'J'"),
            ("", "no sequence"),
        ],
    )
    def test_faults_of_the_file_show_before_anything_is_computed(
        self, tmp_path, fasta, text, match
    ):
        fasta.write_text(text)
        self.refused(DataError, match, fasta, tmp_path / "out.npz")

    def test_no_file(self, tmp_path):
        self.refused(DataError, "No such file", tmp_path / "none.fasta", tmp_path / "out.npz")

    def test_a_protein_too_long(self, tmp_path, fasta):
        self.refused(ModelError, "12 residues is longer", fasta, tmp_path / "out.npz", longest=11)

    def test_parquet_without_its_library(self, tmp_path, fasta, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(UsageError, match=r"pip install 'tape-bench\[parquet\]'"):
            write_vectors(Counting(), fasta, tmp_path / "out.parquet", "mean")

    def test_a_file_that_changes_meanwhile(self, tmp_path, fasta):
        class Meddling(Counting):
            __module__ = Counting.__module__

            def embed(self, sequences, pool="residues"):
                write(fasta, dict(reversed(PROTEINS.items())))
                return super().embed(sequences, pool)

        big = {f"{number}": "MKV" * 1000 for number in range(60)}
        write(fasta, big)
        with pytest.raises(DataError, match="changed while it was read"):
            write_vectors(Meddling(), fasta, tmp_path / "out.npz", "mean")
        assert not (tmp_path / "out.npz").exists()


def test_two_who_write_one_file_are_told_of_each_other(tmp_path, fasta):
    out = tmp_path / "out.npz"
    with claimed(tmp_path / "out.npz.work", out), pytest.raises(StorageError) as caught:
        write_vectors(Counting(), fasta, out, "mean")
    assert "another process" in caught.value.what
    assert caught.value.where == str(out)
    write_vectors(Counting(), fasta, out, "mean")
    assert not (tmp_path / "out.npz.work").exists()


def test_one_long_id_takes_its_room_once(tmp_path):
    path, out = tmp_path / "p.fa", tmp_path / "out.npz"
    ids = ["M" * 40_000, *(f"p{number}" for number in range(300)), "蛋"]
    path.write_text("".join(f">{id}\nMKV\n" for id in ids), "utf-8")
    write_vectors(Counting(), path, out, "mean")
    assert out.stat().st_size < 200_000
    assert np.load(out)["ids"].tolist() == ids
