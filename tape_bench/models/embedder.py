"""What every model adapter promises: who it is, and sequences in, representations out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tape_bench.cards import TaskCard
from tape_bench.data.vocabulary import Vocabulary
from tape_bench.errors import UsageError, unknown_name
from tape_bench.models.evidence import Evidence

if TYPE_CHECKING:
    from torch import Tensor

    from tape_bench.models.trainable import TrainableNetwork

Pool = Literal["residues", "mean", "first"]
Representation = NDArray[np.float32]

Batch = list[Representation] | NDArray[np.float32]
"""One a sequence; those that are of one shape may be the rows of one array."""


@dataclass(frozen=True)
class Identity:
    """Who a model is: everything about it that can change a score, and what readers ask for."""

    spec: str
    """What the user typed, e.g. `onehot` or `proteinlm:checkpoints/3b`."""
    name: str
    """Short name for tables and paths, e.g. `onehot` or `proteinlm-3b`."""
    revision: str
    """Version of the weights, or of the definition for a model without weights."""
    weights_digest: str | None
    """SHA-256 over the weights read; None for a model that has none."""
    parameters: int
    """Number of trained parameters; 0 for a control."""
    hidden_size: int
    """Width of one representation."""
    longest_input: int | None
    """Most residues one sequence may have; None where there is no limit."""
    pretraining: tuple[str, ...] | None
    """Data sets seen in pre-training: () means none at all, None means nobody knows."""
    dtype: str = "float32"
    """Precision the network computes in."""
    layer: int | None = None
    """Which hidden layer the representation is; None for the last (or for no layers)."""
    reading: dict[str, str] = field(default_factory=dict)
    """Further choices that change values: special tokens, GELU form, and so on."""
    control: bool = False
    """True for a baseline without pre-training that others are measured against."""
    kinds: tuple[str, ...] | None = None
    """Task kinds the model can serve; None for all."""
    only_head: str | None = None
    """The one head this model makes sense with; None for any."""
    rests_on: Evidence | None = None
    """What a user's model was seen to rest on; filled in when it is run, and None for ours."""

    def __post_init__(self) -> None:
        for name in ("pretraining", "kinds"):
            given = getattr(self, name)
            if isinstance(given, str):
                # Text is a sequence of letters, each of which would be a data set.
                given = (given,)
            if given is not None:
                object.__setattr__(self, name, tuple(given))


def check_request(sequences: Sequence[str], pool: str) -> None:
    """Refuse what would be answered with something else than was meant.

    Raises:
        UsageError: one sequence instead of a list of them, whose letters would each be taken for
            a protein; or no such pooling.
    """
    if isinstance(sequences, str):
        raise UsageError(
            f"sequences must be a list, not the one sequence {sequences[:20]!r}",
            fix=f"write embed([{sequences[:20]!r}])",
        )
    if pool not in get_args(Pool):
        raise unknown_name("pooling", pool, get_args(Pool))


@runtime_checkable
class Embedder(Protocol):
    """A model adapter. Anything with these two members can be evaluated."""

    @property
    def identity(self) -> Identity:
        """Who the model is."""

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences, in the order given, special tokens left out.

        Args:
            sequences: protein sequences in one-letter code, upper case.
            pool: `residues` for one vector a residue, `mean` over residues, or `first`
                for the model's first token.

        Returns:
            float32 arrays `[residues, hidden]` for `residues`, `[hidden]` otherwise.

        Raises:
            ModelError: a sequence is empty, longer than `longest_input`, or has letters
                outside the vocabulary.
        """


@dataclass(frozen=True)
class Packed:
    """What one launch came to."""

    representations: dict[Pool, Batch]
    """By pooling, one a sequence, in the order given."""
    tokens: int
    """Tokens that went through the network, special ones and padding included."""
    recomputed: int = 0
    """Sequences whose values overflowed in half precision and were computed again in float32."""


@runtime_checkable
class PackedEmbedder(Embedder, Protocol):
    """A model that computes sequences laid end to end, without padding, in one launch."""

    @property
    def special_tokens(self) -> int:
        """Tokens the model adds to each sequence."""

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once, as far as memory goes; all kinds count."""

    def embed_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Packed:
        """Represent sequences in one launch, pooled in each of these ways; see `embed`."""


