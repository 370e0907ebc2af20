"""Worker processes give what one process gives; a dead one ends the run and names itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tape_bench.embedding.embeddings import Embeddings, Request, open_embeddings
from tape_bench.embedding.executors.session import assemble
from tape_bench.errors import CheckpointError, ModelError, PeerLostError

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")
PROTEINS = tuple(
    "".join(np.random.default_rng(n).choice(LETTERS, 10 + 7 * n % 90)) for n in range(40)
)
NEEDS = [Request(PROTEINS, "mean"), Request(PROTEINS[:10], "residues")]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def everything(embeddings: Embeddings) -> list[np.ndarray]:
    embeddings.fill(NEEDS)
    return [
        np.array(cached[s])
        for request in NEEDS
        for cached in [embeddings.open(request)]
        for s in cached
    ]


def alone(spec: str) -> list[np.ndarray]:
    model = assemble(spec, {}).model
    return [
        vectors for request in NEEDS for vectors in model.embed(request.sequences, request.pool)
    ]


@pytest.mark.parametrize(
    ("devices", "tensor"),
    [
        pytest.param(2, 1, marks=pytest.mark.slow),
        (1, 2),
        pytest.param(2, 2, marks=pytest.mark.slow),
    ],
)
def test_any_number_of_processes_gives_the_same_values(checkpoint: Path, devices, tensor):
    spec = f"proteinlm:{checkpoint}"
    heard = []
    with open_embeddings(assemble(spec, {}, devices, tensor), "float32") as embeddings:
        embeddings.fill(NEEDS, lambda *counts: heard.append(counts))
        for ours, theirs in zip(everything(embeddings), alone(spec), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        segments = list(embeddings.cache.folder.glob("*.vectors"))
    # One segment a group, no sequence computed twice, and nothing shared out as padding.
    assert len(segments) == devices
    hidden, rows = 64, len(set(PROTEINS)) + sum(map(len, PROTEINS[:10]))
    assert sum(path.stat().st_size for path in segments) == rows * hidden * 4
    total = sum(map(len, set(PROTEINS)))
    assert heard[-1] == (total, total)


def test_models_without_weights_are_shared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAPE_BENCH_CACHE", str(tmp_path))
    with open_embeddings(assemble("onehot", {}, devices=2), "float32") as embeddings:
        for ours, theirs in zip(everything(embeddings), alone("onehot"), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_cannot_do_is_told_as_if_it_were_done_here(checkpoint: Path):
    session = assemble(f"proteinlm:{checkpoint}", {}, devices=2)
    with open_embeddings(session, "float32") as embeddings, pytest.raises(ModelError) as caught:
        embeddings.fill([Request((*PROTEINS, "MKJ"), "mean")])
    assert not isinstance(caught.value, CheckpointError)
    assert "'J'" in str(caught.value)
    assert "worker " in str(caught.value)


def test_a_killed_worker_ends_the_run_and_a_rerun_goes_on(checkpoint: Path):
    spec = f"proteinlm:{checkpoint}"
    many = tuple(dict.fromkeys(p[:n] for p in PROTEINS for n in range(8, len(p))))
    ended = threading.Event()
    killed = []

    def kill_one() -> None:
        while not ended.is_set() and not killed:
            for child in psutil.Process().children(recursive=True):
                if "embedding.executors.rank" in " ".join(child.cmdline()) and written():
                    os.kill(child.pid, signal.SIGKILL)
                    killed.append(child.pid)
                    return
            time.sleep(0.01)

    with open_embeddings(
        assemble(spec, {}, devices=2), "float32", tokens_per_batch=50
    ) as embeddings:

        def written() -> int:
            return sum(p.stat().st_size for p in embeddings.cache.folder.glob("*.index"))

        killer = threading.Thread(target=kill_one)
        killer.start()
        with pytest.raises(PeerLostError, match=r"worker \d of 2 ended by SIGKILL"):
            embeddings.fill([Request(many, "mean")])
        ended.set()
        killer.join()
        kept = set(embeddings.cache.folder.glob("*.index"))
        # Nobody is left behind, and the other worker is not waited for.
        assert not any(
            "embedding.executors.rank" in " ".join(c.cmdline()) for c in psutil.Process().children()
        )
        assert written() > 0
    with open_embeddings(assemble(spec, {}), "float32") as embeddings:
        before = len(embeddings.cache._places)
        assert 0 < before < len(many)
        embeddings.fill([Request(many, "mean")])
        assert embeddings.computed.residues == sum(map(len, many)) - sum(
            len(s) for s in many if key_of(s) in first_places(embeddings, kept)
        )
        cached = embeddings.open(Request(many, "mean"))
        theirs = embeddings.model.embed(many, "mean")
        for sequence, expected in zip(many, theirs, strict=True):
            np.testing.assert_allclose(cached[sequence], expected, atol=1e-5)


def key_of(sequence: str) -> bytes:
    from tape_bench.cache.vectors import entry_key

    return entry_key(sequence, "mean", None)


def first_places(embeddings: Embeddings, segments: set[Path]) -> set[bytes]:
    """Return the keys that were kept when the worker died."""
    from tape_bench.cache.segments import Segment

    return {key for path in segments for key in Segment(path, 64).records["key"].tolist()}
