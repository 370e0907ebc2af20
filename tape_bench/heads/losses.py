"""What a head is trained to make small, one loss a kind of task."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tape_bench.cards import Kind
from tape_bench.heads.fit import Loss


def cross_entropy(scores: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Cross-entropy of `[..., classes]` against `[...]`; targets of -1 do not count."""
    flat = targets.flatten()
    summed = functional.cross_entropy(scores.flatten(0, -2), flat, ignore_index=-1, reduction="sum")
    return summed, int((flat >= 0).sum())


def squared_error(scores: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Squared error of `[items, 1]` against `[items]`."""
    return functional.mse_loss(scores.squeeze(-1), targets, reduction="sum"), len(targets)


def contact_cross_entropy(scores: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Cross-entropy of logits `[..., residues, residues]`; pairs labelled -1 do not count."""
    eligible = (targets >= 0).to(scores.dtype)
    summed = functional.binary_cross_entropy_with_logits(
        scores, targets.clamp(min=0).to(scores.dtype), weight=eligible, reduction="sum"
    )
    return summed, int(eligible.sum())


LOSSES: dict[Kind, Loss] = {
    "token_class": cross_entropy,
    "sequence_class": cross_entropy,
    "sequence_value": squared_error,
    "residue_pair": contact_cross_entropy,
}
