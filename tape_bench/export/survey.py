"""A FASTA file looked through before anything is computed, so that faults show at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.formats.fasta import AS_IT_IS, Cleaning, read_fasta
from tape_bench.errors import ModelError
from tape_bench.models.embedder import Identity


@dataclass(frozen=True)
class Proteins:
    """What a FASTA file holds, apart from the sequences themselves."""

    fasta: Path
    ids: list[str]
    lengths: NDArray[np.int64]
    """Residues of each protein, `[proteins]`."""
    digest: str
    """SHA-256 over ids and sequences, independent of how the file is laid out."""
    clean: Cleaning = AS_IT_IS
    """What is done to the sequences as they are read."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Read ids and sequences again."""
        return read_fasta(self.fasta, self.clean)

    @property
    def residues(self) -> int:
        """Residues in all."""
        return int(self.lengths.sum())


def survey(fasta: Path, model: Identity, clean: Cleaning = AS_IT_IS) -> Proteins:
    """Read a FASTA file once, keep ids and lengths, and see that the model can read it all.

    Raises:
        DataError: the file is missing, broken or empty; an id stands twice; a sequence is empty
            or holds a letter that is no residue.
        ModelError: a protein is longer than the model reads.
    """
    ids, lengths, digest = [], [], hashlib.sha256()
    for id, sequence in read_fasta(fasta, clean):
        if model.longest_input is not None and len(sequence) > model.longest_input:
            raise ModelError(
                f"a protein of {len(sequence)} residues is longer than the "
                f"{model.longest_input} that {model.name} reads",
                where=f"{fasta} ({id})",
                fix="leave it out, or cut it",
            )
        ids.append(id)
        lengths.append(len(sequence))
        digest.update(f"{id}\n{sequence}\n".encode())
    return Proteins(fasta, ids, np.array(lengths, np.int64), digest.hexdigest(), clean)
