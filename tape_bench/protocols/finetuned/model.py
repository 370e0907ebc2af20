"""`finetuned:FOLDER`: a model with the head of a task on it, from whoever trained it.

What a folder is follows from what lies in it: `tape-bench.json` of our own; `config.json` with the
name of a class of transformers that classifies; `pytorch_model.bin` of TAPE or of its fork for
ProteinLM; or a Megatron checkpoint with a `classification_head`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from tape_bench import paths
from tape_bench.bounded import parse_json, read_text
from tape_bench.cards import Kind, TaskCard
from tape_bench.embedding.windows import windows
from tape_bench.errors import CheckpointError, ModelError, TapeBenchError, UsageError
from tape_bench.models import load_model
from tape_bench.models.embedder import Embedder, Identity, Pool, Representation, Trainable
from tape_bench.models.placement import choose_device, tokens_that_fit
from tape_bench.models.proteinlm.fork_folder import is_fork_folder
from tape_bench.models.proteinlm.megatron.reader import MegatronCheckpoint
from tape_bench.models.tape_bert.checkpoint import read_task_head
from tape_bench.protocols.finetune import trained
from tape_bench.protocols.finetune.scorer import Scorer, values_of
from tape_bench.protocols.finetuned import hub
from tape_bench.protocols.finetuned.heads import PublishedScorer, Scores, of_megatron, of_tape

_TOKENS = {"cpu": 4_096, "cuda": 16_384}


@dataclass(frozen=True)
class TaskHead:
    """A head on its encoder, and what it was trained for, as far as its folder says."""

    kind: Kind
    outputs: int
    scores: Scores
    about: str
    """Whose it is, and what it reads."""
    task: str | None = None
    target: str | None = None
    labels: tuple[str, ...] | None = None
    """Names of its classes, in order."""
    centre: float = 0.0
    spread: float = 1.0


class FinetunedModel:
    """A model with the head of a task on it; a `TaskPredictor`, and a model like any other."""

    def __init__(
        self,
        base: Embedder,
        identity: Identity,
        embedder: Callable[[], Embedder],
        head: Callable[[], TaskHead],
        device: torch.device,
    ) -> None:
        """Prepare a model whose weights are read when they are first needed.

        Args:
            base: what it was trained from.
            identity: who it is.
            embedder: makes the model that represents sequences.
            head: makes the head on its encoder.
            device: where it computes.
        """
        self.base, self.identity, self.device = base, identity, device
        self._make_embedder, self._make_head = embedder, head
        self._order: list[int] | None = None

    @cached_property
    def head(self) -> TaskHead:
        """The head on its encoder; weights are read at the first look."""
        with torch.inference_mode(False):
            return self._make_head()

    @cached_property
    def _embedder(self) -> Embedder:
        return self._make_embedder()

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences by the trained encoder; see `Embedder`."""
        return self._embedder.embed(sequences, pool)

    def target_of(self, card: TaskCard) -> str:
        """Return which of a task's targets the head predicts; see `TaskPredictor`."""
        head = self.head
        made = f"a head for {head.kind.replace('_', ' ')}"
        if head.outputs > 1:
            made += f" with {head.outputs} classes"
        if head.task is not None:
            made += f", trained on {head.task}"
        named = [t for t in card.targets if head.target in (None, t.name)]
        fit = [t for t in named if (t.classes or 1) == head.outputs]
        if head.kind != card.kind or not fit or head.task not in (None, card.name):
            wanted = card.kind.replace("_", " ")
            sizes = " or ".join(str(t.classes) for t in card.targets if t.classes)
            raise UsageError(
                f"{self.identity.name} has {made}; {card.name} needs one for {wanted}"
                + (f" with {sizes} classes" if sizes else ""),
                where=self.identity.spec,
                fix="choose the task it was trained on, or a checkpoint that was trained on this",
            )
        target = fit[0]
        if head.labels and target.labels and sorted(head.labels) == sorted(target.labels):
            # Classes go by their names where both sides name them.
            self._order = [head.labels.index(label) for label in target.labels]
        return target.name

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once."""
        per_token = self.identity.hidden_size * 4 * 16
        return tokens_that_fit(self.device, _TOKENS[self.device.type], per_token)

    @torch.no_grad()
    def predict(
        self, sequences: Sequence[str], window: int | None = None
    ) -> list[NDArray[np.float32]]:
        """Predict, in one launch; see `TaskPredictor`."""
        head = self.head
        if window is not None and any(len(sequence) > window for sequence in sequences):
            if head.kind != "token_class":
                raise ModelError(
                    f"a protein of {max(map(len, sequences))} residues is longer than the {window} "
                    "that the model reads, and its head does not read windows",
                    fix="choose the length policy truncate or skip",
                )
            cuts = [windows(len(sequence), window) for sequence in sequences]
            pieces = [
                s[cut.start : cut.stop]
                for s, own in zip(sequences, cuts, strict=True)
                for cut in own
            ]
            scored = iter(head.scores(pieces))
            scores = [
                torch.cat([next(scored)[c.keep_from - c.start : c.keep_to - c.start] for c in own])
                for own in cuts
            ]
        else:
            scores = head.scores(sequences)
        if self._order is not None:
            scores = [one[..., self._order] for one in scores]
        values = values_of(head.kind, scores)
        if head.kind != "sequence_value":
            return list(values)
        return [one * np.float32(head.spread) + np.float32(head.centre) for one in values]


def load(
    argument: str | None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    base: str | None = None,
) -> FinetunedModel:
    """Load a model that was trained on a task, with its head.

    Args:
        argument: the folder.
        dtype: precision of the representations that `embed` makes; predictions are in float32.
        device: `cpu`, `cuda` or `cuda:N`.
        base: the model that it was trained from, where that lies elsewhere now than it did then.

    Raises:
        UsageError: no folder is given.
        CheckpointError: it holds no trained model, or its base is another one.
    """
    if not argument:
        raise UsageError("finetuned needs a folder", fix="write finetuned:FOLDER")
    folder, spec = paths.expand(argument), f"finetuned:{argument}"
    place = choose_device(device)
    options = {"dtype": dtype, "device": device}
    if (folder / trained.ABOUT).is_file():
        return _ours(folder, spec, options, place, base)
    if base is not None:
        raise UsageError(
            "only a folder that `run --protocol finetune` wrote has a base", fix="leave base out"
        )
    if hub.is_classifier(folder):
        return _hub(folder, spec, options, place)
    if is_fork_folder(folder):
        return _tape(folder, argument, options, place)
    return _megatron(folder, argument, options, place)


def _ours(
    folder: Path,
    spec: str,
    options: dict[str, str | None],
    place: torch.device,
    given: str | None,
) -> FinetunedModel:
    about = trained.read_about(folder)
    named = given or about.base.spec
    layer = {} if about.base.layer is None else {"layer": about.base.layer}
    try:
        base = load_model(named, **options, **layer)
    except TapeBenchError as error:
        if given is not None:
            raise
        raise CheckpointError(
            f"the model that this was trained from cannot be loaded: {error.what}",
            where=f"{folder / trained.ABOUT}: {named}",
            fix="say where it is now by -M base=MODEL",
        ) from error
    if not isinstance(base, Trainable) or base.identity.weights_digest != about.base.weights_digest:
        raise CheckpointError(
            f"{named} is not the model that this was trained from: {about.base.name}, revision "
            f"{about.base.revision}",
            where=str(folder / trained.ABOUT),
            fix="give that one by -M base=MODEL",
        )
    model: Trainable = base
    digest = _digest(folder, (trained.HEAD, trained.ENCODER, trained.ADAPTER))
    identity = dataclasses.replace(
        base.identity,
        spec=spec,
        name=f"{base.identity.name}-{about.task}",
        revision=digest[:12],
        weights_digest=hashlib.sha256(f"{about.base.weights_digest} {digest}".encode()).hexdigest(),
        reading={
            **base.identity.reading,
            "head": f"{about.head}, pool {about.pool}",
            "what_moved": about.what_moved,
            "trained_on": f"{about.task}, {about.target}, seed {about.seed}",
        },
        control=False,
    )

    def embedder() -> Embedder:
        return model.retrained(trained.encoder_weights(folder, about, model.to_train), identity)

    def head() -> TaskHead:
        network = model.to_train()
        trained.load_into(network, folder, about)
        scorer = Scorer(network, about.kind, about.head, about.pool, about.outputs)
        trained.load_head(folder, scorer.head)
        scorer.eval().requires_grad_(False)
        return TaskHead(
            about.kind,
            about.outputs,
            scorer,
            identity.reading["head"],
            about.task,
            about.target,
            centre=about.centre,
            spread=about.spread,
        )

    return FinetunedModel(base, identity, embedder, head, place)


def _tape(
    folder: Path, argument: str, options: dict[str, str | None], place: torch.device
) -> FinetunedModel:
    said = parse_json(read_text(folder / "config.json", 1 << 20))
    weights = read_task_head(folder)
    where = str(folder / "pytorch_model.bin")
    published = of_tape(weights, where)
    fork = isinstance(said, dict) and _is_fork(folder)
    family = "proteinlm" if fork else "tape_bert"
    more = {} if fork else {"first": "tanh"}
    base = load_model(f"{family}:{argument}", **options, **more)
    return _published(base, folder, f"finetuned:{argument}", published, place)


def _megatron(
    folder: Path, argument: str, options: dict[str, str | None], place: torch.device
) -> FinetunedModel:
    checkpoint = MegatronCheckpoint(folder)
    published = of_megatron(checkpoint.task_head(), str(folder))
    base = load_model(f"proteinlm:{argument}", **options)
    return _published(base, folder, f"finetuned:{argument}", published, place)


def _published(
    base: Embedder, folder: Path, spec: str, published: object, place: torch.device
) -> FinetunedModel:
    from tape_bench.protocols.finetuned.heads import Head

    assert isinstance(published, Head)
    model = cast(Trainable, base)
    state = published.module.state_dict()
    told = hashlib.sha256(str(base.identity.weights_digest).encode())
    for name in sorted(state):
        told.update(name.encode())
        told.update(state[name].detach().contiguous().numpy().tobytes())
    identity = dataclasses.replace(
        base.identity,
        spec=spec,
        revision=told.hexdigest()[:12],
        weights_digest=told.hexdigest(),
        reading={
            **base.identity.reading,
            "head": f"{published.origin}, on {published.reads.replace('first', 'the first token')}",
        },
    )

    def head() -> TaskHead:
        scorer = PublishedScorer(model.to_train(), published).to(place).eval()
        scorer.requires_grad_(False)
        return TaskHead(published.kind, published.outputs, scorer, identity.reading["head"])

    return FinetunedModel(base, identity, lambda: base, head, place)


def _hub(
    folder: Path, spec: str, options: dict[str, str | None], place: torch.device
) -> FinetunedModel:
    base = load_model(f"hf:{folder}", **options)
    digest = base.identity.weights_digest or ""
    identity = dataclasses.replace(
        base.identity,
        spec=spec,
        revision=digest[:12],
        reading={**base.identity.reading, "head": f"transformers' {hub.architecture(folder)}"},
    )

    def head() -> TaskHead:
        found = hub.load(folder, place)
        return TaskHead(
            found.kind, found.outputs, found, identity.reading["head"], labels=found.labels
        )

    return FinetunedModel(base, identity, lambda: base, head, place)


def _is_fork(folder: Path) -> bool:
    from tape_bench.models.tensor_files import Tensors

    with Tensors([folder / "pytorch_model.bin"]) as tensors:
        return any(".input_ln." in name for name in tensors)


def _digest(folder: Path, names: Sequence[str]) -> str:
    told = hashlib.sha256()
    for name in names:
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                told.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return told.hexdigest()
