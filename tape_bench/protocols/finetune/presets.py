"""What others did, as far as they say: recipes with their sources.

A value that a source leaves open is ours, see `Recipe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tape_bench.cards import TaskCard
from tape_bench.errors import unknown_name

Values = Mapping[str, Any]
"""Fields of `Recipe`."""


@dataclass(frozen=True)
class Preset:
    """One way of fine-tuning, and where it stands."""

    source: str
    values: Values
    kinds: Mapping[str, Values] = field(default_factory=dict)
    """Where a kind of task has its own."""
    tasks: Mapping[str, Values] = field(default_factory=dict)
    """Where a task has its own; these count before those of its kind."""


_SCHMIRLER = "Schmirler et al. 2024, Nature Communications 15:7407, Tables S3, S4, S11, S12"

_TAPE_TORCH: Values = {
    "head": "tape",
    "pool": "first",
    "learning_rate": 1e-4,
    "epsilon": 1e-6,
    "weight_decay": 0.01,
    "schedule": "linear",
    "warmup": 10_000,
    "batch": 1024,
    "epochs": 10,
    "patience": None,
    "clip": 1.0,
    "standardise": False,
}

PRESETS: Mapping[str, Preset] = {
    "tape-torch": Preset(
        "songlab-cal/tape, tape/main.py and tape/training.py: the defaults",
        _TAPE_TORCH,
    ),
    "proteinlm": Preset(
        "THUDM/ProteinLM, TAPE fork: its heads, with the defaults of TAPE's own main.py; the "
        "arguments of the published runs are not public, but for contacts a warm-up of 10 steps "
        "and batches of 8",
        {**_TAPE_TORCH, "head": "fork"},
        kinds={
            "token_class": {"head": "tape"},
            "residue_pair": {"warmup": 10, "batch": 8},
        },
    ),
    "peer": Preset(
        "Xu et al. 2022, PEER; DeepGraphLearning/PEER_Benchmark, config/single_task",
        {
            "head": "mlp",
            "pool": "mean",
            "optimiser": "adam",
            "learning_rate": 2e-5,
            "head_learning_rate": 2e-4,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup": 0,
            "batch": 32,
            "epochs": 100,
            "patience": None,
            "select": "metric",
            "clip": None,
        },
        kinds={
            "token_class": {"batch": 16, "crop": 550},
            "sequence_class": {"batch": 16, "crop": 550},
            "residue_pair": {"batch": 8, "epochs": 50, "crop": 350, "head": "tape"},
        },
    ),
    "schmirler-lora": Preset(
        _SCHMIRLER,
        {
            "moves": "lora",
            "learning_rate": 3e-4,
            "schedule": "linear",
            "warmup": 0,
            "batch": 8,
            "epochs": 50,
            "patience": None,
            "dropout": 0.2,
            "lora_rank": 4,
            "lora_alpha": 1.0,
            # In ESM, peft finds `dense` in the perceptron, too.
            "lora_maps": ("query", "key", "value", "output", "dense"),
        },
        kinds={"token_class": {"batch": 1, "epochs": 5}},
    ),
    "schmirler-full": Preset(
        _SCHMIRLER,
        {
            "moves": "all",
            "learning_rate": 2e-5,
            "schedule": "linear",
            "warmup": 0,
            "batch": 8,
            "epochs": 20,
            "patience": None,
            "dropout": 0.2,
        },
        tasks={"stability": {"epochs": 10}},
    ),
    "xtrimo-lora": Preset(
        "Chen et al. 2024, xTrimoPGLM; genbio-ai/ModelGenerator, experiments",
        {
            "head": "mlp128",
            "moves": "lora",
            "learning_rate": 1e-4,
            "schedule": "cosine",
            "warmup": 0.05,
            "batch": 16,
            "epochs": 15,
            "patience": None,
            "clip": 0.1,
            "lora_rank": 16,
            "lora_alpha": 16.0,
        },
        kinds={
            "residue_pair": {
                "learning_rate": 2e-4,
                "schedule": "constant",
                "epochs": 20,
                "batch": 4,
                "head": "linear",
            },
        },
    ),
}


def values_of(name: str, card: TaskCard) -> dict[str, Any]:
    """Return what a preset says of a task.

    Raises:
        UsageError: no such preset.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    found = PRESETS[name]
    return {**found.values, **found.kinds.get(card.kind, {}), **found.tasks.get(card.name, {})}
