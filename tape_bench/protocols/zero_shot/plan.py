"""The protocol `zero_shot`: what a model knows of a task though no one has told it.

Variants are scored by likelihoods, with nothing learnt; contacts by the model's attention, weighed
on a few proteins, or by how its answer at one place hangs on another, with nothing learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

from tape_bench.cards import Kind, Role, TaskCard
from tape_bench.errors import UsageError
from tape_bench.models.embedder import AttentionMaps, Identity, MaskedLanguageModel, VariantScorer
from tape_bench.protocols.zero_shot.contacts import ContactMethod, ContactsPlan
from tape_bench.protocols.zero_shot.variants import Method, VariantsPlan


@dataclass(frozen=True)
class ZeroShot:
    """The protocol; see the top of this file."""

    method: Method | ContactMethod | None = None
    """How scores are made: of variants by `masked_marginals` if None, or what the model itself
    gives where it scores variants; of contacts by `attention`."""
    context: str = ""
    """Residues put before every variant when it is read, as the M that TAPE's GFP lacks."""
    sample: int | None = None
    """Score so many examples of a split only, drawn at random; all if None."""

    requires: ClassVar[Sequence[type[object] | tuple[type[object], ...]]] = (
        (MaskedLanguageModel, VariantScorer, AttentionMaps),
    )
    kinds: ClassVar[Sequence[Kind]] = ("sequence_value", "residue_pair")

    def roles(self, card: TaskCard) -> Sequence[Role]:
        """Only what is scored, but for attention's heads, which are weighed on train."""
        if card.kind == "residue_pair" and self.method in (None, "attention"):
            return ("train", "test")
        return ("test",)

    def plan(
        self, card: TaskCard, identity: Identity, seeds: tuple[int, ...] | None
    ) -> VariantsPlan | ContactsPlan:
        """Decide how examples are scored.

        Raises:
            UsageError: the card names no parent, the method is for another kind of task, or a
                sample or context makes no sense.
        """
        of_contacts = card.kind == "residue_pair"
        methods = get_args(ContactMethod if of_contacts else Method)
        if self.method is not None and self.method not in methods:
            raise UsageError(
                f"the method {self.method} is not for {card.name}",
                fix=f"choose one of {', '.join(methods)}",
            )
        if self.sample is not None and self.sample < 2:
            raise UsageError(f"a sample of {self.sample} has no spread", fix="take more")
        if self.context and (of_contacts or not _is_sequence(self.context)):
            raise UsageError(
                f"the context {self.context!r} "
                + ("is for variants only" if of_contacts else "is no sequence"),
                fix="leave it out" if of_contacts else "e.g. context=M",
            )
        if of_contacts:
            return ContactsPlan(card, self.method or "attention", seeds, self.sample)  # type: ignore[arg-type]
        if card.parent is None:
            raise UsageError(
                f"the card of {card.name} names no parent: its proteins are no variants of one",
                fix="choose fluorescence or stability, or say [parent] in the card",
            )
        return VariantsPlan(card, self.method, self.context, self.sample)  # type: ignore[arg-type]


def _is_sequence(text: str) -> bool:
    return text.isalpha() and text.isupper()
