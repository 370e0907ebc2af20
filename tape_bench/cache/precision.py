"""Which models' representations are kept on disk, and in which precision."""

from __future__ import annotations

from typing import Literal

from tape_bench.models.embedder import Identity

Stored = Literal["float32", "float16", "bfloat16"]
"""Precision that vectors are kept in."""

KINDS: tuple[Stored, ...] = ("float32", "float16", "bfloat16")
"""An index record names the precision by its place here."""


def width_of(stored: Stored) -> int:
    """Return the bytes of one number."""
    return 4 if stored == "float32" else 2


def kept_on_disk(model: Identity) -> bool:
    """Tell whether a model's representations can be kept: the weights must say which it is."""
    return model.weights_digest is not None


def stored_as(model: Identity, asked: Stored | None) -> Stored:
    """Return the precision representations are kept in, by default no finer than the model's."""
    if asked is not None:
        return asked
    return "float16" if model.dtype in ("float16", "bfloat16") else "float32"
