"""Models that the engine's tests put to work: small, exact, and easy to tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tape_bench.models.embedder import Packed
from tape_bench.models.onehot import control_identity
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.random import RandomWeights


@dataclass
class Letters:
    """A packed model that gives a residue its letter's number, its place, and a half."""

    digest: str | None = "1" * 64
    budget: int = 64
    memory: int = 10**9
    """Residues of one launch from which on memory runs out."""
    launches: list[list[str]] = field(default_factory=list)

    @property
    def identity(self) -> Any:
        known = control_identity("letters", hidden_size=3)
        return replace(known, weights_digest=self.digest, longest_input=500)

    @property
    def special_tokens(self) -> int:
        return 2

    def tokens_per_launch(self) -> int:
        return self.budget

    def embed_packed(self, sequences, pools):
        self.launches.append(list(sequences))
        if sum(map(len, sequences)) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        tokens = sum(len(sequence) + self.special_tokens for sequence in sequences)
        found = {pool: [pooled(sequence, pool) for sequence in sequences] for pool in pools}
        return Packed(found, tokens)

    def embed(self, sequences, pool="residues"):
        return self.embed_packed(sequences, [pool]).representations[pool]


def pooled(sequence: str, pool: str) -> np.ndarray:
    """What `Letters` makes of a sequence, worked out without a batch."""
    rows = np.array([[ord(letter), place, 0.5] for place, letter in enumerate(sequence)])
    found = {"residues": rows, "mean": rows.mean(axis=0), "first": rows[0]}[pool]
    return found.astype(np.float32)


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def letters_of() -> Callable[..., Letters]:
    return Letters


@pytest.fixture
def expected() -> Callable[[str, str], np.ndarray]:
    return pooled


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ProteinLM of four layers, random weights, in a converted folder."""
    config = ProteinLMConfig(
        layers=4, hidden=64, heads=4, positions=600, layernorm_eps=1e-12, gelu="tanh"
    )
    folder = tmp_path_factory.mktemp("model") / "small"
    convert(RandomWeights(config, 0), folder)
    return folder
