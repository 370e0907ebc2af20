"""Which heads there are for each kind of task, how each is found; nothing is imported."""

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
class SolveConfig:
    """How a head is solved: a convex problem, with a penalty chosen by the validation loss."""

    method: str
    """What is solved, by its name in the field."""
    penalties: tuple[float, ...]
    """Tried in this order, strongest first: factors of |weights|² (of half of it in logistic
    regression) beside the mean loss over items."""
    tolerance: float | None = None
    """How far the gradient must fall, as a share of that at zero weights; None: solved exactly."""
    window: int = 1
    """Residues that the score of one sees, itself in the middle."""


@dataclass(frozen=True)
class HeadEntry:
    """A head: where its class is, and how it is found."""

    place: str
    """`module:Class`, or a function instead of the class."""
    recipe: FitConfig | None
    """None for a head that is solved, not trained step by step."""
    solver: SolveConfig | None = None
    """None for a head that is trained."""
    units: int = 512
    """Of a network: multiplications for each number it reads; says whether several threads pay."""
    aligned: bool = False
    """True if it reads the residues of a whole protein position by position."""
    note: str = ""
    """What a reader of the record should know about this head."""


_MLP = "tape_bench.heads.mlp:SequenceMLP"
_SOLVED = "tape_bench.heads.solved"


def _powers(first: float, last: float, step: float) -> tuple[float, ...]:
    """Return powers of ten from one exponent down to another."""
    count = round((first - last) / step) + 1
    return tuple(10.0 ** (first - step * number) for number in range(count))


ALIGNED_PENALTIES = _powers(4, -2, 0.5)
"""Strongest first; the weakest is as good as none."""

_PROTEINLMS = {
    "fork": HeadEntry(
        "tape_bench.heads.mlp:fork",
        FitConfig(1e-3, 0.01, batch=64),
        units=1024,
        note="of ProteinLM's TAPE fork: as `tape`, with 1024 units; the fork reads the first token",
    ),
    "megatron": HeadEntry(
        "tape_bench.heads.tanh:TanhMLP",
        FitConfig(1e-3, 0.01, batch=64),
        units=1024,
        note="of ProteinLM's Megatron code: pooler, tanh, dropout of 0.1, linear; it reads the "
        "first token there",
    ),
}
"""Heads for whole proteins."""

HEADS: dict[Kind, dict[str, HeadEntry]] = {
    "token_class": {
        "linear": HeadEntry(
            f"{_SOLVED}:SoftmaxLearner",
            None,
            SolveConfig("multinomial logistic regression", _powers(1, -5, 1), 1e-3),
        ),
        "window": HeadEntry(
            f"{_SOLVED}:SoftmaxLearner",
            None,
            SolveConfig("multinomial logistic regression", _powers(1, -5, 1), 1e-3, window=7),
            note="linear in the seven residues that TAPE's head sees",
        ),
        "tape": HeadEntry(
            "tape_bench.heads.token_conv:TokenConv",
            FitConfig(1e-3, 0.01, batch=2048, patience=3),
            units=5 * 512,
            note="padding is masked and batch norm keeps to the training split's statistics: "
            "a protein's scores do not depend on its batch",
        ),
        "megatron": HeadEntry(
            "tape_bench.heads.tanh:TanhMLP",
            FitConfig(1e-3, 0.01, batch=2048, patience=3),
            units=1024,
            note="of ProteinLM's Megatron code: linear, tanh, dropout of 0.1, linear",
        ),
        "bilstm": HeadEntry(
            "tape_bench.heads.token_lstm:TokenLSTM",
            FitConfig(3e-3, 0.01, batch=4096, max_epochs=20, patience=2),
            note="a bidirectional LSTM over the whole chain: two layers of 64 units a "
            "direction; padding masked: a protein's scores do not depend on its batch",
        ),
    },
    "sequence_class": {
        "linear": HeadEntry(
            f"{_SOLVED}:SoftmaxLearner",
            None,
            SolveConfig("multinomial logistic regression", _powers(1, -5, 1), 1e-3),
        ),
        "tape": HeadEntry(_MLP, FitConfig(1e-3, 0.01, batch=64)),
        **_PROTEINLMS,
    },
    "sequence_value": {
        "linear": HeadEntry(
            f"{_SOLVED}:RidgeLearner",
            None,
            SolveConfig("ridge regression", _powers(1, -8, 0.5)),
        ),
        "tape": HeadEntry(_MLP, FitConfig(1e-3, 0.01, batch=64)),
        **_PROTEINLMS,
        "aligned_ridge": HeadEntry(
            f"{_SOLVED}:AlignedRidgeLearner",
            None,
            SolveConfig("ridge regression on aligned positions", ALIGNED_PENALTIES),
            aligned=True,
            note="the penalty is that of the sum over proteins, not of their mean",
        ),
    },
    "residue_pair": {
        "linear": HeadEntry(
            f"{_SOLVED}:PairLogisticLearner",
            None,
            SolveConfig("logistic regression on products of channels", _powers(1, -6, 1), 1e-3),
            note="every protein weighs the same; of more than 2^24 pairs, evenly spaced proteins",
        ),
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

_TRAINED = {
    "linear": "tape_bench.heads.linear:Linear",
    "mlp": "tape_bench.heads.linear:MLP",
    "mlp128": "tape_bench.heads.linear:mlp128",
}


def beside_encoder(kind: Kind) -> dict[str, str]:
    """Return the heads that can be trained together with an encoder, and where each is."""
    known = {name: entry.place for name, entry in HEADS[kind].items() if entry.recipe is not None}
    return {"linear": known["tape"]} | known if kind == "residue_pair" else known | _TRAINED
