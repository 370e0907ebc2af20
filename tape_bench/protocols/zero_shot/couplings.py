"""How strongly places of a protein hang together, as a language model sees it.

Sources: Dunn et al. 2008 (average product correction), Zhang et al. 2024 (categorical Jacobian).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.data.vocabulary import RESIDUES
from tape_bench.errors import DataError, ModelError
from tape_bench.models.embedder import MaskedLanguageModel
from tape_bench.protocols.zero_shot.likelihoods import TOKENS, Heard


def apc(coupled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take from a symmetric map what each place has with all: average product correction.

    Args:
        coupled: `[residues, residues]`.
    """
    total = float(coupled.sum())
    shared = np.outer(coupled.sum(1), coupled.sum(0))
    return np.asarray(coupled - shared / total if total else coupled)


def pairs(coupled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pairs that `Predictions` hold of a map, `[pairs]`."""
    return coupled[np.triu_indices(len(coupled), SMALLEST_SEPARATION)]


def couplings(model: MaskedLanguageModel, sequence: str, heard: Heard) -> NDArray[np.float64]:
    """Return the map of a protein's categorical Jacobian, `[residues, residues]`.

    At each place each of the 20 residues is put in, nothing hidden, and the change of the logits
    of the 20 residues is read at every place. These changes are centred over both places and both
    residues, made symmetric, and their Frobenius norm is corrected (APC).
    """
    jacobian = categorical_jacobian(model, sequence, heard)
    for axis in range(4):
        jacobian -= jacobian.mean(axis, keepdims=True)
    size = len(sequence)
    norms = np.zeros((size, size))
    # Row by row: the whole is 1,600 bytes a pair, and one copy is enough.
    for place in range(size):
        there = jacobian[place].astype(np.float64)
        back = jacobian[:, :, place].transpose(2, 0, 1)
        norms[place] = np.sqrt((((there + back) / 2) ** 2).sum((0, 2)))
    np.fill_diagonal(norms, 0)
    return apc(norms)


def cost(sequence: str) -> int:
    """Return the tokens that the Jacobian of a protein takes through the model."""
    return len(RESIDUES) * len(sequence) ** 2


def categorical_jacobian(
    model: MaskedLanguageModel, sequence: str, heard: Heard
) -> NDArray[np.float32]:
    """Return how logits change with what is put in; `heard` is told of tokens read so far.

    Returns:
        `[residues, 20, residues, 20]`: where what is put in, and where what is read.
    """
    vocabulary = model.vocabulary
    try:
        ids, known = vocabulary.encode(sequence), vocabulary.encode(RESIDUES)
    except DataError as error:
        raise ModelError(error.what, where=error.where, fix=error.fix) from None
    size = len(ids)
    found = np.empty((size, len(known), size, len(known)), np.float32)
    changed = []
    for place in range(size):
        for residue in known:
            own = ids.copy()
            own[place] = residue
            changed.append(own)
    (before,) = model.token_logits([ids])
    flat = found.reshape(size * len(known), size, len(known))
    at_once = max(1, TOKENS // size)
    for start in range(0, len(changed), at_once):
        batch = changed[start : start + at_once]
        for row, logits in enumerate(model.token_logits(batch), start):
            flat[row] = logits[:, known] - before[:, known]
        heard(min(start + at_once, len(changed)) * size)
    if not np.isfinite(found).all():
        raise ModelError(
            "the model scores tokens with values that are not finite",
            fix="in half precision, try --dtype float32",
        )
    return found
