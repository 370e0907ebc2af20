"""Variants scored by what a model finds likely.

The parent is the card's; see `data.parents`. What has no score is counted, and left out.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np
from pydantic import JsonValue

from tape_bench.cards import TaskCard
from tape_bench.data.examples import Split
from tape_bench.data.parents import parents_of, places_changed
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import MaskedLanguageModel, VariantScorer
from tape_bench.progress import Progress
from tape_bench.protocols.interface import Assignment, Predicted
from tape_bench.protocols.truth import beside_truth

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request

Method = Literal["masked_marginals", "wt_marginals", "mutant_marginals", "pll", "pll_per_residue"]
METHODS = get_args(Method)

DEFAULT: Method = "masked_marginals"
OWN = "the model's own"

OTHER_LENGTH = "of another length than its parent"
NO_SCORE = "the model gives it no score"
NOT_SAMPLED = "not sampled"

MANY_TOKENS = 50_000_000
"""Tokens through the model from which on the user is warned of what it will take."""


@dataclass(frozen=True)
class VariantsPlan:
    """Scores without training, decided."""

    card: TaskCard
    method: Method | None
    context: str
    sample: int | None
    version: ClassVar[str] = "1"
    seeds: ClassVar[tuple[int, ...]] = (0,)
    seed_matters: ClassVar[bool] = False

    @property
    def resolved(self) -> Mapping[str, JsonValue]:
        """Every choice that can change a score, for the record."""
        said = self.card.parent.sequence if self.card.parent else None
        return {
            "method": self.method or f"the model's own, else {DEFAULT}",
            "parent": "consensus of each cluster"
            if said is None
            else "the card's where it is the consensus of the split, else that",
            "parent_sha256": None if said is None else sha256(said.encode()).hexdigest(),
            "context": self.context,
            "sample": self.sample,
            "undefined": "left out, and counted",
            "what_moved": "nothing",
        }

    def needs(self, task: Assignment) -> Sequence[Request]:
        """Ask for no representations: the model itself is asked."""
        return ()

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Score the variants of the test splits."""
        model: object = embeddings.model
        method = self._method_for(model)
        found = Predicted(seconds={"score variants": 0.0})
        target = self.card.targets[0]
        for other in self.card.targets[1:]:
            found.absent[other.name] = "a score without training is one value a variant"
        begun = time.perf_counter()
        for name, split in task.examples.items():
            parents = parents_of(split)
            found.selected[f"{target.name}/{name}"] = {
                "method": method,
                **self._of_parents(parents),
            }
            left = self._left_out(split, parents, method)
            rows = [row for row, id in enumerate(split.ids) if id not in left]
            if not rows:
                raise ModelError(
                    f"no variant of the split {name} has a score by {method}",
                    fix="choose -P method=pll, which needs no parent",
                )
            scores = self._scores(model, method, split, rows, parents, progress)
            for row in [row for row, one in zip(rows, scores, strict=True) if np.isnan(one)]:
                same = places_changed(split.sequences[row], parents[row]) is not None
                left[split.ids[row]] = NO_SCORE if same else OTHER_LENGTH
            kept = split.take([row for row in rows if split.ids[row] not in left])
            if left:
                found.left_out[name] = left
            values = scores[~np.isnan(scores)].astype(np.float32)
            found.predictions[target.name, name] = {0: beside_truth(kept, target, values)}
        found.seconds["score variants"] = time.perf_counter() - begun
        return found

    def _method_for(self, model: object) -> str:
        """Return how a model's scores are made.

        Raises:
            UsageError: it has no likelihoods, or scores variants itself and not by the method.
        """
        if not isinstance(model, MaskedLanguageModel | VariantScorer):
            raise UsageError(
                "this model says no likelihoods of residues",
                fix="choose another model, or the protocol probe",
            )
        if self.method is not None and not isinstance(model, MaskedLanguageModel):
            raise UsageError(
                f"this model scores variants itself, and not by {self.method}",
                fix="leave -P method=… out",
            )
        if self.method is None and isinstance(model, VariantScorer):
            return OWN
        return self.method or DEFAULT

    def _left_out(self, split: Split, parents: Sequence[str], method: str) -> dict[str, str]:
        """Return what has no score, by id, with the reason."""
        ids = split.ids
        left: dict[str, str] = {}
        if not method.startswith("pll"):
            rows = zip(ids, split.sequences, parents, strict=True)
            left = {id: OTHER_LENGTH for id, s, p in rows if places_changed(s, p) is None}
        if self.sample is not None:
            there = [id for id in ids if id not in left]
            order = np.random.default_rng(0).permutation(len(there))
            left |= {there[place]: NOT_SAMPLED for place in order[self.sample :]}
        return left

    def _scores(
        self,
        model: object,
        method: str,
        split: Split,
        rows: Sequence[int],
        parents: Sequence[str],
        progress: Progress,
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        by_parent: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            by_parent[parents[row]].append(place)
        found = np.full(len(rows), np.nan)
        if method == OWN:
            assert isinstance(model, VariantScorer)
            for parent, places in by_parent.items():
                variants = [split.sequences[rows[place]] for place in places]
                found[places] = model.score_variants(parent, variants)
            return found
        from tape_bench.protocols.zero_shot.likelihoods import Likelihoods

        assert isinstance(model, MaskedLanguageModel)
        asked = Likelihoods(model, self.context)
        cost = sum(
            asked.cost(method, parent, [split.sequences[rows[place]] for place in places])
            for parent, places in by_parent.items()
        )
        if cost > MANY_TOKENS:
            warnings.warn(
                f"{method} on {split.name} takes {cost / 1e6:,.0f} million tokens through the "
                "model\n  to do: score a part of the variants, e.g. -P sample=500",
                stacklevel=2,
            )
        done = 0
        for parent, places in by_parent.items():
            variants = [split.sequences[rows[place]] for place in places]

            def heard(tokens: int, before: int = done) -> None:
                progress.advance(f"score {split.name}", before + tokens, cost, "tokens")

            found[places] = asked.scores(method, parent, variants, heard)
            done += asked.cost(method, parent, variants)
        return found

    def _of_parents(self, parents: Sequence[str]) -> dict[str, JsonValue]:
        distinct = sorted(set(parents))
        told = sha256("\n".join(distinct).encode()).hexdigest()
        said = self.card.parent.sequence if self.card.parent else None
        return {
            "parents": len(distinct),
            "parents_sha256": told,
            "is_the_cards": None if said is None else distinct == [said],
        }
