"""Contacts of what a language model learnt by itself.

attention  the maps of all heads, made symmetric and corrected (APC), weighed by a logistic
           regression with an L1 penalty on 20 proteins of train: Rao et al. 2020
jacobian   how much the answer at one place hangs on what stands at another: Zhang et al. 2024
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from tape_bench.cards import TaskCard
from tape_bench.data.examples import Split
from tape_bench.errors import UsageError
from tape_bench.models.embedder import AttentionMaps, MaskedLanguageModel
from tape_bench.progress import Progress
from tape_bench.protocols.interface import Assignment, Predicted
from tape_bench.protocols.truth import beside_truth
from tape_bench.protocols.zero_shot.variants import MANY_TOKENS, NOT_SAMPLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tape_bench.embedding.embeddings import Embeddings, Request
    from tape_bench.protocols.zero_shot.likelihoods import Heard

ContactMethod = Literal["attention", "jacobian"]

PROTEINS = 20
"""Proteins of train that heads are weighed on."""
INVERSE_PENALTY = 0.15
"""scikit-learn's C."""
SEEDS = (0, 1, 2)
"""Which 20 proteins they are is luck."""


@dataclass(frozen=True)
class ContactsPlan:
    """Contacts without an encoder's training, decided."""

    card: TaskCard
    method: ContactMethod
    asked: tuple[int, ...] | None
    """Seeds the user asked for."""
    sample: int | None
    version: ClassVar[str] = "1"

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Each draws other proteins of train; the Jacobian needs none."""
        return (self.asked or SEEDS) if self.seed_matters else (0,)

    @property
    def seed_matters(self) -> bool:
        """Whether proteins of train are drawn."""
        return self.method == "attention"

    @property
    def resolved(self) -> Mapping[str, JsonValue]:
        """Every choice that can change a score, for the record."""
        choices: dict[str, JsonValue] = {"method": self.method, "sample": self.sample}
        if self.method == "jacobian":
            return choices | {
                "centred": "over both places and both residues",
                "correction": "APC",
                "what_moved": "nothing",
            }
        return choices | {
            "correction": "APC",
            "regression": "logistic, L1, liblinear",
            "C": INVERSE_PENALTY,
            "proteins": PROTEINS,
            "what_moved": "weights of attention heads",
        }

    def needs(self, task: Assignment) -> Sequence[Request]:
        """Ask for no representations: the model itself is asked."""
        return ()

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Predict the contacts of the test splits."""
        model: object = embeddings.model
        found = Predicted(seconds={"find contacts": 0.0})
        begun = time.perf_counter()
        target = self.card.targets[0]
        scorer: _ByAttention | _ByJacobian
        if self.method == "jacobian":
            if not isinstance(model, MaskedLanguageModel):
                raise self._lacks(embeddings, "says no likelihoods", "attention")
            scorer = _ByJacobian(model)
        else:
            if not isinstance(model, AttentionMaps):
                raise self._lacks(embeddings, "shows no attention maps", "jacobian")
            scorer = _ByAttention(model)
            train = task.examples[self.card.split_of("train")]
            scorer.fit(train, self.seeds, progress)
            for seed in self.seeds:
                found.selected[f"{target.name}/{seed}"] = scorer.told(seed)
        for name, split in task.examples.items():
            if split.role != "test":
                continue
            split, left = self._sampled(split)
            if left:
                found.left_out[name] = left
            cost, done = sum(map(scorer.cost, split.sequences)), 0
            if cost > MANY_TOKENS:
                warnings.warn(
                    f"the {self.method} of {name} takes {cost / 1e6:,.0f} million tokens through "
                    "the model\n  to do: take a part of the proteins, e.g. -P sample=10",
                    stacklevel=2,
                )
            values: dict[int, list[NDArray[np.float32]]] = {seed: [] for seed in self.seeds}
            for sequence in split.sequences:

                def heard(
                    tokens: int,
                    phase: str = f"contacts of {name}",
                    before: int = done,
                    total: int = cost,
                ) -> None:
                    progress.advance(phase, before + tokens, total, "tokens")

                for seed, scores in zip(self.seeds, scorer.scores(sequence, heard), strict=True):
                    values[seed].append(scores)
                done += scorer.cost(sequence)
            found.residues += sum(map(len, split.sequences))
            found.predictions[target.name, name] = {
                seed: beside_truth(split, target, np.concatenate(each))
                for seed, each in values.items()
            }
        found.seconds["find contacts"] = time.perf_counter() - begun
        return found

    def _lacks(self, embeddings: Embeddings, what: str, other: str) -> UsageError:
        return UsageError(
            f"{embeddings.session.identity.name} {what}", fix=f"choose -P method={other}"
        )

    def _sampled(self, split: Split) -> tuple[Split, dict[str, str]]:
        if self.sample is None or self.sample >= len(split):
            return split, {}
        order = np.random.default_rng(0).permutation(len(split))
        kept, left = order[: self.sample], order[self.sample :]
        return split.take(np.sort(kept)), {split.ids[row]: NOT_SAMPLED for row in left}


