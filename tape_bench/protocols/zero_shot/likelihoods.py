"""Scores of variants from a masked language model's likelihoods.

x is the parent, log p a log-softmax over the model's vocabulary. Sources: Meier et al. 2021
(marginals), Salazar et al. 2020 (pseudo-log-likelihood).

wt_marginals      one reading of x; the sum over mutations of log p(mutant) - log p(parent)
masked_marginals  the same, with each mutated place hidden in x, one at a time
mutant_marginals  the same, read off the variant as it is
pll               the sum over the variant's residues of log p(residue | all others); per residue:
                  divided by its length
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from tape_bench.data.parents import places_changed
from tape_bench.errors import DataError, ModelError
from tape_bench.models.embedder import MaskedLanguageModel

TOKENS = 16_384
"""Tokens that the model is asked about at once; it forms its own launches of them."""

Ids = NDArray[np.int64]
Heard = Callable[[int], None]


class Likelihoods:
    """A masked language model, asked about variants."""

    def __init__(self, model: MaskedLanguageModel, context: str = "") -> None:
        """Ask a model, with residues put before every sequence."""
        self.model, self.context = model, context
        self.vocabulary = model.vocabulary

    def cost(self, method: str, parent: str, variants: Sequence[str]) -> int:
        """Return the tokens that go through the model."""
        extra = len(self.context)
        if method == "wt_marginals":
            return len(parent) + extra
        if method == "masked_marginals":
            return len(self._mutated(parent, variants)) * (len(parent) + extra)
        if method == "mutant_marginals":
            return sum(len(variant) + extra for variant in set(variants))
        return sum(len(variant) * (len(variant) + extra) for variant in set(variants))

    def scores(
        self, method: str, parent: str, variants: Sequence[str], heard: Heard
    ) -> NDArray[np.float64]:
        """Score variants of a parent by one of the methods above, `[variants]`."""
        if method.startswith("pll"):
            return self._pll(variants, method == "pll_per_residue", heard)
        ids = self._encoded(parent)
        if method == "mutant_marginals":
            return self._mutant(ids, parent, variants, heard)
        if method == "wt_marginals":
            (table,) = self._log_p([self._whole(parent)])
        else:
            table = self._masked(parent, self._mutated(parent, variants), heard)
        found = []
        for variant in variants:
            changed = places_changed(variant, parent)
            assert changed is not None, "the protocol leaves these out"
            own = self._encoded(variant)[changed]
            at = changed + len(self.context)
            found.append(float((table[at, own] - table[at, ids[changed]]).sum()))
        return np.array(found)

    def _mutated(self, parent: str, variants: Sequence[str]) -> list[int]:
        places: set[int] = set()
        for variant in variants:
            changed = places_changed(variant, parent)
            places |= set() if changed is None else set(changed.tolist())
        return sorted(places)

    def _masked(self, parent: str, places: Sequence[int], heard: Heard) -> NDArray[np.float64]:
        """Return log p at each of these places while it is hidden; NaN at others."""
        whole = self._whole(parent)
        rows = []
        for place in places:
            hidden = whole.copy()
            hidden[place + len(self.context)] = self.vocabulary.mask
            rows.append(hidden)
        table = np.full((len(whole), len(self.vocabulary.tokens)), np.nan)
        done = 0
        for place, logs in zip(places, self._each(rows), strict=True):
            at = place + len(self.context)
            table[at] = logs[at]
            done += len(whole)
            heard(done)
        return table

    def _mutant(
        self, ids: Ids, parent: str, variants: Sequence[str], heard: Heard
    ) -> NDArray[np.float64]:
        distinct = sorted(set(variants))
        known, done = {}, 0
        for variant, logs in zip(distinct, self._each(map(self._whole, distinct)), strict=True):
            changed = places_changed(variant, parent)
            assert changed is not None, "the protocol leaves these out"
            at, own = changed + len(self.context), self._encoded(variant)[changed]
            known[variant] = float((logs[at, own] - logs[at, ids[changed]]).sum())
            done += len(logs)
            heard(done)
        return np.array([known[variant] for variant in variants])

    def _pll(self, variants: Sequence[str], mean: bool, heard: Heard) -> NDArray[np.float64]:
        known: dict[str, float] = {}
        done, start = 0, len(self.context)
        for variant in sorted(set(variants)):
            whole = self._whole(variant)
            total = 0.0
            rows = []
            for place in range(start, len(whole)):
                hidden = whole.copy()
                hidden[place] = self.vocabulary.mask
                rows.append(hidden)
            for place, logs in zip(range(start, len(whole)), self._each(rows), strict=True):
                total += float(logs[place, whole[place]])
            known[variant] = total / len(variant) if mean else total
            done += len(variant) * len(whole)
            heard(done)
        return np.array([known[variant] for variant in variants])

    def _each(self, rows: Iterator[Ids] | Sequence[Ids]) -> Iterator[NDArray[np.float64]]:
        """Yield log p of every row, `[residues, vocabulary]`."""
        batch: list[Ids] = []
        for row in rows:
            batch.append(row)
            if sum(map(len, batch)) >= TOKENS:
                yield from self._log_p(batch)
                batch = []
        if batch:
            yield from self._log_p(batch)

    def _log_p(self, rows: Sequence[Ids]) -> Iterator[NDArray[np.float64]]:
        for logits in self.model.token_logits(rows):
            # Rows that only pad the vocabulary to a round number stand for no token.
            scores = logits[:, : len(self.vocabulary.tokens)].astype(np.float64)
            if not np.isfinite(scores).all():
                raise ModelError(
                    "the model scores tokens with values that are not finite",
                    fix="in half precision, try --dtype float32",
                )
            yield log_softmax(scores, axis=1)

    def _whole(self, sequence: str) -> Ids:
        return self._encoded(self.context + sequence)

    def _encoded(self, sequence: str) -> Ids:
        try:
            return self.vocabulary.encode(sequence)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from None
