"""How a model of the hub is read, in the words of its identity."""

from __future__ import annotations

import hashlib

from tape_bench.models.huggingface.recipe import Letters, Recipe


def reading(recipe: Recipe, vocabulary: Letters) -> dict[str, str]:
    """Return how a model is read, as its identity keeps it."""
    letters = ", ".join(f"{letter} as {as_}" for letter, as_ in sorted(recipe.letters.items()))
    tokens = hashlib.sha256("\n".join(vocabulary.tokens).encode()).hexdigest()
    return {
        "family": recipe.family,
        "architecture": recipe.architecture,
        "special_tokens": " ".join((*recipe.before, recipe.residue.format("…"), *recipe.after)),
        "letters": letters or "as they are",
        "tokens": f"{len(vocabulary.tokens)} ({tokens[:12]})",
    }
