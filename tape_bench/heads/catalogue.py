"""Which heads there are for each kind of task, and how each is trained; nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass

from tape_bench.cards import Kind


@dataclass(frozen=True)
class FitConfig:
    """How a head is trained: AdamW, and an early stop by the validation loss."""

    learning_rate: float
    weight_decay: float
    batch: int
    """Residues a step for heads that score residues, proteins a step for all others."""
    max_epochs: int = 100
    gain: float = 1e-3
    """Share by which the validation loss must fall for an epoch to count as better."""
    decay: float = 0.5
    """Factor on the learning rate after an epoch that is not better."""
    patience: int = 5
    """Epochs in a row that are not better after which training ends."""


@dataclass(frozen=True)
class HeadEntry:
    """A head: where its class is, and how it is trained."""

    place: str
    """`module:Class`, or a function instead of the class."""
    recipe: FitConfig | None
    """None for a head that is solved, not trained step by step."""
    aligned: bool = False
    """True if it reads the residues of a whole protein position by position."""
    note: str = ""
    """What a reader of the record should know about this head."""


_LINEAR = "tape_bench.heads.linear:Linear"
_MLP = "tape_bench.heads.mlp:SequenceMLP"

HEADS: dict[Kind, dict[str, HeadEntry]] = {
    "token_class": {
        "linear": HeadEntry(_LINEAR, FitConfig(1e-2, 0.0, batch=8192)),
        "tape": HeadEntry(
            "tape_bench.heads.token_conv:TokenConv",
            FitConfig(1e-3, 0.01, batch=2048, patience=3),
            note="padding is masked and batch norm keeps to the training split's statistics: "
            "a protein's scores do not depend on its batch",
        ),
        "bilstm": HeadEntry(
            "tape_bench.heads.token_lstm:TokenLSTM",
            FitConfig(3e-3, 0.01, batch=4096, max_epochs=20, patience=2),
            note="a bidirectional LSTM over the whole chain: two layers of 64 units a "
            "direction; padding masked: a protein's scores do not depend on its batch",
        ),
    },
    "sequence_class": {
        # A thousand classes of ten proteins each: at 1e-2 a wide representation overfits at once.
        "linear": HeadEntry(_LINEAR, FitConfig(1e-3, 0.0, batch=64)),
        "tape": HeadEntry(_MLP, FitConfig(1e-3, 0.01, batch=64)),
    },
    "sequence_value": {
        "linear": HeadEntry(_LINEAR, FitConfig(1e-2, 0.0, batch=64)),
        "tape": HeadEntry(_MLP, FitConfig(1e-3, 0.01, batch=64)),
        "aligned_ridge": HeadEntry(
            "tape_bench.heads.aligned:AlignedRidge",
            None,
            aligned=True,
            note="ridge regression on position-wise features, its penalty chosen on valid",
        ),
    },
    "residue_pair": {
        "linear": HeadEntry("tape_bench.heads.pair:PairLinear", FitConfig(1e-3, 0.0, batch=1)),
        "tape": HeadEntry(
            "tape_bench.heads.pair:PairProductDifference",
            FitConfig(1e-3, 0.01, batch=1),
            note="feature dropout of 0.5 drawn once a protein and channel, not once a pair; "
            "differences left out, as they cancel",
        ),
        "fork": HeadEntry(
            "tape_bench.heads.pair_resnet:PairResNet",
            # Batch norm over one protein says too little of the next: the loss on valid jumps.
            FitConfig(1e-3, 0.01, batch=4, max_epochs=20, patience=3),
            note="the residual network of ProteinLM's TAPE fork; feature dropout of 0.5 drawn "
            "once a protein and channel, not once a pair; padding masked: a protein's scores do "
            "not depend on its batch; no special tokens",
        ),
        "fork_as_published": HeadEntry(
            "tape_bench.heads.pair_resnet:as_published",
            FitConfig(1e-3, 0.01, batch=8, max_epochs=20, patience=3),
            note="as `fork`, but padding enters convolutions and batch norm: a protein's scores "
            "depend on up to seven others in its batch; padding is zero, where the fork has what "
            "its encoder makes of it",
        ),
        "megatron": HeadEntry(
            "tape_bench.heads.pair_mlp:PairMLP",
            FitConfig(1e-3, 0.01, batch=1, patience=3),
            note="dropout of 0.1 drawn once a protein, unit and direction, not once a pair; "
            "no special tokens",
        ),
    },
}
"""Kind of task -> head name -> head."""
