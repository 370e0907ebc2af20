"""All records of one split end to end in a few flat arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.cards import Kind
from tape_bench.data.records import Record
from tape_bench.errors import DataError

_DIGEST_VERSION = b"tape-bench records 1"
_CLUSTERS = ("cluster_bytes", "cluster_offsets")


@dataclass(frozen=True, eq=False)
class Columns:
    """The records of one split as flat arrays; record `i` is `offsets[i]` to `offsets[i + 1]`."""

    kind: Kind
    letters: NDArray[np.uint8]
    """One-letter codes as ASCII, `[residues of all]`."""
    offsets: NDArray[np.int64]
    """Where each record's residues begin, `[records + 1]`."""
    id_bytes: NDArray[np.uint8]
    """Ids as UTF-8, end to end."""
    id_offsets: NDArray[np.int64]
    """Where each record's id begins, `[records + 1]`."""
    fields: Mapping[str, NDArray[Any]]
    """Targets by record field: token_class `[residues of all]`, residue_pair coordinates
    `[residues of all, 3]` in Angstrom (NaN: no atom), one number a record `[records]` otherwise."""
    cluster_bytes: NDArray[np.uint8] | None = None
    """Names of clusters as UTF-8, end to end; None where the data name none."""
    cluster_offsets: NDArray[np.int64] | None = None
    """Where each record's cluster begins, `[records + 1]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def per_residue(self) -> bool:
        """Whether targets have one entry a residue, rather than one a record."""
        return self.kind in ("token_class", "residue_pair")

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Residues of each record, `[records]`."""
        return np.diff(self.offsets)

    @cached_property
    def sequences(self) -> list[str]:
        """One-letter sequences, in order."""
        text = self.letters.tobytes().decode("ascii")
        return [text[start:stop] for start, stop in _spans(self.offsets)]

    @cached_property
    def ids(self) -> list[str]:
        """Ids, in order, each once."""
        return _texts(self.id_bytes, self.id_offsets)

    @cached_property
    def clusters(self) -> list[str] | None:
        """The cluster each record is said to belong to, in order; None where none is named."""
        if self.cluster_bytes is None or self.cluster_offsets is None:
            return None
        return _texts(self.cluster_bytes, self.cluster_offsets)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the records, the same whatever layout they were read from.

        Ids, sequences and targets count: which proteins belong together is said about them.
        """
        named = self.arrays()
        return digest_of_arrays({name: named[name] for name in named.keys() - set(_CLUSTERS)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name; the inverse of `from_arrays`."""
        own: dict[str, NDArray[Any]] = {
            "letters": self.letters,
            "offsets": self.offsets,
            "id_bytes": self.id_bytes,
            "id_offsets": self.id_offsets,
        }
        if self.cluster_bytes is not None and self.cluster_offsets is not None:
            own |= {"cluster_bytes": self.cluster_bytes, "cluster_offsets": self.cluster_offsets}
        return own | {f"field.{name}": array for name, array in self.fields.items()}

    @classmethod
    def from_arrays(cls, kind: Kind, arrays: Mapping[str, NDArray[Any]]) -> Columns:
        """Put columns together again from what `arrays` returned."""
        fields = {
            name.removeprefix("field."): array
            for name, array in arrays.items()
            if name.startswith("field.")
        }
        own = {name: arrays[name] for name in ("letters", "offsets", "id_bytes", "id_offsets")}
        return cls(kind, **own, fields=fields, **{n: arrays[n] for n in _CLUSTERS if n in arrays})

    def target(self, field: str, index: int) -> NDArray[Any]:
        """Return what one record holds in a field: a view, `[residues, ...]` or a number `[]`."""
        column = self.fields[field]
        if self.per_residue:
            return column[self.offsets[index] : self.offsets[index + 1]]
        return column[index]  # type: ignore[no-any-return]

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Columns:
        """Return the records at these places, in this order."""
        rows = np.asarray(indices, np.int64)
        fields = {
            name: _gather(column, self.offsets, rows) if self.per_residue else column[rows]
            for name, column in self.fields.items()
        }
        return Columns(
            self.kind,
            _gather(self.letters, self.offsets, rows),
            offsets_of(self.lengths[rows]),
            _gather(self.id_bytes, self.id_offsets, rows),
            offsets_of(np.diff(self.id_offsets)[rows]),
            fields,
            *self._clusters_of(rows),
        )

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Return the records of several splits as one; an id that came before gets `#2` after it.

        Fields that not all of them have are left out, and so are clusters.
        """
        shared = [name for name in parts[0].fields if all(name in part.fields for part in parts)]
        ids = _each_once(id for part in parts for id in part.ids)
        named = [part.clusters for part in parts]
        clusters = [name for names in named for name in names or ()]
        return cls(
            parts[0].kind,
            np.concatenate([part.letters for part in parts]),
            offsets_of(np.concatenate([part.lengths for part in parts])),
            *_laid_out(ids),
            {name: np.concatenate([part.fields[name] for part in parts]) for name in shared},
            *(_laid_out(clusters) if all(names is not None for names in named) else ()),
        )

    def shorten(self, longest: int) -> Columns:
        """Return the records with everything after residue number `longest` cut away."""
        within = np.arange(len(self.letters)) - np.repeat(self.offsets[:-1], self.lengths)
        kept = within < longest
        return Columns(
            self.kind,
            self.letters[kept],
            offsets_of(np.minimum(self.lengths, longest)),
            self.id_bytes,
            self.id_offsets,
            {n: c[kept] if self.per_residue else c for n, c in self.fields.items()},
            self.cluster_bytes,
            self.cluster_offsets,
        )

    def _clusters_of(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.int64] | None]:
        if self.cluster_bytes is None or self.cluster_offsets is None:
            return None, None
        named = _gather(self.cluster_bytes, self.cluster_offsets, rows)
        return named, offsets_of(np.diff(self.cluster_offsets)[rows])


def build(records: Iterable[Record], kind: Kind, where: str) -> Columns:
    """Lay checked records end to end.

    A record without an id is called by its number, and a second record of the same id gets `#2`
    after it: TAPE's stability set has such pairs.

    Args:
        records: the records in order.
        kind: the task's kind.
        where: their file, for messages.

    Raises:
        DataError: an optional field, or the cluster, stands in some records and not in others, or
            there is no record at all.
    """
    ids: list[str] = []
    sequences: list[str] = []
    clusters: list[str] = []
    fields: dict[str, list[NDArray[Any]]] = {}
    for index, record in enumerate(records):
        if index == 0:
            fields = {name: [] for name in record.fields}
        if fields.keys() != record.fields.keys():
            odd = ", ".join(sorted(fields.keys() ^ record.fields.keys()))
            raise DataError(
                f"the optional field {odd} stands in some records of the split, not in all",
                where=f"{where}, record {index}",
                fix="give it to every record, or to none",
            )
        if index and (record.cluster is not None) != bool(clusters):
            raise DataError(
                "the field that names the cluster stands in some records of the split, not in all",
                where=f"{where}, record {index}",
                fix="give it to every record, or to none",
            )
        if record.cluster is not None:
            clusters.append(record.cluster)
        ids.append(str(index) if record.id is None else record.id)
        sequences.append(record.sequence)
        for name, target in record.fields.items():
            fields[name].append(target)
    if not ids:
        raise DataError("a split without records", where=where, fix="fetch the data again")
    join = np.concatenate if kind in ("token_class", "residue_pair") else np.stack
    return Columns(
        kind,
        np.frombuffer("".join(sequences).encode("ascii"), np.uint8),
        offsets_of([len(sequence) for sequence in sequences]),
        *_laid_out(_each_once(ids)),
        {name: join(column) for name, column in fields.items()},
        *(_laid_out(clusters) if clusters else ()),
    )


def digest_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of named arrays, their types and shapes included."""
    hasher = hashlib.sha256(_DIGEST_VERSION)
    for name, array in sorted(arrays.items()):
        hasher.update(f"{name} {array.dtype.str} {array.shape};".encode())
        hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()


def offsets_of(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where pieces of these lengths begin when laid end to end, and where the last ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _each_once(ids: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    times: dict[str, int] = {}
    for id in ids:
        unique = id
        while unique in seen:
            times[id] = times.get(id, 1) + 1
            unique = f"{id}#{times[id]}"
        seen.add(unique)
        yield unique


def _laid_out(texts: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Lay texts end to end as UTF-8, and say where each begins."""
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), offsets_of([len(text) for text in encoded])


def _texts(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[str]:
    """Take texts apart again that `_laid_out` laid end to end."""
    joined = content.tobytes()
    return [joined[start:stop].decode() for start, stop in _spans(offsets)]


def _spans(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    places = offsets.tolist()
    return pairwise(places)


def _gather(
    column: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[Any]:
    if not rows.size:
        return column[:0]
    return np.concatenate([column[offsets[row] : offsets[row + 1]] for row in rows])
