"""Heads that are solved, not trained: one answer, whatever the seed.

Each takes its penalty from a path of them, by the loss on valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.heads.aligned import AlignedRidge
from tape_bench.heads.batches import Representations
from tape_bench.heads.catalogue import SolveConfig
from tape_bench.heads.lbfgs import Array
from tape_bench.heads.pair_logistic import PairLoss, evenly_spaced, pair_logits
from tape_bench.heads.ridge import Ridge
from tape_bench.heads.rows import CPU, Rows, scaling_of
from tape_bench.heads.softmax import SoftmaxLoss, scores
from tape_bench.heads.solver import Solution, Spectrum, solve
from tape_bench.progress import Steps

SPECTRUM_ROWS = 16_384
"""Rows from which the features' second moments are estimated: they only guide the solver."""

MOST_PASSES = 10
"""Evaluations of the loss where each reads the vectors from the disk again; from the solution on
a subset it takes five or so."""

SAMPLE_BYTES = 1 << 29
"""Of the standardised vectors of that subset."""

STREAMED_TOLERANCE = 4
"""How many times farther from the optimum one may stop where each evaluation reads the vectors
from the disk, and on that subset; the record says so."""

LIKELY = 3
"""Penalties that are solved on all vectors: the best of the subset's on valid, and weaker ones,
which more vectors ask for."""

MOST_EVALUATIONS = 300
"""Evaluations where the vectors stay in memory."""


