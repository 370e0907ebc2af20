"""Small cards of every kind, and writers for small data sets in TAPE's layout."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from tape_bench.cards import TaskCard

Records = Sequence[Mapping[str, Any]]

TARGETS: dict[str, list[dict[str, Any]]] = {
    "token_class": [
        {"name": "ss3", "field": "ss3", "classes": 3, "labels": ["H", "E", "C"]},
        {"name": "ss8", "field": "ss8", "classes": 8, "optional": True},
    ],
    "sequence_class": [{"name": "fold", "field": "fold_label", "classes": 4}],
    "sequence_value": [{"name": "score", "field": "score"}],
    "residue_pair": [{"name": "contact", "field": "tertiary"}],
}


def chain(residues: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Walk 3.8 Angstrom a residue, as C-alpha atoms do: coordinates `[residues, 3]`."""
    steps = random.normal(size=(residues, 3))
    steps *= 3.8 / np.linalg.norm(steps, axis=1, keepdims=True)
    return steps.cumsum(axis=0).astype(np.float32)


@pytest.fixture
def make_card() -> Callable[..., TaskCard]:
    """Build a card of one kind: splits train, valid, test and extra, folder `toy`."""

    def make(kind: str, records: int = 4, **changes: Any) -> TaskCard:
        target = TARGETS[kind][0]["name"]
        sizes = {"train": "train", "valid": "valid", "test": "test", "extra": "test"}
        card: dict[str, Any] = {
            "name": "toy",
            "version": "1",
            "title": "Toy",
            "summary": "A toy.",
            "kind": kind,
            "head": "linear",
            "pool": "residues" if kind in ("token_class", "residue_pair") else "mean",
            "headline": "test",
            "primary": f"{target}.any",
            "targets": TARGETS[kind],
            "splits": {n: {"role": role, "records": records} for n, role in sizes.items()},
            "metrics": [{"id": f"{target}.any", "label": "any"}],
            "length": {"policy": "error"},
            "source": {"folder": "toy", "licence": "none"},
        }
        source = card["source"] | changes.pop("source", {})
        return TaskCard.model_validate(card | {"source": source} | changes)

    return make


@pytest.fixture
def toy_records() -> Callable[..., list[dict[str, Any]]]:
    """Build records of one kind, as a store gives them."""

    def make(kind: str, count: int = 4, seed: int = 0) -> list[dict[str, Any]]:
        random = np.random.default_rng(seed)
        records = []
        for index in range(count):
            residues = int(random.integers(8, 20))
            record: dict[str, Any] = {
                "id": f"p{index}",
                "primary": "".join(random.choice(list("ACDEFGHIKLMNPQRSTVWYXBZUO"), residues)),
                "protein_length": residues,
                "evolutionary": random.random((residues, 20), np.float32),
            }
            if kind == "token_class":
                record["ss3"] = random.integers(-1, 3, residues)
            elif kind == "sequence_class":
                record["fold_label"] = int(random.integers(4))
            elif kind == "sequence_value":
                record["score"] = random.standard_normal(1).astype(np.float32)
            else:
                record["tertiary"] = chain(residues, random)
                record["valid_mask"] = random.random(residues) < 0.9
                record["valid_mask"][[0, -1]] = True
            records.append(record)
        return records

    return make


@pytest.fixture
def write_lmdb() -> Callable[..., Path]:
    """Write records as TAPE lays them out; raw bytes are written as they are."""

    def write(
        path: Path, records: Sequence[Any], count: int | None = None, protocol: int = 3
    ) -> Path:
        path.mkdir(parents=True)
        with lmdb.open(str(path), map_size=1 << 26) as store, store.begin(write=True) as entry:
            for index, record in enumerate(records):
                if record is not None:
                    raw = isinstance(record, bytes)
                    value = record if raw else pickle.dumps(record, protocol=protocol)
                    entry.put(str(index).encode(), value)
            if count != -1:
                number = len(records) if count is None else count
                entry.put(b"num_examples", pickle.dumps(number, protocol=protocol))
        return path

    return write


@pytest.fixture
def data_root(
    tmp_path: Path,
    write_lmdb: Callable[..., Path],
    toy_records: Callable[..., list[dict[str, Any]]],
) -> Callable[..., Path]:
    """Write a data root with every split of a toy task; `changed` replaces a split's records."""

    def make(kind: str, **changed: Any) -> Path:
        root = tmp_path / "root"
        for seed, split in enumerate(("train", "valid", "test", "extra")):
            records = changed.get(split, toy_records(kind, seed=seed))
            if records is not None:
                write_lmdb(root / "toy" / f"toy_{split}.lmdb", records)
        return root

    return make
