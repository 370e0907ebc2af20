"""What stands at each place of a protein's relatives, places apart: `frequencies:ALIGNMENT`.

The floor of what an alignment knows: Hopf et al. 2017 call it the independent model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tape_bench import paths
from tape_bench.data.digests import digest_of
from tape_bench.data.formats.fasta import read_aligned
from tape_bench.data.parents import places_changed
from tape_bench.data.vocabulary import RESIDUES
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import Identity

_SUFFIXES = (".a2m", ".a3m", ".fa", ".fasta", ".afa")
_NONE = len(RESIDUES)
"""A gap, or a letter that is none of the 20."""
_AT_ONCE = 512
"""Sequences whose likeness to all others is counted at once."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """One alignment: whose it is, and how often each residue stands at each of its places."""

    query: str
    log_frequencies: NDArray[np.float64]
    """`[residues of the query, 20]`."""
    sequences: int
    effective: float
    """Sequences that are as good as independent."""


@dataclass(frozen=True, eq=False)
class Frequencies:
    """log f(mutant) - log f(parent), summed over mutations; a `VariantScorer`."""

    identity: Identity
    alignments: tuple[Alignment, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """How much each alignment says."""
        return tuple(
            f"alignment of {len(one.query)} residues: {one.sequences:,} sequences, as good as "
            f"{one.effective:,.0f} independent ones"
            for one in self.alignments
        )

    def score_variants(self, parent: str, variants: Sequence[str]) -> NDArray[np.float32]:
        """Score variants of a parent; NaN for mutations where the alignment says nothing.

        Raises:
            ModelError: there is no alignment of this parent.
        """
        table = self._table_of(parent)
        scores = []
        for variant in variants:
            changed = places_changed(variant, parent)
            pairs = [] if changed is None else changed.tolist()
            each = [_of(table, at, variant[at]) - _of(table, at, parent[at]) for at in pairs]
            scores.append(np.nan if changed is None else float(sum(each)))
        return np.array(scores, np.float32)

    def _table_of(self, parent: str) -> NDArray[np.float64]:
        """Return log frequencies at the parent's places, NaN where it is not aligned."""
        table = np.full((len(parent), len(RESIDUES)), np.nan)
        for one in self.alignments:
            if (start := one.query.find(parent)) >= 0:
                return one.log_frequencies[start : start + len(parent)]
            if (start := parent.find(one.query)) >= 0:
                table[start : start + len(one.query)] = one.log_frequencies
                return table
        raise ModelError(
            f"no alignment begins with this parent or a part of it: {parent[:40]}…",
            where=self.identity.spec,
            fix="give an alignment (first sequence: the parent) for each parent, in a folder",
        )


def load(
    argument: str | None = None,
    *,
    device: str | None = None,
    identity: float = 0.8,
    pseudocount: float = 1.0,
) -> Frequencies:
    """Read alignments.

    Args:
        argument: an aligned FASTA, A2M or A3M file whose first sequence is the parent, or a folder
            of them.
        device: nothing is computed there, so any will do.
        identity: sequences of at least this share of equal residues count as one together; 0 to
            count each.
        pseudocount: added to the count of each residue at each place.

    Raises:
        UsageError: no file is named, or a number makes no sense.
        ModelError: there is no alignment there, or it is none.
        DataError: a file is no alignment in FASTA's way.
    """
    if not argument:
        raise UsageError("which alignment?", fix="e.g. frequencies:relatives.a2m, or a folder")
    if not 0 <= identity <= 1:
        raise UsageError(f"identity={identity} is no share", fix="give 0 to 1, e.g. 0.8")
    if not 0 < pseudocount < math.inf:
        raise UsageError(f"pseudocount={pseudocount} leaves log 0", fix="give a number above 0")
    place = paths.expand(Path(argument))
    files = [place]
    if place.is_dir():
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files or not all(path.is_file() for path in files):
        raise ModelError(
            "there is no alignment", where=str(place), fix=f"give files {', '.join(_SUFFIXES)}"
        )
    read = tuple(_alignment(path, identity, pseudocount) for path in files)
    digests = "".join(f"{digest_of(path, paths.cache()).sha256}\n" for path in files)
    described = Identity(
        spec=f"frequencies:{argument}",
        name="frequencies",
        revision="1",
        weights_digest=hashlib.sha256(digests.encode()).hexdigest(),
        parameters=0,
        hidden_size=0,
        longest_input=None,
        pretraining=None,
        reading={"identity": f"{identity:g}", "pseudocount": f"{pseudocount:g}"},
        control=True,
        kinds=("sequence_value",),
    )
    return Frequencies(described, read)


def _alignment(path: Path, identity: float, pseudocount: float) -> Alignment:
    query, rows = _rows(path)
    weights = _weights(rows, identity)
    counts = np.full((len(query), len(RESIDUES)), pseudocount)
    for residue in range(len(RESIDUES)):
        counts[:, residue] += weights @ (rows == residue)
    logs = np.log(counts / counts.sum(1, keepdims=True))
    return Alignment(query, logs, len(rows), float(weights.sum()))


def _rows(path: Path) -> tuple[str, NDArray[np.uint8]]:
    """Return the query without gaps, and all sequences as numbers at its places, `[sequences, L]`.

    Small letters and points are insertions, which are no places of the query.
    """
    numbers = np.full(256, _NONE, np.uint8)
    numbers[np.frombuffer(RESIDUES.encode(), np.uint8)] = np.arange(len(RESIDUES))
    first, places = "", np.zeros(0, np.int64)
    rows: list[NDArray[np.uint8]] = []
    for line, sequence in read_aligned(path):
        matched = "".join(letter for letter in sequence if not letter.islower() and letter != ".")
        if not rows:
            first = matched
            places = np.array([at for at, letter in enumerate(first) if letter != "-"], np.int64)
        if len(matched) != len(first):
            raise ModelError(
                f"a sequence of {len(matched)} columns, where the first one has {len(first)}",
                where=f"{path}, line {line}",
                fix="give an alignment: capital letters and '-' are columns, small letters and "
                "'.' insertions",
            )
        rows.append(numbers[np.frombuffer(matched.encode("ascii"), np.uint8)][places])
    if not len(places):
        raise ModelError("the alignment is empty", where=str(path), fix="write it again")
    return first.replace("-", ""), np.stack(rows)


def _weights(rows: NDArray[np.uint8], identity: float) -> NDArray[np.float64]:
    """Return one over the number of sequences that each is alike to, itself included."""
    if not identity:
        return np.ones(len(rows))
    alike = np.zeros(len(rows))
    size = rows.shape[1]
    letters = np.eye(_NONE + 1, dtype=np.float32)

    def spread(start: int) -> NDArray[np.float32]:
        return letters[rows[start : start + _AT_ONCE]].reshape(-1, size * (_NONE + 1))

    # Gaps are equal to each other. Products of ones and zeros count what is equal.
    for start in range(0, len(rows), _AT_ONCE):
        own = spread(start)
        for other in range(0, len(rows), _AT_ONCE):
            equal = own @ spread(other).T
            alike[start : start + len(own)] += (equal >= identity * size - 1e-3).sum(1)
    return np.asarray(1 / alike)


def _of(table: NDArray[np.float64], place: int, residue: str) -> float:
    number = RESIDUES.find(residue)
    return float(table[place, number]) if number >= 0 else math.nan