class AlignedRidgeLearner:
    """Ridge regression on aligned proteins."""

    def __init__(
        self,
        config: SolveConfig,
        target: Target,
        known: Representations,
        device: torch.device = CPU,
    ) -> None:
        """Prepare to solve for this target on the representations of residues."""
        self.target = target
        self.known = known
        self._ridge = AlignedRidge()

    def learn(
        self, train: Split, valid: Split, seed: int, progress: Steps | None = None
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Solve on one split, choose the penalty by the other."""
        self._ridge.fit(
            self._proteins(train),
            _values(train, self.target),
            self._proteins(valid),
            _values(valid, self.target),
        )
        if progress is not None:
            progress(1, 1, self._ridge.valid_loss)
        return {"alpha": self._ridge.alpha, "valid_loss": self._ridge.valid_loss}, []

    def predict(self, split: Split) -> NDArray[np.float32]:
        """Return the predicted value of every protein of the split."""
        return self._ridge.predict(self._proteins(split)).astype(np.float32)

    def _proteins(self, split: Split) -> list[NDArray[np.float32]]:
        return [self.known[sequence] for sequence in split.sequences]


class RidgeLearner:
    """Ridge regression on one vector a protein."""

    def __init__(
        self,
        config: SolveConfig,
        target: Target,
        known: Representations,
        device: torch.device = CPU,
    ) -> None:
        """Prepare to solve for this target on pooled representations."""
        self.config = config
        self.target = target
        self.known = known
        self._ridge = Ridge()

    def learn(
        self, train: Split, valid: Split, seed: int, progress: Steps | None = None
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Solve on one split, choose the penalty by the other."""
        self._scaling = scaling_of(train.sequences, self.known)
        ridge = self._ridge
        ridge.fit(
            self._rows(train),
            _values(train, self.target),
            self._rows(valid),
            _values(valid, self.target),
            self.config.penalties,
        )
        if progress is not None:
            progress(1, 1, ridge.valid_loss)
        return {
            "penalty": ridge.penalty,
            "valid_loss": ridge.valid_loss,
            "gradient": ridge.gradient,
        }, []

    def predict(self, split: Split) -> NDArray[np.float32]:
        """Return the predicted value of every protein of the split."""
        return self._ridge.predict(self._rows(split))

    def _rows(self, split: Split) -> Rows:
        return Rows(split.sequences, self.known, self._scaling)


class SoftmaxLearner:
    """Multinomial logistic regression, on residues or on proteins."""

    def __init__(
        self,
        config: SolveConfig,
        target: Target,
        known: Representations,
        device: torch.device = CPU,
    ) -> None:
        """Prepare to solve for this target, on residues or on whole proteins."""
        self.config = config
        self.target = target
        self.known = known
        self.device = device

    def learn(
        self, train: Split, valid: Split, seed: int, progress: Steps | None = None
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Solve on one split, choose the penalty by the other."""
        self._scaling = scaling_of(train.sequences, self.known)
        labels = _labels(train, self.target)
        # A class that train lacks has no finite solution, and is ranked behind all others.
        self._present = np.unique(np.concatenate(labels))
        self._present = self._present[self._present >= 0]
        rows = self._rows(train)
        judged = self._loss(self._rows(valid), _labels(valid, self.target))
        wanted = max(SPECTRUM_ROWS, 8 * rows.hidden)
        spectrum = Spectrum.of((piece.vectors for piece in rows.some(wanted)), rows.hidden)
        config, near = self.config, None
        if not rows.kept:
            assert config.tolerance is not None
            config = replace(config, tolerance=STREAMED_TOLERANCE * config.tolerance)
            near = self._on_a_subset(config, train, rows, labels, spectrum)
            best = int(judged.losses(near.weights, near.bias).argmin())
            likely = slice(best, best + LIKELY)
            config = replace(config, penalties=config.penalties[likely])
            near = replace(near, weights=near.weights[likely], bias=near.bias[likely])
        found = _along(config, self._loss(rows, labels), judged, spectrum, near, progress)
        self._weights, self._bias = found.weights, found.bias
        if near is not None:
            found.selected["tolerance"] = config.tolerance
        return found.selected, []

    def predict(self, split: Split) -> NDArray[np.float32]:
        """Return the scores of every item of the split, `[items, classes]`."""
        rows = self._rows(split)
        known = scores(rows, self._weights, self._bias, self.config.window)
        assert self.target.classes is not None
        found = np.repeat(known.min(axis=1, keepdims=True) - 1, self.target.classes, axis=1)
        found[:, self._present] = known
        return found

    def _on_a_subset(
        self,
        config: SolveConfig,
        train: Split,
        rows: Rows,
        labels: list[NDArray[np.int64]],
        spectrum: Spectrum,
    ) -> Solution:
        """Solve on evenly spaced proteins that fit in memory, for all penalties."""
        step = -(-rows.size // SAMPLE_BYTES)
        taken = self._rows(train.take(np.arange(0, len(train), step)))
        loss = self._loss(taken, labels[::step])
        return _solve(config, loss, config.penalties, spectrum)

    def _rows(self, split: Split) -> Rows:
        reach = self.config.window // 2
        return Rows(split.sequences, self.known, self._scaling, apart=reach, device=self.device)

    def _loss(self, rows: Rows, labels: list[NDArray[np.int64]]) -> SoftmaxLoss:
        assert self.target.classes is not None
        place = np.full(self.target.classes + 1, -1)
        place[self._present] = np.arange(len(self._present))
        # The last place answers to -1: residues without a label, which have none here either.
        return SoftmaxLoss(
            rows, [place[own] for own in labels], len(self._present), self.config.window
        )


class PairLogisticLearner:
    """Logistic regression on the products of two residues' channels."""

    def __init__(
        self,
        config: SolveConfig,
        target: Target,
        known: Representations,
        device: torch.device = CPU,
    ) -> None:
        """Prepare to solve for contacts on the representations of residues."""
        self.config = config
        self.target = target
        self.known = known
        self.device = device

    def learn(
        self, train: Split, valid: Split, seed: int, progress: Steps | None = None
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Solve on one split, choose the penalty by the other."""
        taken = train.take(np.arange(len(train))[evenly_spaced(train.sequences)])
        self._scaling = scaling_of(taken.sequences, self.known)
        judges = valid.take(np.arange(len(valid))[evenly_spaced(valid.sequences)])
        fitted, judged = self._loss(taken), self._loss(judges)
        hidden = len(self._scaling.mean)
        spectrum = Spectrum.of(fitted.some(max(SPECTRUM_ROWS, 8 * hidden)), hidden)
        found = _along(self.config, fitted, judged, spectrum, None, progress)
        self._weights, self._bias = found.weights[0], float(found.bias[0])
        return found.selected | {"proteins": len(taken)}, []

    def predict(self, split: Split) -> NDArray[np.float32]:
        """Return the contact probability of each scored pair, protein by protein."""
        return np.concatenate([self._pairs(sequence) for sequence in split.sequences])

    def _pairs(self, sequence: str) -> NDArray[np.float32]:
        x = torch.from_numpy(self._scaling(self.known[sequence])).to(self.device)
        logits = pair_logits(x, self._weights, self._bias)
        scored = torch.ones_like(logits, dtype=torch.bool).triu(SMALLEST_SEPARATION)
        found: NDArray[np.float32] = logits[scored].sigmoid().cpu().numpy()
        return found

    def _loss(self, split: Split) -> PairLoss:
        coordinates = [example.targets[self.target.name] for example in split]
        return PairLoss(split.sequences, coordinates, self.known, self._scaling, self.device)


@dataclass(frozen=True)
class _Chosen:
    weights: Array
    bias: Array
    selected: dict[str, Any]


def _solve(
    config: SolveConfig,
    fitted: SoftmaxLoss | PairLoss,
    penalties: Sequence[float],
    spectrum: Spectrum,
    near: Solution | None = None,
    most: int = MOST_EVALUATIONS,
) -> Solution:
    assert config.tolerance is not None, "this head is solved step by step"
    strengths = np.array(penalties)
    return solve(fitted, strengths, spectrum, fitted.start(), config.tolerance, near, most)


def _along(
    config: SolveConfig,
    fitted: SoftmaxLoss | PairLoss,
    judged: SoftmaxLoss | PairLoss,
    spectrum: Spectrum,
    near: Solution | None,
    progress: Steps | None,
) -> _Chosen:
    """Walk along the penalties, strongest first, until the loss on valid rises.

    Where vectors are read from the disk each time, all penalties are solved in the same passes,
    beginning at their solutions `near` on a subset.
    """
    together, most = 1, MOST_EVALUATIONS
    if near is not None:
        together, most = len(config.penalties), MOST_PASSES
    best: _Chosen | None = None
    passes = 0
    for first in range(0, len(config.penalties), together):
        penalties = config.penalties[first : first + together]
        near = _solve(config, fitted, penalties, spectrum, near, most)
        passes += near.evaluations
        losses = judged.losses(near.weights, near.bias)
        if progress is not None:
            progress(first + len(penalties), len(config.penalties), float(losses.min()))
        place = int(np.nanargmin(losses))
        if best is not None and losses[place] >= best.selected["valid_loss"]:
            break
        best = _Chosen(
            near.weights[place],
            near.bias[place],
            {
                "penalty": penalties[place],
                "valid_loss": float(losses[place]),
                "gradient": float(near.gradients[place]),
                "evaluations": near.evaluations,
            },
        )
    assert best is not None, "there is at least one penalty"
    best.selected["evaluations_in_all"] = passes
    return best


def _values(split: Split, target: Target) -> Array:
    return np.array([example.targets[target.name] for example in split], np.float64)


def _labels(split: Split, target: Target) -> list[NDArray[np.int64]]:
    known = (example.targets[target.name] for example in split)
    return [np.atleast_1d(np.asarray(own)).astype(np.int64) for own in known]
