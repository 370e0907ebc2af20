"""Vectors computed elsewhere, in every format, score as where they were computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from tape_bench import evaluate, load_model
from tape_bench.cli import program
from tape_bench.data.formats.fasta import read_fasta
from tape_bench.data.sequences import id_of
from tape_bench.errors import DataError, ModelError, TapeBenchError, TasksFailedError, UsageError
from tape_bench.models.vectors.adapter import load

TRIAL: dict[str, Any] = {"data": "sample", "limit": 40}
SEQUENCES = ["MKVLAAGW", "A", "MKTAYIAKQRQISFVKSHFSRQ"]


def residues(sequence: str) -> np.ndarray:
    return np.array([[ord(letter), place] for place, letter in enumerate(sequence)], np.float32)


def write(path: Path, vectors: dict[str, np.ndarray]) -> Path:
    """Write one array an id, in the format that the ending says."""
    if path.suffix == ".npz":
        np.savez(path, **vectors)
    elif path.suffix == ".safetensors":
        save_file({id: np.ascontiguousarray(array) for id, array in vectors.items()}, path)
    elif path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        lists = [array.tolist() for array in vectors.values()]
        parquet.write_table(arrow.table({"id": list(vectors), "embedding": lists}), path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for number, (id, array) in enumerate(vectors.items()):
                file.create_dataset(str(number), data=array).attrs["original_id"] = id
    return path


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".parquet", ".h5", ".hdf5"])
class TestFormats:
    def test_residues(self, ending: str, tmp_path: Path):
        path = write(tmp_path / f"v{ending}", {id_of(s): residues(s) for s in SEQUENCES})
        model = load(str(path))
        assert model.identity.hidden_size == 2
        for sequence, rows, mean in zip(
            SEQUENCES, model.embed(SEQUENCES), model.embed(SEQUENCES, "mean"), strict=True
        ):
            np.testing.assert_array_equal(rows, residues(sequence))
            np.testing.assert_allclose(mean, residues(sequence).mean(axis=0), rtol=1e-6)

    def test_one_vector_a_sequence(self, ending: str, tmp_path: Path):
        means = {id_of(s): residues(s).mean(axis=0) for s in SEQUENCES}
        model = load(str(write(tmp_path / f"v{ending}", means)))
        assert model.identity.kinds == ("sequence_class", "sequence_value")
        np.testing.assert_allclose(model.embed(["A"], "mean")[0], [65, 0])
        with pytest.raises(ModelError, match="vectors of sequences, and residues is asked for"):
            model.embed(["A"])

    def test_ids_of_ones_own(self, ending: str, tmp_path: Path):
        fasta = tmp_path / "mine.fasta"
        fasta.write_text("".join(f">p{n} a protein\n{s}\n" for n, s in enumerate(SEQUENCES)))
        own = {id: residues(sequence) for id, sequence in read_fasta(fasta)}
        path = write(tmp_path / f"v{ending}", own)
        with pytest.raises(ModelError, match="3 of 3 sequences have no vectors"):
            load(str(path)).embed(SEQUENCES)
        model = load(str(path), fasta=fasta)
        np.testing.assert_array_equal(model.embed(SEQUENCES)[2], residues(SEQUENCES[2]))

    def test_mixed_widths_are_listed(self, ending: str, tmp_path: Path):
        mixed = {id_of("A"): np.ones((1, 2), np.float32), id_of("MK"): np.ones((2, 3), np.float32)}
        with pytest.raises(
            ModelError, match=r"mixed: 1 of residues \d wide, 1 of residues \d wide"
        ):
            load(str(write(tmp_path / f"v{ending}", mixed)))

    def test_half_precision(self, ending: str, tmp_path: Path):
        half = {id_of(s): residues(s).astype(np.float16) for s in SEQUENCES}
        rows = load(str(write(tmp_path / f"v{ending}", half))).embed(SEQUENCES)[0]
        assert rows.dtype == np.float32

    def test_a_file_that_is_none(self, ending: str, tmp_path: Path):
        for content in (b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(64), bytes(1000)):
            (tmp_path / f"v{ending}").write_bytes(content)
            with pytest.raises(TapeBenchError):
                load(str(tmp_path / f"v{ending}")).embed(["A"])

    def test_cut_short_anywhere(self, ending: str, tmp_path: Path):
        path = write(tmp_path / f"v{ending}", {id_of(s): residues(s) for s in SEQUENCES})
        whole = path.read_bytes()
        for size in range(0, len(whole), max(1, len(whole) // 40)):
            path.write_bytes(whole[:size])
            try:
                found = load(str(path)).embed(SEQUENCES)
            except TapeBenchError:
                continue
            for rows, sequence in zip(found, SEQUENCES, strict=True):
                np.testing.assert_array_equal(rows, residues(sequence))


def test_sequences_themselves_may_be_the_ids(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"sequence": SEQUENCES, "vectors": [residues(s).tolist() for s in SEQUENCES]}
    parquet.write_table(arrow.table(columns), tmp_path / "v.parquet")
    rows = load(str(tmp_path / "v.parquet")).embed(SEQUENCES)
    np.testing.assert_array_equal(rows[0], residues(SEQUENCES[0]))


def test_a_folder_of_files(tmp_path: Path):
    write(tmp_path / "a.npz", {id_of(SEQUENCES[0]): residues(SEQUENCES[0])})
    write(tmp_path / "b.safetensors", {id_of(SEQUENCES[1]): residues(SEQUENCES[1])})
    (tmp_path / "README.md").write_text("not a file of vectors")
    model = load(str(tmp_path))
    np.testing.assert_array_equal(model.embed(SEQUENCES[:2])[1], residues("A"))
    write(tmp_path / "c.npz", {id_of(SEQUENCES[0]): residues(SEQUENCES[0])})
    with pytest.raises(ModelError, match="1 ids stand in several files"):
        load(str(tmp_path))


def test_vectors_of_special_tokens_are_seen(tmp_path: Path):
    path = write(tmp_path / "v.npz", {id_of("MK"): np.ones((4, 3), np.float32)})
    with pytest.raises(ModelError, match="4 vectors for 2 residues"):
        load(str(path)).embed(["MK"])


def test_what_lacks_is_known_before_anything_is_computed(tmp_path: Path):
    path = write(tmp_path / "v.npz", {id_of("MK"): np.ones((2, 3), np.float32)})
    with pytest.raises(TasksFailedError, match=r"sequences have no vectors:\n.*  - s[0-9a-f]{20}"):
        evaluate(f"vectors:{path}", "stability", out=tmp_path / "out", **TRIAL)


def test_what_is_no_file_of_vectors(tmp_path: Path):
    with pytest.raises(UsageError, match="no such file"):
        load(str(tmp_path / "none.npz"))
    (tmp_path / "v.txt").write_text("1 2 3")
    with pytest.raises(UsageError, match=r"how to read \.txt"):
        load(str(tmp_path / "v.txt"))
    np.savez(tmp_path / "v.npz", a=np.array(["text"]))
    with pytest.raises(ModelError):
        load(str(tmp_path / "v.npz")).embed(["A"])
    np.savez(tmp_path / "w.npz", a=np.ones((2, 2, 2)))
    with pytest.raises(ModelError, match="has the shape"):
        load(str(tmp_path / "w.npz"))
    np.savez(tmp_path / "o.npz", a=np.array([{}], dtype=object))
    with pytest.raises((DataError, ModelError)):
        load(str(tmp_path / "o.npz")).embed(["A"])


@pytest.mark.parametrize("ending", ["npz", "safetensors", "parquet"])
def test_what_embed_writes_run_reads(ending: str, tmp_path: Path):
    """From the tasks' sequences to vectors to scores, by the commands that the page shows."""

    def command(*parts: str) -> None:
        done = CliRunner().invoke(program, parts, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    fasta, vectors = tmp_path / "all.fasta", tmp_path / f"vectors.{ending}"
    tasks = ("-t", "stability,secondary_structure")
    command("data", "sequences", *tasks, "-o", str(fasta), "--data", "sample")
    command("embed", "onehot", str(fasta), "-o", str(vectors), "--pool", "residues", "--quiet")
    names = ["stability", "secondary_structure"]
    there = evaluate("onehot", names, out=tmp_path / "out", **TRIAL)
    here = evaluate(f"vectors:{vectors}", names, out=tmp_path / "out", **TRIAL)
    assert [one.metrics for one in here] == [one.metrics for one in there]
    assert here[0].model.reading["computed_by"] == "onehot"
    assert load_model(f"vectors:{vectors}").identity.pretraining == ()
