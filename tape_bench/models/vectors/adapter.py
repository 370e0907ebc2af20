"""A model whose vectors were computed elsewhere: each sequence is looked up.

A sequence is found by its own text, by the id that `tape-bench data sequences` gives it, or by the
id that a FASTA file says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tape_bench import paths
from tape_bench.data.digests import digest_of
from tape_bench.data.formats.fasta import read_fasta
from tape_bench.data.sequences import id_of
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import Identity, Pool, Representation, check_request
from tape_bench.models.vectors.formats import READERS
from tape_bench.models.vectors.table import Shape, Table

_LISTED = 5
"""Of many that lack, so many are named."""


class VectorsModel:
    """An `Embedder` that looks vectors up, and knows beforehand which ones are not there."""

    def __init__(self, tables: Sequence[Table], fasta: Path | None, spec: str, name: str) -> None:
        """Find out how wide the vectors are, and whose they are.

        Raises:
            ModelError: nothing is there, or widths are mixed.
            DataError: the FASTA file is none.
        """
        self._spec = spec
        self._name = name
        self._tables = tables
        self._fasta = fasta
        widths = Counter((shape[-1], len(shape)) for table in tables for shape in _sound(table))
        if not widths:
            raise ModelError("there are no vectors", where=spec, fix="write the file again")
        if len(widths) > 1:
            listed = ", ".join(
                f"{count} {'of residues' if axes == 2 else 'of sequences'} {width} wide"
                for (width, axes), count in widths.most_common()
            )
            raise ModelError(
                f"the vectors are mixed: {listed}",
                where=spec,
                fix="put vectors of one model and one pooling into a file",
            )
        ((self._width, axes),) = widths
        self._of_residues = axes == 2

    @cached_property
    def _places(self) -> Mapping[str, tuple[Table, str]]:
        """Where the vectors are, by sequence where those are known, and by id."""
        found: dict[str, tuple[Table, str]] = {}
        by_id = {id: (table, id) for table in self._tables for id in table}
        found |= by_id
        for table in self._tables:
            found |= {sequence: (table, id) for id, sequence in table.sequences.items()}
        if self._fasta is not None:
            for id, sequence in read_fasta(self._fasta):
                if id in by_id:
                    found[sequence] = by_id[id]
        return found

    def _place(self, sequence: str) -> tuple[Table, str] | None:
        return self._places.get(sequence) or self._places.get(id_of(sequence))

    @cached_property
    def identity(self) -> Identity:
        """Who computed them, as far as the file says; the first look at it hashes the files."""
        files = [*(table.where for table in self._tables), *([self._fasta] if self._fasta else [])]
        digests = [digest_of(file, paths.cache()).sha256 for file in files]
        said = self._tables[0].about.get("model")
        model: Mapping[str, Any] = said if isinstance(said, dict) else {}
        trained = model.get("pretraining")
        return Identity(
            spec=self._spec,
            name=self._name,
            revision="-".join(digest[:12] for digest in digests[:4]),
            # They are files already: keeping them once more would help nobody.
            weights_digest=None,
            parameters=_whole(model.get("parameters")),
            hidden_size=self._width,
            longest_input=None,
            pretraining=tuple(map(str, trained)) if isinstance(trained, list) else None,
            dtype=str(model.get("dtype", "float32"))[:16],
            reading={
                "vectors": "of residues" if self._of_residues else "of sequences",
                "computed_by": str(model.get("name", "unknown"))[:80],
            },
            kinds=None if self._of_residues else ("sequence_class", "sequence_value"),
        )

    def check_sequences(self, sequences: Iterable[str]) -> None:
        """See that every sequence has vectors, one for each residue where they are residues'.

        Raises:
            ModelError: lists the first that lack, and how many do.
        """
        lacking, odd, total = [], [], 0
        for sequence in sequences:
            total += 1
            place = self._place(sequence)
            if place is None:
                lacking.append(sequence)
            elif self._of_residues and place[0].shapes[place[1]][0] != len(sequence):
                odd.append((sequence, place))
        if lacking:
            listed = "\n".join(f"  - {id_of(one)} {one[:40]}" for one in lacking[:_LISTED])
            raise ModelError(
                f"{len(lacking)} of {total} sequences have no vectors:\n{listed}"
                + ("\n  - …" if len(lacking) > _LISTED else ""),
                where=self._spec,
                fix="`tape-bench data sequences -t TASK -o all.fasta` writes what must be "
                "embedded; with ids of your own, name their FASTA file: -M fasta=FILE",
            )
        if odd:
            listed = "\n".join(
                f"  - {id}: {table.shapes[id][0]} vectors for {len(sequence)} residues"
                for sequence, (table, id) in odd[:_LISTED]
            )
            raise ModelError(
                f"{len(odd)} sequences have vectors of another number than residues:\n{listed}",
                where=self._spec,
                fix="leave the vectors of special tokens out, and embed sequences whole",
            )

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Look sequences up; see `Embedder.embed`.

        Raises:
            ModelError: there are none of a sequence, or none of this pooling.
        """
        check_request(sequences, pool)
        if pool == "first" or (pool == "residues" and not self._of_residues):
            raise ModelError(
                "there are vectors of "
                + ("residues" if self._of_residues else "sequences")
                + f", and {pool} is asked for",
                where=self._spec,
                fix="use pool 'mean'",
            )
        self.check_sequences(sequences)
        found = []
        for sequence in sequences:
            place = self._place(sequence)
            assert place is not None
            table, id = place
            try:
                rows = np.asarray(table.read(id), np.float32)
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise ModelError(
                    f"the vectors of {id} cannot be read: {error}",
                    where=str(table.where),
                    fix="write the file again",
                ) from error
            found.append(rows.mean(axis=0) if pool == "mean" and self._of_residues else rows)
        return found


