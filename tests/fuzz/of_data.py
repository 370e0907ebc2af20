"""Files of records and what describes them: LMDB, pickles, JSON, CSV, FASTA, tarballs, cards."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import tarfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import lmdb
import mutations
import numpy as np
from outcomes import Target, WrongError, steers_nothing

from tape_bench import registry
from tape_bench.cards import TaskCard, read_baseline, read_task
from tape_bench.data.digests import read_digest
from tape_bench.data.examples import load_task
from tape_bench.data.fetch.mirrors import fetch
from tape_bench.data.fetch.tarballs import read_receipt, unpack
from tape_bench.data.formats import detect
from tape_bench.data.formats.fasta import read_fasta
from tape_bench.data.formats.unpickle import loads
from tape_bench.data.records import check

KINDS = ("token_class", "sequence_class", "sequence_value", "residue_pair")
_TARGETS: dict[str, dict[str, Any]] = {
    "token_class": {"name": "ss3", "field": "ss3", "classes": 3, "labels": ["H", "E", "C"]},
    "sequence_class": {"name": "fold", "field": "fold_label", "classes": 4},
    "sequence_value": {"name": "score", "field": "score"},
    "residue_pair": {"name": "contact", "field": "tertiary"},
}


@cache
def card(kind: str) -> TaskCard:
    target = _TARGETS[kind]
    splits = {n: {"role": n, "records": 4} for n in ("train", "valid", "test")}
    return TaskCard.model_validate(
        {
            "name": "toy", "version": "1", "title": "Toy", "summary": "A toy.", "kind": kind,
            "head": "linear", "pool": "residues" if kind in KINDS[::3] else "mean",
            "headline": "test", "primary": f"{target['name']}.any", "targets": [target],
            "splits": splits, "metrics": [{"id": f"{target['name']}.any", "label": "any"}],
            "length": {"policy": "error"}, "source": {"folder": "toy", "licence": "none"},
        }
    )  # fmt: skip


def records(kind: str, count: int = 4) -> list[dict[str, Any]]:
    random_ = np.random.default_rng(0)
    made = []
    for number in range(count):
        residues = 12 + number
        record: dict[str, Any] = {
            "id": f"p{number}",
            "primary": "".join(random_.choice(list("ACDEFGHIKLMNPQRSTVWY"), residues)),
        }
        if kind == "token_class":
            record["ss3"] = random_.integers(-1, 3, residues)
        elif kind == "sequence_class":
            record["fold_label"] = number % 4
        elif kind == "sequence_value":
            record["score"] = [float(number)]
        else:
            steps = random_.normal(size=(residues, 3))
            steps *= 3.8 / np.linalg.norm(steps, axis=1, keepdims=True)
            record["tertiary"] = steps.cumsum(axis=0).astype(np.float32)
            record["valid_mask"] = np.ones(residues, bool)
        made.append(record)
    return made


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in record.items()}


def _spoiled(name: str, *changes: Any) -> Any:
    def spoil(folder: Path, rng: random.Random) -> None:
        path = folder / name
        path.write_bytes(rng.choice(changes)(rng, path.read_bytes()))

    return spoil


def _whole(place: Path, kind: str) -> str:
    """Open a task's data, twice, and see that what comes out can be what a record holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load_task(card(kind), place, cache=place.parent / "cache")
        again = load_task(card(kind), place, cache=place.parent / "cache")
    if data.digest != again.digest:
        raise WrongError("read twice, it is not the same")
    for split in data.values():
        for id in split.ids:
            steers_nothing(id)
        if len(set(split.ids)) != len(split.ids):
            raise WrongError("an id stands twice")
        values = split.columns.fields[card(kind).targets[0].field]
        if kind == "sequence_value" and not np.isfinite(values).all():
            raise WrongError("a value is not finite")
        list(split)
    return "read"


def _store(path: Path, contents: list[bytes], count: bytes) -> None:
    path.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 22, sync=False) as store, store.begin(write=True) as t:
        for number, content in enumerate(contents):
            t.put(str(number).encode(), content)
        t.put(b"num_examples", count)


def _root(kind: str, suffix: str, write: Any) -> Any:
    def prepare(folder: Path) -> None:
        for split in ("train", "valid", "test"):
            path = folder / "data" / "toy" / f"toy_{split}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, records(kind))

    return prepare


