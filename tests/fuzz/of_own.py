"""Files the program leaves for itself: whatever became of them, the answer is the same as ever."""

from __future__ import annotations

import contextlib
import random
import warnings
from pathlib import Path
from typing import Any

import mutations
import numpy as np
from of_data import _json, card, records
from outcomes import Target, WrongError, same, steers_nothing

from tape_bench import evaluate
from tape_bench.cache.eviction import holdings, verify
from tape_bench.cache.vectors import Cache
from tape_bench.data.column_cache import cached
from tape_bench.data.columns import build
from tape_bench.data.digests import digest_of
from tape_bench.data.records import check
from tape_bench.export.write import write_vectors
from tape_bench.models.controls.onehot import load as onehot
from tape_bench.results import collect, store
from tape_bench.results.predictions import read_predictions, write_predictions
from tape_bench.scoring.predictions import Predictions

KIND = "sequence_value"


def spoil_one(pattern: str, *changes: Any) -> Any:
    """Change one of the files that a pattern finds, or take it away."""

    def spoil(folder: Path, rng: random.Random) -> None:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        path = rng.choice(found)
        if rng.random() < 0.03:
            path.unlink()
            return
        fitting = [c for c in changes if c is not mutations.of_json or path.suffix == ".json"]
        path.write_bytes(rng.choice(fitting)(rng, path.read_bytes()))

    return spoil


def _columns() -> Any:
    return build([check(r, card(KIND), "here") for r in records(KIND)], KIND, "here")