@runtime_checkable
class QueuedEmbedder(PackedEmbedder, Protocol):
    """A packed model that begins a launch and goes on, as on a GPU, which computes by itself."""

    @property
    def launches_ahead(self) -> int:
        """Launches worth beginning before the first one's vectors are asked for; 0 on a CPU."""

    def queue_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Callable[[], Packed]:
        """Begin a launch, and return what waits for it; see `embed_packed`.

        The arrays may be views into those of the whole launch.
        """


@dataclass(frozen=True)
class Network:
    """A transformer's shape, from which its operations are counted without running it."""

    layers: int
    """Blocks that are gone through."""
    hidden: int
    inner: int
    """Width inside the perceptron."""
    dtype: str
    """Precision of its matrix products, e.g. `float32`: not always that of its weights."""
    device: str
    """Where it computes, e.g. `cpu` or `cuda:0`."""
    gated: bool = False
    """Whether the perceptron has a second widening product, as SwiGLU has."""


@runtime_checkable
class Described(Protocol):
    """A model that says what shape its network has: what `bench` needs to speak of operations."""

    def describe(self) -> Network:
        """Return the shape of the part of the network that representations go through."""


@runtime_checkable
class Noted(Protocol):
    """A model whose loading found something that the user should know."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence each."""


@runtime_checkable
class Partial(Protocol):
    """A model that cannot represent every sequence, and can tell beforehand which ones."""

    def check_sequences(self, sequences: Iterable[str]) -> None:
        """See that it can represent these.

        Raises:
            ModelError: it cannot; the message lists what lacks.
        """


@runtime_checkable
class HasVocabulary(Protocol):
    """A model whose tokens are known: they are part of what its vectors are kept under."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""


@runtime_checkable
class Changeable(Protocol):
    """A model that can tell whether it was changed after it was loaded, e.g. by training."""

    @property
    def changed(self) -> bool:
        """Whether it is no longer what its digest of weights says."""


@runtime_checkable
class AttentionMaps(Protocol):
    """A model that shows where its residues look."""

    def attention_maps(self, sequence: str) -> Iterator[NDArray[np.float32]]:
        """Yield the attention weights of one sequence, layer after layer, special tokens left out.

        One layer at a time: those of a large model together take gigabytes.

        Args:
            sequence: a protein, no longer than the model reads.

        Yields:
            `[heads, residues, residues]`; rows are those that look, and sum to at most 1, the
            rest being what they give to special tokens.

        Raises:
            ModelError: see `Embedder.embed`.
        """


@runtime_checkable
class MaskedLanguageModel(Protocol):
    """A model that can also say which token stands at a place: what `perplexity` needs."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""

    def token_logits(self, token_ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Score every vocabulary entry at every residue.

        Args:
            token_ids: residues as token ids, masked ones already replaced, `[residues]` each;
                special tokens are added by the model as it was pre-trained.

        Returns:
            Logits `[residues, vocabulary]` each, in the order given.
        """


@runtime_checkable
class Trainable(Embedder, Protocol):
    """A model whose network can be trained with a head on it, and be what it was trained to."""

    def to_train(self) -> TrainableNetwork:
        """Return a copy of the network that may be changed, in float32; the model stays as it is.

        Raises:
            CheckpointError: the weights are damaged.
            ModelError: this process has a part of the network only.
        """

    def retrained(self, weights: Mapping[str, Tensor], identity: Identity) -> Embedder:
        """Return the model with some of its weights replaced.

        Args:
            weights: by the names that they have in `to_train().weights`.
            identity: who it is then.

        Raises:
            CheckpointError: it has no such weights, or they are of another shape.
        """


@runtime_checkable
class VariantScorer(Protocol):
    """A model that scores variants against their parent, without any training."""

    @property
    def identity(self) -> Identity:
        """Who the model is."""

    def score_variants(self, parent: str, variants: Sequence[str]) -> NDArray[np.float32]:
        """Score variants, the higher the better; NaN where the score is undefined, `[variants]`."""


@runtime_checkable
class TaskPredictor(Embedder, Protocol):
    """A model with the head of a task on it, which predicts without any training."""

    def target_of(self, card: TaskCard) -> str:
        """Return which of a task's targets its head predicts.

        Raises:
            UsageError: none: the head is of another task, or of another size.
        """

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once."""

    def predict(
        self, sequences: Sequence[str], window: int | None = None
    ) -> list[NDArray[np.float32]]:
        """Predict, in one launch; see `scoring.predictions.Predictions` for what.

        Args:
            sequences: proteins.
            window: residues read at once of a longer one; None to read all whole.

        Returns:
            The values of each protein's items, end to end.
        """