def _lmdb(path: Path, made: list[dict[str, Any]]) -> None:
    _store(path, [pickle.dumps(record, 4) for record in made], pickle.dumps(len(made)))


def _spoil_records(kind: str) -> Any:
    def spoil(folder: Path, rng: random.Random) -> None:
        made = [
            mutations.pickled(rng, r) if rng.random() < 0.5 else pickle.dumps(r)
            for r in records(kind)
        ]
        count = mutations.pickled(rng, {"a": 1}) if rng.random() < 0.2 else pickle.dumps(len(made))
        if rng.random() < 0.1:
            count = pickle.dumps(mutations.odd_object(rng), 4) if rng.random() < 0.5 else count
        path = folder / "data" / "toy" / "toy_train.lmdb"
        for file in path.iterdir():
            file.unlink()
        _store(path, made, count)

    return spoil


def _csv(path: Path, made: list[dict[str, Any]]) -> None:
    field = next(name for name in made[0] if name not in ("id", "primary"))
    lines = [f"id,primary,{field}"]
    for record in made:
        value = plain(record)[field]
        cell = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        lines.append(f"{record['id']},{record['primary']},{cell}")
    path.write_text("\n".join(lines))


def _jsonl(path: Path, made: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(plain(record)) for record in made))


def _json(path: Path, made: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps([plain(record) for record in made]))


