"""How well a model guesses residues that are hidden from it: the quick proof it was read rightly.

The recipe is that of pre-training: 15 % of a protein's residues are selected; of these, 80 % are
replaced by the mask token, 10 % by any token of the vocabulary, 10 % are left as they are; the
model is scored on all selected ones. What is selected depends on the seed and the sequence alone,
so neither order nor batches change a score.

Source of the recipe: BERT (Devlin et al. 2019), as Megatron-LM and ProteinLM apply it. Residue by
residue: pseudo-perplexity (Salazar et al. 2020).
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import entropy

from tape_bench.data.vocabulary import Vocabulary
from tape_bench.embedding.forward import PADDED_TOKENS
from tape_bench.errors import ModelError
from tape_bench.models.embedder import MaskedLanguageModel
from tape_bench.models.user_code import is_users, users_code
from tape_bench.progress import Advance

SELECTED = 0.15
"""Share of residues selected; at least one a protein."""
MASKED, REPLACED = 0.8, 0.1
"""Shares of those that are masked, and replaced by a random token; the rest is left."""

TokenIds = NDArray[np.int64]


@dataclass(frozen=True)
class MaskedLoss:
    """How well hidden residues were guessed, over all proteins together."""

    loss: float
    """Mean cross-entropy of the true residue, in nats."""
    perplexity: float
    """e to the loss: among how many equally likely residues the model seems to choose."""
    accuracy: float
    """Share of hidden residues whose likeliest token was the true one."""
    background: float
    """Perplexity of guessing by how common each letter is among these residues."""
    residues: int
    """Residues in all."""
    masked: int
    """Residues that were guessed."""


@dataclass(frozen=True)
class _Riddle:
    """A protein with residues hidden."""

    ids: TokenIds
    """What the model sees, `[residues]`."""
    places: NDArray[np.int64]
    """Where it must guess, `[hidden]`."""
    truth: TokenIds
    """What stands there, `[hidden]`."""


def masked_loss(
    model: MaskedLanguageModel,
    sequences: Sequence[str],
    seed: int = 0,
    every_residue: bool = False,
    progress: Advance | None = None,
) -> MaskedLoss:
    """Hide residues and score the model's guesses.

    Args:
        model: any model that scores tokens.
        sequences: proteins, none of them empty.
        seed: chooses what is hidden, from 0; unused with `every_residue`.
        every_residue: hide each residue alone, in a copy of the protein of its own: no chance
            in it, and as many times slower as proteins are long.
        progress: called with residues read and residues to read, those of copies counted.

    Raises:
        ModelError: the model has no head for this, cannot read a sequence, or gives values that
            are not finite.
    """
    vocabulary = model.vocabulary
    # Neighbours in length, so that a model that pads has little to pad.
    shortest_first = sorted(sequences, key=len)
    total = sum(len(sequence) ** (1 + every_residue) for sequence in shortest_first)
    hide = (
        partial(_one_by_one, vocabulary=vocabulary)
        if every_residue
        else partial(_by_recipe, vocabulary=vocabulary, seed=seed)
    )
    loss, hits, masked, done = 0.0, 0, 0, 0
    for batch in _batches(chain.from_iterable(map(hide, shortest_first))):
        with users_code("the model's token_logits()", unless=lambda error: not is_users(model)):
            answers = model.token_logits([riddle.ids for riddle in batch])
        for riddle, logits in zip(batch, answers, strict=True):
            # Rows that only pad the vocabulary to a round number stand for no token.
            scores = logits[riddle.places, : len(vocabulary.tokens)].astype(np.float64)
            if not np.isfinite(scores).all():
                raise ModelError(
                    "the model scores tokens with values that are not finite",
                    fix="in half precision, try --dtype float32",
                )
            loss += _cross_entropy(scores, riddle.truth)
            hits += int((scores.argmax(axis=1) == riddle.truth).sum())
            masked += len(riddle.truth)
            done += len(riddle.ids)
        if progress is not None:
            progress(done, total)
    assert masked, "no proteins"
    return MaskedLoss(
        loss=loss / masked,
        perplexity=_exp(loss / masked),
        accuracy=hits / masked,
        background=_background(sequences),
        residues=sum(map(len, sequences)),
        masked=masked,
    )


def _by_recipe(sequence: str, vocabulary: Vocabulary, seed: int) -> Iterator[_Riddle]:
    """Apply the recipe of pre-training; the same residues are hidden from every model."""
    letters = hashlib.sha256(sequence.encode()).digest()
    random = np.random.default_rng([seed, *letters])
    count = max(1, round(SELECTED * len(sequence)))
    places = np.sort(random.permutation(len(sequence))[:count])
    fate = random.random(count)
    replaced = (fate >= MASKED) & (fate < MASKED + REPLACED)
    truth = vocabulary.encode(sequence)
    ids = truth.copy()
    ids[places[fate < MASKED]] = vocabulary.mask
    # Any token, special ones too: so it was in pre-training.
    ids[places[replaced]] = random.integers(len(vocabulary.tokens), size=int(replaced.sum()))
    yield _Riddle(ids, places, truth[places])


def _one_by_one(sequence: str, vocabulary: Vocabulary) -> Iterator[_Riddle]:
    truth = vocabulary.encode(sequence)
    for place in range(len(truth)):
        ids = truth.copy()
        ids[place] = vocabulary.mask
        yield _Riddle(ids, np.array([place]), truth[[place]])


def _batches(riddles: Iterable[_Riddle]) -> Iterator[list[_Riddle]]:
    batch: list[_Riddle] = []
    for riddle in riddles:
        # They grow longer, so the new one is the widest row of the batch.
        if batch and (len(batch) + 1) * len(riddle.ids) > PADDED_TOKENS:
            yield batch
            batch = []
        batch.append(riddle)
    if batch:
        yield batch


def _cross_entropy(scores: NDArray[np.float64], truth: TokenIds) -> float:
    """Return the summed cross-entropy of the true tokens, in nats."""
    return float((logsumexp(scores, axis=1) - scores[np.arange(len(truth)), truth]).sum())


def _exp(loss: float) -> float:
    # A net that is surely wrong can have a loss beyond what e to it can be written as.
    return math.exp(loss) if loss < math.log(sys.float_info.max) else math.inf


def _background(sequences: Iterable[str]) -> float:
    counts = Counter[str]()
    for sequence in sequences:
        counts.update(sequence)
    return float(np.exp(entropy(list(counts.values()))))
