"""Folders of transformers' models that classify or value proteins or residues."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tape_bench.bounded import parse_json, read_text
from tape_bench.cards import Kind
from tape_bench.errors import CheckpointError, DataError, ModelError
from tape_bench.models.huggingface.families import recipe_of
from tape_bench.models.huggingface.hub import config_of, find
from tape_bench.models.huggingface.network import read_pretrained, tokens_of
from tape_bench.models.huggingface.recipe import Letters, Recipe, vocabulary

_CLASSIFIER = re.compile(r"\w+For(Sequence|Token)Classification")
_MAY_BE_MISSING = re.compile(r"position_ids$|(^|\.)(pooler|contact_head)\.")


def is_classifier(folder: Path) -> bool:
    """Tell whether a folder holds such a model."""
    return architecture(folder) is not None


def architecture(folder: Path) -> str | None:
    """Return the class that a folder's configuration names, if it is one that classifies."""
    try:
        said = parse_json(read_text(folder / "config.json", 1 << 20))
    except (OSError, ValueError):
        return None
    named = said.get("architectures") if isinstance(said, dict) else None
    first = named[0] if isinstance(named, list) and named else None
    fits = isinstance(first, str) and _CLASSIFIER.fullmatch(first)
    # TAPE's own folders name classes, too, that transformers does not have.
    return str(first) if fits and "tape" not in str(first).lower() else None


class Classifier(nn.Module):
    """One of transformers' classifiers: proteins to scores."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        letters: Letters,
        kind: Kind,
        labels: tuple[str, ...],
    ) -> None:
        """Take a network, and how its family reads sequences."""
        super().__init__()
        self.network, self.recipe, self.letters, self.kind = network, recipe, letters, kind
        self.outputs, self.labels = len(labels), labels

    def forward(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the scores of each protein: `[classes]`, `[1]` or `[residues, classes]`."""
        before = self.letters.ids_of(self.recipe.before)
        after = self.letters.ids_of(self.recipe.after)
        rows = []
        for sequence in sequences:
            longest = self.recipe.longest
            if not sequence or (longest is not None and len(sequence) > longest):
                raise ModelError(
                    f"a sequence of {len(sequence)} residues; the model reads 1 to {longest}",
                    fix="choose the length policy skip, truncate or window",
                )
            try:
                rows.append([*before, *self.letters.encode(sequence).tolist(), *after])
            except DataError as error:
                raise ModelError(error.what, where=error.where, fix=error.fix) from None
        device = next(self.network.parameters()).device
        ids = np.full((len(rows), max(map(len, rows))), self.letters.pad, np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        told = self.network(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
        )
        logits: Tensor = told.logits.float()
        if self.kind != "token_class":
            return list(logits)
        start = len(before)
        return [
            one[start : start + len(sequence)]
            for one, sequence in zip(logits, sequences, strict=True)
        ]


def load(folder: Path, place: torch.device) -> Classifier:
    """Load a classifier in float32.

    Raises:
        ModelError: transformers has no such class.
        CheckpointError: weights are missing, of another shape, or cannot be read.
    """
    name = architecture(folder) or ""
    checkpoint = find(str(folder))
    config = config_of(checkpoint)
    tokens = tokens_of(checkpoint)
    recipe = recipe_of(config, tokens, str(folder))
    network, missing, _ = read_pretrained(checkpoint, name, torch.float32)
    lost = [one for one in missing if not _MAY_BE_MISSING.search(one)]
    if lost:
        raise CheckpointError(
            f"the checkpoint lacks {len(lost)} weights of {name}: {', '.join(lost[:4])}",
            where=str(folder),
            fix="the library would fill them in at random; get the files again",
        )
    network = network.to(place).eval().requires_grad_(False)
    by_number = {int(number): str(label) for number, label in network.config.id2label.items()}
    labels = tuple(by_number[number] for number in sorted(by_number))
    kind: Kind = "token_class"
    if "ForSequence" in name:
        kind = "sequence_value" if len(labels) == 1 else "sequence_class"
    return Classifier(network, recipe, vocabulary(recipe, tokens, str(folder)), kind, labels)
