"""The recipes of known families, told by configuration and vocabulary, never by a model's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tape_bench.data.vocabulary import LETTERS
from tape_bench.errors import ModelError
from tape_bench.models.huggingface.recipe import Recipe

_RARE_AS_X = dict.fromkeys("UZOB", "X")
"""ProtBert and the T5 models were trained with rare residues read as unknown ones."""

Config = Mapping[str, Any]
Tokens = Mapping[str, int]


def recipe_of(config: Config, tokens: Tokens, where: str) -> Recipe:
    """Tell the family of a model, and so how it is read.

    Args:
        config: what its `config.json` says.
        tokens: its tokens, and their ids.
        where: the model, for messages.

    Raises:
        ModelError: nothing known; a recipe file can describe it.
    """
    for family in FAMILIES:
        if family.model_type == config.get("model_type") and family.fits(config, tokens):
            try:
                return family.recipe(config)
            except ValidationError as error:
                told = error.errors()[0]
                raise ModelError(
                    f"config.json makes no sense: {told['loc'][0]}: {told['msg']}",
                    where=where,
                    fix="get the file again",
                ) from None
    raise ModelError(
        f"no known family: model_type {config.get('model_type')!r}, "
        f"{len(tokens)} tokens such as {', '.join(list(tokens)[5:11])}",
        where=where,
        fix="describe how it is read in a recipe: -M recipe=FILE.toml (docs/models.md, 'A model "
        "nobody has heard of'), or write a class",
    )


@dataclass(frozen=True)
class Family:
    """A kind of model, what it is told by, and how it is read."""

    model_type: str
    fits: Callable[[Config, Tokens], bool]
    recipe: Callable[[Config], Recipe]


def _esm(config: Config) -> Recipe:
    absolute = _absolute(config)
    # A table of N positions begins at pad + 1, and <cls> and <eos> have one each.
    table = _number(config, "max_position_embeddings", 1026)
    return Recipe(
        family="esm1" if absolute else "esm2",
        architecture="EsmModel",
        masked="EsmForMaskedLM",
        before=("<cls>",),
        after=("<eos>",),
        pad="<pad>",
        mask="<mask>",
        longest=table - 4 if absolute else None,
    )


def _saprot(config: Config) -> Recipe:
    return Recipe(
        family="saprot",
        architecture="EsmModel",
        masked="EsmForMaskedLM",
        residue="{}#",
        # It has no letters for what is not one of the twenty; "#" says that a thing is not known.
        letters=dict.fromkeys("BOUXZ", "##"),
        before=("<cls>",),
        after=("<eos>",),
        pad="<pad>",
        mask="<mask>",
        note="SaProt is read by sequence alone, without the structure tokens it was trained with: "
        "its makers say that such vectors are poor",
    )


def _esmc(config: Config) -> Recipe:
    return Recipe(
        family="esmc",
        architecture="EsmcModel",
        masked="EsmcForMaskedLM",
        before=("<cls>",),
        after=("<eos>",),
        pad="<pad>",
        mask="<mask>",
        longest=_number(config, "max_position_embeddings", 2048) - 2,
    )


def _bert(letters: Mapping[str, str], family: str) -> Callable[[Config], Recipe]:
    def recipe(config: Config) -> Recipe:
        return Recipe(
            family=family,
            architecture="BertModel",
            masked="BertForMaskedLM",
            letters=dict(letters),
            before=("[CLS]",),
            after=("[SEP]",),
            pad="[PAD]",
            mask="[MASK]",
            longest=_number(config, "max_position_embeddings", 512) - 2,
        )

    return recipe


def _t5(family: str, residue: str, *before: str, note: str | None = None) -> Family:
    """Describe an encoder of T5's kind; it ends sequences with `</s>` and begins them as it may."""

    def recipe(config: Config) -> Recipe:
        return Recipe(
            family=family,
            architecture="T5EncoderModel",
            residue=residue,
            letters=dict(_RARE_AS_X),
            before=before,
            after=("</s>",),
            pad="<pad>",
            float16=not family.startswith("ankh"),
            note=note,
        )

    letters = [residue.format(letter) for letter in LETTERS if letter not in _RARE_AS_X]
    return Family("t5", lambda config, tokens: _has(tokens, (*letters, *before)), recipe)


def _has(tokens: Tokens, wanted: Iterable[str]) -> bool:
    return all(token in tokens for token in wanted)


def _absolute(config: Config) -> bool:
    return bool(config.get("position_embedding_type", "absolute") == "absolute")


def _number(config: Config, name: str, otherwise: int) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


_NON_COMMERCIAL = "Ankh's licence, CC-BY-NC-SA-4.0, forbids commercial use"

FAMILIES = (
    Family("esm", lambda config, tokens: "M#" in tokens and "##" in tokens, _saprot),
    Family("esm", lambda config, tokens: _has(tokens, LETTERS), _esm),
    Family("esmc", lambda config, tokens: _has(tokens, LETTERS), _esmc),
    Family("bert", lambda config, tokens: _has(tokens, LETTERS), _bert(_RARE_AS_X, "protbert")),
    Family(
        "bert",
        lambda config, tokens: _has(tokens, "ACDEFGHIKLMNPQRSTVWY") and len(tokens) == 25,
        # It knows the twenty alone, and its makers mask what is none of them.
        _bert(dict.fromkeys("BOUXZ", "[MASK]"), "antiberty"),
    ),
    _t5("prostt5", "▁{}", "<AA2fold>"),
    _t5("prott5", "▁{}"),
    _t5("ankh3", "{}", "[NLU]", note=_NON_COMMERCIAL),
    _t5("ankh", "{}", note=_NON_COMMERCIAL),
)
"""The first that fits is it."""
