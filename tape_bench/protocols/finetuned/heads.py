"""Heads as their authors' code saves them: of TAPE, of its fork for ProteinLM, and of Megatron."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tape_bench.cards import Kind
from tape_bench.errors import CheckpointError
from tape_bench.heads.mlp import SequenceMLP
from tape_bench.heads.pair import PairProductDifference
from tape_bench.heads.pair_mlp import PairMLP
from tape_bench.heads.pair_resnet import PairResNet
from tape_bench.heads.tanh import TanhMLP
from tape_bench.heads.token_conv import TokenConv
from tape_bench.models.trainable import TrainableNetwork

Weights = Mapping[str, Tensor]
Scores = Callable[[Sequence[str]], list[Tensor]]
"""Proteins to the scores of each; see `finetune.scorer.Scorer`."""


@dataclass(frozen=True)
class Head:
    """A head, and what it reads."""

    kind: Kind
    module: nn.Module
    outputs: int
    reads: Literal["first", "tokens", "residues"]
    """The first token's vector; the states of all tokens, special ones too; or of residues."""
    origin: str
    """Whose it is."""


class PublishedScorer(nn.Module):
    """An encoder with a published head on it."""

    def __init__(self, network: TrainableNetwork, head: Head) -> None:
        """Put a head on an encoder."""
        super().__init__()
        self.network, self.reads, self.kind = network, head.reads, head.kind
        self.head = head.module

    def forward(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the scores of each protein; see `finetune.scorer.Scorer`."""
        if self.reads == "first":
            return list(self.head(self.network(sequences).first))
        if self.reads == "tokens":
            before = 1
            found = []
            for sequence, states in zip(sequences, self.network.tokens(sequences), strict=True):
                inside = slice(before, before + len(sequence))
                scores = self.head(states.unsqueeze(0)).squeeze(0)
                pairs = self.kind == "residue_pair"
                found.append(scores[inside, inside] if pairs else scores[inside])
            return found
        apart = self.network(sequences).residues.split([len(sequence) for sequence in sequences])
        if self.kind == "residue_pair":
            return [self.head(one.unsqueeze(0)).squeeze(0) for one in apart]
        return [self.head(one) for one in apart]


def of_tape(weights: Weights, where: str) -> Head:
    """Return the head of a folder that TAPE or its fork has saved.

    Raises:
        CheckpointError: there is none, or none that is known.
    """
    own, kind = _own(weights, where)
    if "main.4.weight_v" in own or "main.4.parametrizations.weight.original1" in own:
        kind = "token_class"
    if kind == "residue_pair":
        return _pairs_of_tape(own, where)
    last = "main.4" if kind == "token_class" else "main.3"
    first = "main.1" if kind == "token_class" else "main.0"
    outer, inner = _weight(own, last, where), _weight(own, first, where)
    outputs, hidden, width = len(outer), inner.shape[1], len(inner)
    fork = "the TAPE fork's" if width == 1024 else "TAPE's"
    if kind == "token_class":
        conv = TokenConv(hidden, outputs)
        _fill(conv, own, where)
        return Head(kind, conv, outputs, "tokens", "TAPE's")
    mlp = SequenceMLP(hidden, outputs, width)
    _fill(mlp, own, where)
    return Head(kind, mlp, outputs, "first", fork)


def of_megatron(weights: Weights, where: str) -> Head:
    """Return the head of a fine-tuned Megatron checkpoint.

    Args:
        weights: what begins with `classification_head.` or `language_model.pooler.`.
        where: the checkpoint.

    Raises:
        CheckpointError: there is none, or none that is known.
    """
    start = "classification_head."
    own = {n.removeprefix(start): w for n, w in weights.items() if n.startswith(start)}
    if "classifier.0.weight" in own:
        pairs = PairMLP(own["classifier.0.weight"].shape[0])
        _fill(pairs, own, where)
        return Head("residue_pair", pairs, 1, "residues", "Megatron's")
    if "0.weight" in own and "3.weight" in own:
        names = {"0": "dense", "3": "scores"}
        renamed = {f"{names[n[0]]}{n[1:]}": w for n, w in own.items() if n[0] in names}
        tokens = TanhMLP(own["0.weight"].shape[1], len(own["3.weight"]))
        _fill(tokens, renamed, where)
        return Head("token_class", tokens, len(own["3.weight"]), "residues", "Megatron's")
    pooler = "language_model.pooler.dense."
    if "weight" in own and f"{pooler}weight" in weights:
        outputs = len(own["weight"])
        whole = TanhMLP(own["weight"].shape[1], outputs)
        named = {f"dense.{p}": weights[f"{pooler}{p}"] for p in ("weight", "bias")}
        _fill(whole, named | {f"scores.{n}": w for n, w in own.items()}, where)
        kind: Kind = "sequence_value" if outputs == 1 else "sequence_class"
        return Head(kind, whole, outputs, "first", "Megatron's")
    raise _unknown("there is no head of a task", where)


def _own(weights: Weights, where: str) -> tuple[dict[str, Tensor], Kind]:
    """Return a head's weights without what their names begin with, and its kind by that."""
    prefixes: tuple[tuple[str, Kind], ...] = (
        ("predict.value_prediction.", "sequence_value"),
        ("classify.classify.", "sequence_class"),
        ("predict.", "residue_pair"),
    )
    for prefix, kind in prefixes:
        own = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
        if own:
            return own, kind
    raise _unknown("there is no head of a task", where)


def _pairs_of_tape(own: Weights, where: str) -> Head:
    first = own.get("predict.1.weight")
    if first is None:
        raise _unknown("the head for contacts lacks predict.1.weight", where)
    hidden = first.shape[1] // 2
    if first.dim() == 4:
        resnet = PairResNet(hidden)
        _fill(resnet, own, where)
        return Head("residue_pair", resnet, 1, "tokens", "the TAPE fork's")
    linear = PairProductDifference(hidden)
    _fill(linear, own, where)
    return Head("residue_pair", linear, 1, "residues", "TAPE's")


def _weight(own: Weights, layer: str, where: str) -> Tensor:
    for name in (f"{layer}.weight_v", f"{layer}.parametrizations.weight.original1"):
        if name in own:
            return own[name]
    raise _unknown(f"the head lacks {layer}.weight_v", where)


def _fill(module: nn.Module, weights: Weights, where: str) -> None:
    """Load a head's weights, all of them and no other."""
    held = {n: w for n, w in weights.items() if not n.endswith("num_batches_tracked")}
    try:
        lacking, left = module.load_state_dict(dict(held), strict=False)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise _unknown(f"the head's weights are of another shape: {first}", where) from None
    lacking = [name for name in lacking if not name.endswith("num_batches_tracked")]
    if lacking or left:
        raise _unknown(f"the head lacks {lacking} and has {left} too many", where)
    module.eval().requires_grad_(False)
    if not all(torch.isfinite(weight).all() for weight in module.state_dict().values()):
        raise _unknown("the head has values that are not finite", where)


def _unknown(what: str, where: str) -> CheckpointError:
    return CheckpointError(
        what,
        where=where,
        fix="give a folder that TAPE, its fork, Megatron, transformers or `run --protocol "
        "finetune` saved after training on a task",
    )