def _column_use(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return same(cached(folder, "content", card(KIND), _columns).digest, _columns().digest)


def _digest_prepare(folder: Path) -> None:
    import os

    (folder / "file").write_bytes(b"content")
    os.utime(folder / "file", (1e9, 1e9))


def _digest_spoil(folder: Path, rng: random.Random) -> None:
    import tape_bench.data.digests as digests

    # Remembered from the first look on, young as the file is.
    digests._SETTLED_SECONDS = -1e9
    digest_of(folder / "file", folder)
    spoil_one("digests/*", mutations.of_json, mutations.raw)(folder, rng)


def _digest_use(folder: Path) -> str:
    expected = "9a0364b9e99bb480dd25e1f0284c8555"  # md5 of "content", as md5sum says
    return same(digest_of(folder / "file", folder).md5, expected)


class _Small:
    """A model of two channels, kept on disk."""

    __module__ = "tape_bench.small"

    def __init__(self) -> None:
        from dataclasses import replace

        from tape_bench.models.controls.onehot import control_identity

        self.identity = replace(control_identity("small", hidden_size=2), weights_digest="1" * 64)


_KEYS = [bytes([number]) * 16 for number in range(6)]


def _vectors(number: int) -> Any:
    return np.arange(2 * (number + 1), dtype=np.float32).reshape(-1, 2) + number


def _cache_prepare(folder: Path) -> None:
    cache = Cache.of(_Small(), "float32", folder)  # type: ignore[arg-type]
    with cache.writer() as writer:
        writer.put(_KEYS, [_vectors(number) for number in range(6)])


def _cache_use(folder: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = Cache.of(_Small(), "float32", folder)  # type: ignore[arg-type]
        known = 0
        for number, key in enumerate(_KEYS):
            found = cache.get(key)
            if found is not None:
                known += 1
                if not np.array_equal(found, _vectors(number)):
                    raise WrongError(f"vectors {number} are others")
        for holding in holdings(folder):
            f"{holding.name} {holding.size}"
        verify(folder)
        _cache_again(folder)
    return "all" if known == 6 else "again"


def _cache_again(folder: Path) -> None:
    cache = Cache.of(_Small(), "float32", folder)  # type: ignore[arg-type]
    with cache.writer() as writer:
        writer.put(_KEYS[:1], [_vectors(0)])
    cache.refresh()
    found = cache.get(_KEYS[0])
    if found is None or not np.array_equal(found, _vectors(0)):
        raise WrongError("what was written anew is not found")


def _embed_prepare(folder: Path) -> None:
    (folder / "p.fa").write_text("".join(f">p{i}\n{'MKVACDEFGH'[: i + 3]}\n" for i in range(6)))
    _embed(folder, stop=2)


class _StopError(BaseException):
    pass


def _embed(folder: Path, stop: int | None = None) -> None:
    import tape_bench.export.write as module

    module.CHUNK_RESIDUES = 10
    model = onehot(None)
    seen = 0

    def embed(sequences: Any, pool: Any = "residues") -> Any:
        nonlocal seen
        seen += 1
        if stop is not None and seen > stop:
            raise _StopError
        return type(model).embed(model, sequences, pool)

    class Stopped:
        __module__ = "tape_bench.stopped"
        identity = model.identity

        def embed(self, sequences: Any, pool: Any = "residues") -> Any:
            return embed(sequences, pool)

    with contextlib.suppress(_StopError):
        write_vectors(Stopped(), folder / "p.fa", folder / "out.npz", "mean")  # type: ignore[arg-type]


def _embed_use(folder: Path) -> str:
    _embed(folder)
    with np.load(folder / "out.npz") as made:
        ids, vectors = made["ids"].tolist(), made["vectors"]
    found = {"".join(sorted(p.name for p in folder.iterdir() if p.suffix == ".work"))}
    if found != {""}:
        raise WrongError("the work folder was left")
    expected = onehot(None).embed(["MKVACDEFGH"[: i + 3] for i in range(6)], "mean")
    same(ids, [f"p{i}" for i in range(6)])
    return same(np.round(vectors, 5).tolist(), np.round(np.array(expected), 5).tolist())


def _run(folder: Path) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = evaluate(
            "onehot", card_of_run(), data=str(folder / "data"), out=folder / "results", head="tape",
            seeds=(0, 1),
        )  # fmt: skip
    return [metric.model_dump() for metric in found[0].metrics]


def card_of_run() -> Any:
    made = card(KIND).model_dump(mode="json")
    metrics = [{"id": "score.spearman", "label": "rho"}]
    return type(card(KIND)).model_validate(made | {"primary": "score.spearman", "metrics": metrics})


def _run_prepare(folder: Path) -> None:
    for split in ("train", "valid", "test"):
        path = folder / "data" / "toy" / f"toy_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        _json(path, records(KIND, 10))
    _EXPECTED["run"] = _run(folder)


_EXPECTED: dict[str, Any] = {}


def _work_prepare(folder: Path) -> None:
    """Leave a run that was stopped between its two heads."""
    import tape_bench.protocols.probe.fit as fit

    _run_prepare(folder)
    (record,) = folder.glob("results/**/*.json")
    train, times = fit.train, []

    def stopped(*given: Any, **more: Any) -> Any:
        times.append(1)
        if len(times) == 2:
            raise _StopError
        return train(*given, **more)

    record.unlink()
    fit.train = stopped
    try:
        _run(folder)
    except _StopError:
        pass
    finally:
        fit.train = train
    if not list(folder.glob("results/**/*.work/*.npz")):
        raise WrongError("nothing was left to go on from")


def _run_use(folder: Path) -> str:
    found = same(_run(folder), _EXPECTED["run"])
    (path,) = folder.glob("results/**/*.json")
    if not collect.collect_records([path])[0].intact:
        raise WrongError("the record is not what was written")
    if list(folder.glob("results/**/*.work")):
        raise WrongError("the work folder was left")
    return found


def _report_prepare(folder: Path) -> None:
    _run_prepare(folder)
    import shutil

    shutil.copytree(folder / "results", folder / "other")


def _report_use(folder: Path) -> str:
    """Have every verb that reads records read this one."""
    import io

    from rich.console import Console

    from tape_bench.report import verbs
    from tape_bench.report.gate import reports
    from tape_bench.report.history import history
    from tape_bench.report.leaderboard.formats import FORMATS, render, terminal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect.collect_records([folder / "results"])
        for line in collect.warnings(found):
            steers_nothing(line)
        board = verbs.leaderboard(found)
        out = io.StringIO()
        terminal.terminal(board, Console(file=out, width=100, force_terminal=False))
        steers_nothing(out.getvalue())
        for name in FORMATS:
            render(board, name)
        found.to_frame()
        verdict = verbs.check(folder / "results", folder / "other", paired=True)
        steers_nothing(reports.text(verdict))
        reports.junit(verdict)
        reports.markdown(verdict)
        if found.filed:
            one = found.filed[0].record
            history(found.filed, one.task.id, one.model.name, one.task.primary, one.task.headline)
    verbs.compare(folder / "results", folder / "other", draws=50)
    return "read"


def _predictions_prepare(folder: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    ids = tuple(f"p{i}" for i in range(6))
    made = Predictions(KIND, ids, np.full(6, 9), values, values.astype(float), np.arange(6))
    write_predictions(folder / "p.npz", {("score", "test"): {0: made, 1: made}})


def _predictions_use(folder: Path) -> str:
    found = read_predictions(folder / "p.npz", KIND)
    for by_seed in found.values():
        for one in by_seed.values():
            if len(set(one.ids)) != len(one.ids) or len(one.values) != len(one.targets):
                raise WrongError("no predictions")
    return "read"


def _member(rng: random.Random, content: bytes) -> bytes:
    return mutations.of_zip(rng, content)


def _record_use(folder: Path) -> str:
    for path in sorted((folder / "results").rglob("*.json")):
        record = store.read(path)
        steers_nothing(record.model.name + str(record.protocol.resolved))
    return "read"


TARGETS: dict[str, Target] = {
    "column cache": Target(_column_use, spoil_one("columns/*", mutations.raw), _column_use),
    "digest memo": Target(_digest_prepare, _digest_spoil, _digest_use, 10),
    "representations": Target(
        _cache_prepare,
        spoil_one("representations/*/*", mutations.raw, mutations.raw, mutations.of_json),
        _cache_use, 20,
    ),
    "embed's work": Target(
        _embed_prepare, spoil_one("out.npz.work/*", mutations.raw, mutations.of_json), _embed_use, 5
    ),
    "a run's work": Target(
        _work_prepare, spoil_one("results/**/*.work/*", mutations.raw, mutations.of_json),
        _run_use, 2,
    ),
    "a complete record": Target(
        _run_prepare, spoil_one("results/**/*", mutations.raw, mutations.of_json), _run_use, 2
    ),
    "a record": Target(
        _run_prepare, spoil_one("results/**/*.json", mutations.raw, mutations.of_json),
        _record_use, 30,
    ),
    "a record in reports": Target(
        _report_prepare, spoil_one("results/**/*.json", mutations.of_json), _report_use, 6
    ),
    "predictions": Target(
        _predictions_prepare, spoil_one("p.npz", mutations.raw, _member), _predictions_use, 20
    ),
}  # fmt: skip
