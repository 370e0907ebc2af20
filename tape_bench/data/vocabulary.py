"""Vocabularies as look-up tables: letters to token ids in one array operation.

Both published vocabularies hold the same 25 letters, every capital but J. ProteinLM's has one
unused entry before them, so its letters sit one row lower than TAPE's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tape_bench.errors import DataError

LETTERS = "ABCDEFGHIKLMNOPQRSTUVWXYZ"
"""One-letter codes a sequence may hold: the twenty residues, and B O U X Z."""

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty residues."""


@dataclass(frozen=True)
class Vocabulary:
    """Token strings in id order; the residue letters are single capitals."""

    name: str
    tokens: tuple[str, ...]
    pad: int
    mask: int
    cls: int
    sep: int

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """Token id of each byte, -1 for bytes that are no residue letter, `[256]`."""
        table = np.full(256, -1, np.int64)
        for id, token in enumerate(self.tokens):
            if len(token) == 1:
                table[ord(token)] = id
        return table

    def encode(self, sequence: str, *, where: str | None = None) -> NDArray[np.int64]:
        """Return the token ids of a sequence, `[residues]`, without special tokens.

        Raises:
            DataError: a letter outside the vocabulary (J, lower case, `*`, `-`, a space).
                Letters are never replaced: TAPE refuses the same ones.
        """
        ids = self.table[_as_bytes(sequence, where)]
        if ids.size and ids.min() < 0:
            raise _unknown_letter(sequence, int(np.argmin(ids)), where)
        return ids

    def encode_many(self, sequences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Encode sequences end to end: ids `[residues of all]` and offsets `[sequences + 1]`."""
        lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = self.table[_as_bytes("".join(sequences), None)]
        if ids.size and ids.min() < 0:
            wrong = int(np.argmin(ids))
            index = int(np.searchsorted(offsets, wrong, side="right")) - 1
            raise _unknown_letter(
                sequences[index], wrong - int(offsets[index]), f"sequence {index + 1}"
            )
        return ids, offsets


def _as_bytes(sequence: str, where: str | None) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(sequence.encode("latin-1"), np.uint8)
    except UnicodeEncodeError as error:
        raise _unknown_letter(sequence, error.start, where) from None


def _unknown_letter(sequence: str, position: int, where: str | None) -> DataError:
    return DataError(
        f"{sequence[position]!r} at residue {position + 1} of {len(sequence)} is no residue letter",
        where=where,
        fix=f"use capitals of {LETTERS} (X for an unknown residue); remove gaps and stop signs",
    )


TAPE_IUPAC = Vocabulary(
    name="tape-iupac",
    tokens=("<pad>", "<mask>", "<cls>", "<sep>", "<unk>", *LETTERS),
    pad=0,
    mask=1,
    cls=2,
    sep=3,
)
"""TAPE's vocabulary of 30 tokens."""

MEGATRON_IUPAC = Vocabulary(
    name="megatron-iupac",
    tokens=("[PAD]", "[MASK]", "[CLS]", "[SEP]", "[UNK]", "[unused1]", *LETTERS),
    pad=0,
    mask=1,
    cls=2,
    sep=3,
)
"""ProteinLM's vocabulary of 31 tokens; in checkpoints padded at the end to a multiple."""