def _parquet(path: Path, made: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([plain(record) for record in made])
    pyarrow.parquet.write_table(table, path)


def _of_task(kind: str, suffix: str, write: Any, *changes: Any, weight: int = 10) -> Target:
    name = f"data/toy/toy_train.{suffix}"
    return Target(
        _root(kind, suffix, write),
        _spoiled(name, *changes),
        lambda folder: _whole(folder / "data", kind),
        weight,
    )


def _pickle_use(kind: str) -> Any:
    def use(folder: Path) -> str:
        check(loads((folder / "record").read_bytes(), where="here"), card(kind), "here")
        return "read"

    return use


def _pickles(kind: str) -> Target:
    def spoil(folder: Path, rng: random.Random) -> None:
        (folder / "record").write_bytes(mutations.pickled(rng, records(kind, 1)[0]))

    return Target(lambda folder: None, spoil, _pickle_use(kind), 40)


FASTA = "".join(f">p{i} a protein\nMKVLA\nACDEFGHIKL\n\n" for i in range(6))


def _fasta_use(folder: Path) -> str:
    (path,) = folder.glob("p.fa*")
    for id, sequence in read_fasta(path):
        steers_nothing(id)
        if not sequence:
            raise WrongError("an empty sequence")
    return "read"


def _tarball(folder: Path) -> None:
    made = folder / "toy"
    made.mkdir()
    for split in ("train", "valid", "test"):
        _json(made / f"toy_{split}.json", records("sequence_value"))
    with tarfile.open(folder / "toy.tar.gz", "w:gz") as tar:
        tar.add(made, "toy")


def _tarball_use(folder: Path) -> str:
    root = folder / "into" / "root"
    path = folder / "toy.tar.gz"
    before = set(folder.rglob("*"))
    try:
        unpack(path, read_digest(path), "toy", root, folder / "cache")
    finally:
        stray = {p for p in folder.rglob("*") if p not in before}
        allowed = (root / "toy", folder / "cache")
        for one in stray - {root, root.parent}:
            if not any(one.is_relative_to(place) for place in allowed):
                raise WrongError(f"{one} was written")
    return "unpacked"


def _fetch_prepare(folder: Path) -> None:
    _tarball(folder)
    digest = read_digest(folder / "toy.tar.gz")
    (folder / "toy.tar.gz.md5").write_text(f"{digest.md5}  toy.tar.gz\n")


def _fetch_use(folder: Path) -> str:
    found = fetch(card("sequence_value"), [str(folder)], folder / "root")
    if not (found.folder / "toy_train.json").is_file():
        raise WrongError("fetched, and not there")
    _whole(folder / "root", "sequence_value")
    return "fetched"


def _receipt_prepare(folder: Path) -> None:
    _tarball(folder)
    path = folder / "toy.tar.gz"
    unpack(path, read_digest(path), "toy", folder / "data", folder / "cache")


def _receipt_use(folder: Path) -> str:
    receipt = read_receipt(folder / "data" / "toy")
    if receipt is not None:
        receipt.changes(folder / "data" / "toy", folder / "cache")
    return _whole(folder / "data", "sequence_value")


def _copy(path: Path, name: str) -> Any:
    return lambda folder: (folder / name).write_bytes(path.read_bytes()) and None


def _card_use(folder: Path) -> str:
    found = read_task(folder / "card.toml")
    steers_nothing(found.title + found.summary + found.source.note)
    for name in [*found.splits, *(target.name for target in found.targets)]:
        if Path(name).name != name:
            raise WrongError(f"{name!r} leads elsewhere")
    return "read"


def _baseline_use(folder: Path) -> str:
    steers_nothing(read_baseline(folder / "table.toml").title)
    return "read"


def _detect_use(folder: Path) -> str:
    for kind in KINDS:
        try:
            list(detect.read(folder / "any", card(kind)))
        except Exception as error:
            fault = error
    raise fault


def _any(folder: Path, rng: random.Random) -> None:
    (folder / "any").write_bytes(
        rng.randbytes(rng.randrange(300)) + rng.choice((b"", b",\n1,2", b"["))
    )


_TABLE = next(iter(sorted((registry.citations().parent.parent / "baselines").glob("*.toml"))), None)
_CARD = registry.citations().parent / "stability.toml"


def _gz(folder: Path) -> None:
    (folder / "p.fa.gz").write_bytes(gzip.compress(FASTA.encode()))


def _of_gzip(rng: random.Random, content: bytes) -> bytes:
    change = rng.choice((mutations.of_lines, mutations.raw))
    made = io.BytesIO(gzip.decompress(content))
    return gzip.compress(change(rng, made.getvalue()), 1)


TARGETS: dict[str, Target] = {
    **{f"pickle {kind}": _pickles(kind) for kind in KINDS},
    **{
        f"lmdb records {kind}": Target(
            _root(kind, "lmdb", _lmdb), _spoil_records(kind),
            lambda folder, kind=kind: _whole(folder / "data", kind), 5,
        )
        for kind in KINDS
    },
    "lmdb file": _of_task("sequence_value", "lmdb/data.mdb", lambda p, r: _lmdb(p.parent, r),
                          mutations.raw),
    **{f"json {kind}": _of_task(kind, "json", _json, mutations.of_json, mutations.raw)
       for kind in KINDS},
    **{
        f"parquet {kind}": _of_task(kind, "parquet", _parquet, mutations.raw, weight=6)
        for kind in KINDS
    },
    "json lines": _of_task("sequence_value", "jsonl", _jsonl, mutations.of_lines, mutations.raw),
    **{f"csv {kind}": _of_task(kind, "csv", _csv, mutations.of_lines, mutations.raw)
       for kind in KINDS[:3]},
    "fasta": Target(lambda folder: (folder / "p.fa").write_text(FASTA) and None,
                    _spoiled("p.fa", mutations.of_lines, mutations.raw), _fasta_use, 20),
    "fasta.gz": Target(_gz, _spoiled("p.fa.gz", _of_gzip, mutations.raw), _fasta_use, 10),
    "any bytes": Target(lambda folder: None, _any, _detect_use, 5),
    "tarball": Target(_tarball, _spoiled("toy.tar.gz", mutations.of_tarball, mutations.raw),
                      _tarball_use, 10),
    "mirror": Target(_fetch_prepare, _spoiled("toy.tar.gz.md5", mutations.of_lines, mutations.raw),
                     _fetch_use, 3),
    "mirror's tarball": Target(_fetch_prepare, _spoiled("toy.tar.gz", mutations.of_tarball),
                               _fetch_use, 3),
    "receipt": Target(_receipt_prepare, _spoiled("data/toy/tape-bench-receipt.json",
                      mutations.of_json, mutations.raw), _receipt_use, 5),
    "card": Target(_copy(_CARD, "card.toml"),
                   _spoiled("card.toml", mutations.of_lines, mutations.raw), _card_use, 20),
}  # fmt: skip
if _TABLE is not None:
    TARGETS["baselines"] = Target(
        _copy(_TABLE, "table.toml"),
        _spoiled("table.toml", mutations.of_lines, mutations.raw),
        _baseline_use,
    )