def load(argument: str | None, *, fasta: Path | None = None) -> VectorsModel:
    """Open vectors that were computed elsewhere.

    Args:
        argument: a file (.npz, .safetensors, .parquet, .h5), or a folder of such files.
        fasta: says which sequence each id is, where ids are neither sequences nor those of
            `tape-bench data sequences`.

    Raises:
        UsageError: no such file, or an ending nobody knows.
        ModelError: there are no vectors in it, or of several widths.
        DataError: it cannot be read.
    """
    if not argument:
        raise UsageError("vectors needs a file", fix="write vectors:FILE or vectors:FOLDER")
    path = paths.expand(argument)
    files = [path]
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in READERS)
    if not files or not path.exists():
        raise UsageError(
            "there are no files of vectors" if path.exists() else "there is no such file",
            where=str(path),
            fix=f"give a file that ends in {', '.join(READERS)}, or a folder of them",
        )
    tables = []
    for file in files:
        if file.suffix.lower() not in READERS:
            raise UsageError(
                f"nobody knows how to read {file.suffix or 'a file without ending'}",
                where=str(file),
                fix=f"give a file that ends in {', '.join(READERS)}",
            )
        tables.append(READERS[file.suffix.lower()](file))
    twice = [
        id for id, count in Counter(id for table in tables for id in table).items() if count > 1
    ]
    if twice:
        raise ModelError(
            f"{len(twice)} ids stand in several files, e.g. {twice[0]!r}",
            where=str(path),
            fix="leave one of each",
        )
    given = paths.expand(fasta) if fasta else None
    if given is not None and not given.is_file():
        raise UsageError("there is no such FASTA file", where=str(given), fix="correct -M fasta=")
    name = re.sub(r"[^a-z0-9._-]+", "-", path.resolve().stem.lower()).strip("-.") or "vectors"
    return VectorsModel(tables, given, f"vectors:{argument}", name)


def _sound(table: Table) -> Iterable[Shape]:
    """Yield the shapes of a table, each seen to be one that vectors can have."""
    for id, shape in table.shapes.items():
        if len(shape) not in (1, 2) or 0 in shape:
            raise ModelError(
                f"the array of {id} has the shape {shape}",
                where=str(table.where),
                fix="write [residues, width] or [width]",
            )
        yield shape


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
