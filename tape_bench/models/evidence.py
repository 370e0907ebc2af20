"""What a user's model rests on, found by looking and not by asking.

Our own models are told by the digest of their weights and by our version of them. A user's class
says of itself what its author typed, and goes on saying it when the code is changed. So whether a
record or a kept representation still holds is decided by what can be seen each time the program
starts: the code and the values that the model leads to (`reached`), the files it reads when it is
asked (`files_read`), the versions of the installed packages it uses, and what it makes of a few
fixed proteins.

All but the last become part of the keys that records and representations are kept under. The
answers do not: they differ in the last digits between processors and numbers of threads, and a
rounded number differs wherever it straddles. They are kept beside what they were computed with,
and compared as numbers. A model that answers nothing is never believed, and one that answers
otherwise each time neither.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tape_bench import paths
from tape_bench.data.digests import digest_of
from tape_bench.data.vocabulary import LETTERS
from tape_bench.errors import ModelError
from tape_bench.models.files_read import files_read, made_from
from tape_bench.models.reached import follow

if TYPE_CHECKING:
    from tape_bench.models.embedder import Embedder, Identity, Pool

PROBES = (
    "ACDEFGHIKLMNPQRSTVWY",
    LETTERS,
    # Ubiquitin.
    "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
)
"""Proteins a model is asked about: every letter, some lengths, and one of nature's own."""

POOLS: tuple[Pool, ...] = ("residues", "mean", "first")

TOLERANCE = 1e-5
"""Answers may differ by this part of a vector's length: other threads and processors change
float32 by a tenth of that; what changes less would not move a score."""

_PROJECTIONS = 3


@dataclass(frozen=True)
class Evidence:
    """What a user's model was seen to rest on when the program started."""

    code: str
    """SHA-256 over the source files, functions and values the model leads to, and over the files
    it reads when it is asked."""
    packages: dict[str, str]
    """Versions of the installed packages among them, and of those that these require."""
    probes: tuple[float | None, ...]
    """Of each probe in each pooling: the length of the vectors laid end to end, and their sums
    with fixed random signs; None where the model refused."""

    @property
    def can_be_told_again(self) -> bool:
        """Whether there is an answer by which the model could be known another time."""
        return agree(self.probes, self.probes)

    @property
    def digest(self) -> str:
        """What can be part of a key: all but the answers."""
        told = json.dumps([self.code, sorted(self.packages.items())])
        return hashlib.sha256(told.encode()).hexdigest()


def with_evidence(model: Embedder) -> Identity:
    """Return a model's identity, and what it rests on for a user's model or a changed one of ours.

    Raises:
        ModelError: the identity is no `Identity`.
    """
    identity = model.identity
    # Not at the top: Identity, beside it, says what evidence a model has.
    from tape_bench.models.embedder import Changeable

    if is_ours(model) and not (isinstance(model, Changeable) and model.changed):
        return identity
    if not hasattr(identity, "rests_on"):
        raise ModelError(
            f"the model's identity is a {type(identity).__name__}",
            where=type(model).__qualname__,
            fix="make it a tape_bench.models.embedder.Identity",
        )
    # Asked first: what it loads at the first question belongs to what it is made of.
    with files_read() as files:
        probes = ask(model)
    reached = follow(model)
    # By their content: where they lie may change.
    read = {*files, *made_from(model)}
    tables = sorted({digest_of(file, paths.cache()).sha256 for file in read})
    code = hashlib.sha256("\n".join([reached.digest, *tables]).encode()).hexdigest()
    return dataclasses.replace(identity, rests_on=Evidence(code, reached.packages, probes))


def is_ours(model: object) -> bool:
    """Tell whether a model is of a class of this package, which changes with its version only."""
    return type(model).__module__.startswith("tape_bench.")


def ask(model: Embedder) -> tuple[float | None, ...]:
    """Ask a model about each probe in each pooling, and keep a few numbers of each answer."""
    asked = itertools.product(PROBES, POOLS)
    return tuple(number for probe, pool in asked for number in _numbers(model, probe, pool))


def agree(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Tell whether two models gave the same answers, and gave any."""
    size = 1 + _PROJECTIONS
    if len(one) != len(other) or len(one) % size or all(number is None for number in one):
        return False
    for start in range(0, len(one), size):
        mine, theirs = one[start : start + size], other[start : start + size]
        for a, b in zip(mine, theirs, strict=True):
            if a is None or b is None:
                if a is not b:
                    return False
            elif not abs(a - b) <= TOLERANCE * max(mine[0] or 0.0, theirs[0] or 0.0):
                return False
    return True


def _numbers(model: Embedder, probe: str, pool: Pool) -> list[float | None]:
    try:
        vectors = np.asarray(model.embed([probe], pool)[0], np.float64).ravel()
    # A user's code may raise anything; what it cannot do is told when a task needs it.
    except Exception:
        return [None] * (1 + _PROJECTIONS)
    signs = (_signs(seed, vectors.size) for seed in range(_PROJECTIONS))
    sums = [float(np.where(plus, vectors, -vectors).sum()) for plus in signs]
    numbers = [float(np.linalg.norm(vectors)), *sums]
    return [number if np.isfinite(number) else None for number in numbers]


def _signs(seed: int, count: int) -> NDArray[np.bool_]:
    """Return the same signs on every machine: numpy guarantees this stream, unlike its others."""
    signs: NDArray[np.bool_] = (np.random.PCG64(seed).random_raw(count) & 1).astype(bool)
    return signs
