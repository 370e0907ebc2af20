"""A run computes what is not there, once, whoever needs it."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pytest

from tape_bench.cache import vectors as kept_vectors
from tape_bench.cache.precision import stored_as
from tape_bench.cache.vectors import Cache
from tape_bench.embedding.embeddings import Embeddings, Request, open_embeddings
from tape_bench.embedding.executors.session import Session
from tape_bench.errors import ModelError, StorageError

PROTEINS = tuple(
    "".join(np.random.default_rng(n).choice(list("ACDEFGHIKLMNPQRSTVWY"), 5 + n % 37))
    for n in range(60)
)


@pytest.fixture
def embeddings(letters, tmp_path: Path) -> Embeddings:
    return Embeddings(Session.of(letters), Cache.of(letters, "float32", tmp_path))


def read(embeddings: Embeddings, request: Request) -> dict[str, np.ndarray]:
    with embeddings.open(request) as cached:
        return {sequence: np.array(cached[sequence]) for sequence in cached}


@pytest.mark.parametrize("pool", ["residues", "mean", "first"])
def test_each_protein_gets_its_own_vectors(embeddings, expected, pool):
    found = read(embeddings, Request(PROTEINS, pool))
    assert set(found) == set(PROTEINS)
    for sequence, vectors in found.items():
        np.testing.assert_array_equal(vectors, expected(sequence, pool))


def test_what_several_tasks_read_is_computed_once(embeddings, letters, expected):
    requests = [
        Request(PROTEINS[:40], "residues"),
        Request(PROTEINS[20:], "mean"),
        Request(PROTEINS, "mean"),
    ]
    embeddings.fill(requests)
    assert sorted(s for launch in letters.launches for s in launch) == sorted(set(PROTEINS))
    assert embeddings.computed.residues == sum(map(len, set(PROTEINS)))
    letters.launches.clear()
    for request in requests:
        for sequence, vectors in read(embeddings, request).items():
            np.testing.assert_array_equal(vectors, expected(sequence, request.pool))
    assert letters.launches == []


def test_a_second_run_never_looks_at_the_network(embeddings, letters, tmp_path):
    read(embeddings, Request(PROTEINS, "mean"))
    letters.launches.clear()
    again = Embeddings(Session.of(letters), Cache.of(letters, "float32", tmp_path))
    read(again, Request(PROTEINS, "mean"))
    assert letters.launches == []
    assert (again.computed.residues, again.rate) == (0, None)


def test_what_another_process_has_added_since_is_not_computed_again(letters, letters_of, tmp_path):
    mine, theirs = (
        Embeddings(Session.of(model), Cache.of(letters, "float32", tmp_path))
        for model in (letters, letters_of())
    )
    mine.fill([Request(PROTEINS[:20], "mean")])
    theirs.fill([Request(PROTEINS, "mean")])
    letters.launches.clear()
    read(mine, Request(PROTEINS, "mean"))
    assert letters.launches == []


def test_an_interrupted_run_loses_no_batch_it_has_written(letters, tmp_path):
    class Killed(BaseException):
        pass

    launches = []
    for allowed in (3, 5, 100):
        embeddings = Embeddings(Session.of(letters), Cache.of(letters, "float32", tmp_path))

        def stop(done, total, allowed=allowed):
            if len(letters.launches) >= allowed:
                raise Killed

        with contextlib.suppress(Killed):
            embeddings.fill([Request(PROTEINS, "residues")], stop)
        launches += letters.launches
        letters.launches.clear()
    # The very batches of an undisturbed run, each of them once.
    read(
        Embeddings(Session.of(letters), Cache.of(letters, "float32", tmp_path / "calm")),
        Request(PROTEINS, "residues"),
    )
    assert launches == letters.launches


def test_damaged_vectors_are_computed_again(letters, expected, tmp_path):
    read(
        Embeddings(Session.of(letters), Cache.of(letters, "float32", tmp_path)),
        Request(PROTEINS, "mean"),
    )
    cache = Cache.of(letters, "float32", tmp_path)
    (vectors,) = cache.folder.glob("*.vectors")
    content = bytearray(vectors.read_bytes())
    content[5] ^= 1
    content[-5] ^= 1
    vectors.write_bytes(content)
    letters.launches.clear()
    with pytest.warns(UserWarning, match="2 kept representations are not what was written"):
        found = read(Embeddings(Session.of(letters), cache), Request(PROTEINS, "mean"))
    assert sum(map(len, letters.launches)) == 2
    for sequence, vectors in found.items():
        np.testing.assert_array_equal(vectors, expected(sequence, "mean"))
    letters.launches.clear()
    read(
        Embeddings(Session.of(letters), Cache.of(letters, "float32", tmp_path)),
        Request(PROTEINS, "mean"),
    )
    assert letters.launches == []


def test_windows_have_entries_of_their_own(embeddings, letters, expected):
    long = "ACDEFGHIKL" * 4
    whole = read(embeddings, Request((long, "MKV"), "residues"))
    windowed = read(embeddings, Request((long, "MKV"), "residues", window=20))
    np.testing.assert_array_equal(whole[long], expected(long, "residues"))
    # Places are counted from each window's start.
    assert windowed[long][:, 1].max() == 19
    launched = [s for launch in letters.launches for s in launch]
    assert launched.count("MKV") == 1


def test_short_room_keeps_the_small_and_computes_the_rest_each_time(letters, expected, tmp_path):
    cache = Cache.of(letters, "float32", tmp_path)
    request = Request(PROTEINS, "residues")
    sizes = sorted(12 * len(s) for s in set(PROTEINS))
    known = sum(path.stat().st_size for path in cache.folder.iterdir())
    embeddings = Embeddings(Session.of(letters), cache, limit=known + sum(sizes[:10]))
    with pytest.warns(UserWarning, match="has room for 0.0 of the 0.0 GB"):
        cached = embeddings.open(request)
    assert len(cache._places) == 10
    for sequence in PROTEINS:
        np.testing.assert_array_equal(cached[sequence], expected(sequence, "residues"))


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("pool", ["residues", "mean"])
def test_short_room_changes_no_value(letters_of, tmp_path, stored, pool):
    class Thirds:
        """Values that half precision rounds."""

        def __init__(self):
            self.identity = (letters := letters_of()).identity
            self._embed = letters.embed

        def embed(self, sequences, pool="residues"):
            return [values / np.float32(3) for values in self._embed(sequences, pool)]

    model, request = Thirds(), Request(PROTEINS, pool)
    ample = read(
        Embeddings(Session.of(model), Cache.of(model, stored, tmp_path / "ample")), request
    )
    cache = Cache.of(model, stored, tmp_path / "short")
    with pytest.warns(UserWarning, match="has room for"):
        cached = Embeddings(Session.of(model), cache, limit=1).open(request)
    assert not cache._places
    for sequence in PROTEINS:
        np.testing.assert_array_equal(cached[sequence], ample[sequence])
        assert not cached[sequence].flags.writeable


def test_a_task_is_given_the_room_of_another_models(letters, letters_of, expected, tmp_path):
    old = Cache.of(letters_of(digest="2" * 64), "float32", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Embeddings(Session.of(letters_of(digest="2" * 64)), old).fill(
            [Request(PROTEINS, "residues")]
        )
        size = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        cache = Cache.of(letters, "float32", tmp_path)
        embeddings = Embeddings(Session.of(letters), cache, limit=size + 1500)
        read(embeddings, Request(PROTEINS, "residues"))
    assert len(cache._places) == len(set(PROTEINS))
    assert list(old.folder.glob("*.vectors")) == []


def test_models_without_a_digest_leave_nothing_on_disk(letters_of, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("TAPE_BENCH_CACHE", str(tmp_path / "cache"))
    letters = letters_of(digest=None)
    with open_embeddings(Session.of(letters), "float32") as embeddings:
        embeddings.fill([Request(PROTEINS, "mean")])
        assert letters.launches == []
        for sequence, vectors in read(embeddings, Request(PROTEINS, "mean")).items():
            np.testing.assert_array_equal(vectors, expected(sequence, "mean"))
        assert embeddings.computed.residues == sum(map(len, set(PROTEINS)))
    assert not (tmp_path / "cache").exists()


def test_half_precision_is_read_back_as_it_is_kept(letters, expected, tmp_path):
    """The first run and all later ones must give heads the same numbers."""
    for _ in range(2):
        embeddings = Embeddings(Session.of(letters), Cache.of(letters, "float16", tmp_path))
        for sequence, vectors in read(embeddings, Request(PROTEINS, "mean")).items():
            halved = expected(sequence, "mean").astype(np.float16).astype(np.float32)
            np.testing.assert_array_equal(vectors, halved)
            assert vectors.dtype == np.float32


def test_too_long_a_protein_is_refused_before_anything_is_computed(embeddings, letters):
    with pytest.raises(ModelError, match="longer than the 500"):
        embeddings.fill([Request(("A" * 501, "MKV"), "mean")])
    assert letters.launches == []


def test_precision_kept_in_follows_the_models(letters):
    from dataclasses import replace

    assert stored_as(letters.identity, None) == "float32"
    assert stored_as(replace(letters.identity, dtype="bfloat16"), None) == "float16"
    assert stored_as(letters.identity, "bfloat16") == "bfloat16"


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_a_cache_of_somebody_else_is_read_and_not_added_to(
    letters, letters_of, expected, tmp_path, monkeypatch, stored
):
    with Cache.of(letters, stored, tmp_path).writer() as _:
        pass
    first = Embeddings(Session.of(letters), Cache.of(letters, stored, tmp_path))
    read(first, Request(PROTEINS[:30], "mean"))

    def refuse(folder: Path) -> None:
        raise StorageError("cannot write here")

    monkeypatch.setattr(kept_vectors, "_check_writable", refuse)
    theirs = letters_of()
    cache = Cache.of(theirs, stored, tmp_path)
    assert cache.read_only
    before = sorted(cache.folder.iterdir())
    shared = Embeddings(Session.of(theirs), cache)
    read(shared, Request(PROTEINS[:30], "mean"))
    assert theirs.launches == []
    found = read(shared, Request(PROTEINS, "mean"))
    for sequence in PROTEINS:
        np.testing.assert_allclose(found[sequence], expected(sequence, "mean"), rtol=1e-3)
    assert sorted(cache.folder.iterdir()) == before