class _ByAttention:
    """Attention maps, weighed for each seed."""

    def __init__(self, model: AttentionMaps) -> None:
        self.model = model
        self.fitted: dict[int, tuple[NDArray[np.float64], float]] = {}
        self.drawn: dict[int, list[str]] = {}

    def fit(self, train: Split, seeds: Sequence[int], progress: Progress) -> None:
        """Weigh the heads on 20 proteins, others for each seed."""
        from tape_bench.protocols.zero_shot.couplings import pairs
        from tape_bench.scoring.contacts import pair_labels

        field = train.card.targets[0].field
        total = len(seeds) * min(PROTEINS, len(train))
        done = 0
        for seed in seeds:
            features, labels = [], []
            self.drawn[seed] = []
            for row in np.random.default_rng(seed).permutation(len(train)).tolist():
                told = pair_labels(train.columns.target(field, row))
                scored = told >= 0
                # A chain without a single contact, or with nothing else, is not of use.
                if len(self.drawn[seed]) == PROTEINS or len(set(told[scored].tolist())) < 2:
                    continue
                maps = self._corrected(train.sequences[row])
                features.append(np.stack([pairs(m)[scored] for m in maps], axis=1))
                labels.append(told[scored])
                self.drawn[seed].append(train.ids[row])
                done += 1
                progress.advance("weigh heads", done, total, "proteins")
            if not labels:
                raise UsageError(
                    "no protein of train has a contact to weigh attention heads by",
                    fix="choose -P method=jacobian, which learns nothing",
                )
            solver = _regression(seed)
            solver.fit(np.concatenate(features), np.concatenate(labels))
            self.fitted[seed] = solver.coef_[0].astype(np.float64), float(solver.intercept_[0])
        progress.advance("weigh heads", total, total, "proteins")

    def told(self, seed: int) -> dict[str, JsonValue]:
        """Return what was learnt, for the record."""
        weights, _ = self.fitted[seed]
        return {
            "proteins": list[JsonValue](self.drawn[seed]),
            "heads": len(weights),
            "heads_used": int(np.count_nonzero(weights)),
        }

    def cost(self, sequence: str) -> int:
        """Return the tokens that go through the model: each protein is read once."""
        return len(sequence)

    def scores(self, sequence: str, heard: Heard) -> Iterator[NDArray[np.float32]]:
        """Return the probability of each pair to touch, for each seed, `[pairs]`."""
        from scipy.special import expit

        from tape_bench.protocols.zero_shot.couplings import pairs

        sums: dict[int, NDArray[np.float64] | float] = {s: b for s, (_, b) in self.fitted.items()}
        for head, corrected in enumerate(self._corrected(sequence)):
            own = pairs(corrected)
            for seed, (weights, _) in self.fitted.items():
                if weights[head]:
                    sums[seed] = sums[seed] + weights[head] * own
        heard(len(sequence))
        for total in sums.values():
            flat = total + np.zeros(len(own))
            yield expit(flat).astype(np.float32)

    def _corrected(self, sequence: str) -> Iterator[NDArray[np.float64]]:
        """Yield the map of one head after the other."""
        from tape_bench.protocols.zero_shot.couplings import apc

        for layer in self.model.attention_maps(sequence):
            for head in layer.astype(np.float64):
                yield apc(head + head.T)


class _ByJacobian:
    """How answers hang on what stands elsewhere; the same for every seed."""

    def __init__(self, model: MaskedLanguageModel) -> None:
        self.model = model

    def cost(self, sequence: str) -> int:
        """Return the tokens that go through the model."""
        from tape_bench.protocols.zero_shot.couplings import cost

        return cost(sequence)

    def scores(self, sequence: str, heard: Heard) -> Iterator[NDArray[np.float32]]:
        """Return the strength of each pair's coupling, once, `[pairs]`."""
        from tape_bench.protocols.zero_shot.couplings import couplings, pairs

        yield pairs(couplings(self.model, sequence, heard)).astype(np.float32)


def _regression(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    said: dict[str, Any] = {"C": INVERSE_PENALTY, "solver": "liblinear", "random_state": seed}
    plain = LogisticRegression(**said)  # type: ignore[no-untyped-call]
    # scikit-learn 1.8 gave the choice of the penalty another name.
    said |= {"l1_ratio": 1.0} if plain.penalty == "deprecated" else {"penalty": "l1"}
    return LogisticRegression(**said)  # type: ignore[no-untyped-call]
