"""What people ask for that is not here, and what they can do instead.

Fine-tuning has no protocol of its own. Whoever asks for it learns that, and the way there that
does exist; so does who leaves a model's family out.
"""

from __future__ import annotations

import re
from pathlib import Path

from tape_bench.errors import UsageError

_PAGE = "docs/models.md"

_HUB = re.compile(
    r"huggingface:.*|(facebook|rostlab|elnaggarlab|biohub|westlake-repl|zjunlp)/.+"
    r"|(esm|prot_?(t5|bert|xlnet|albert|electra)|prostt5|ankh|saprot|progen|dplm|amplify"
    r"|ontoprotein|antiberty).*",
    re.IGNORECASE,
)
"""The hub, its owners of protein models, and the models most people mean."""

_VECTORS = re.compile(r"(precomputed|embeddings):.*|.+\.(npz|npy|h5|hdf5|parquet)", re.IGNORECASE)


def model(spec: str) -> UsageError | None:
    """Say what to do for a model spec that names no family; None where there is nothing to add."""
    if _HUB.fullmatch(spec):
        return UsageError(
            f"{spec!r} does not say where the model is from",
            fix=f"for one of the Hugging Face hub write hf:{spec.removeprefix('huggingface:')}; "
            "`tape-bench models hf` lists short names, and hf:OWNER/NAME and hf:FOLDER will do",
        )
    if _VECTORS.fullmatch(spec):
        return UsageError(
            f"{spec!r} does not say what it is",
            fix=f"for vectors computed elsewhere write vectors:{spec.partition(':')[2] or spec}",
        )
    place, _, name = spec.partition(":")
    if place.endswith(".py"):
        return UsageError(
            f"a Python file is named python:FILE.py:CLASS, not {spec!r}",
            fix=f"write python:{place}:{name or 'CLASS'}",
        )
    if _exists(spec):
        return UsageError(
            f"{spec!r} is a path, and does not say what kind of model lies there",
            fix=f"write hf:{spec}, proteinlm:{spec}, tape_bert:{spec}, or for any other model a "
            f"class of your own ({_PAGE})",
        )
    return None


def _exists(place: str) -> bool:
    try:
        return Path(place).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False  # too long for a path, or the home of a user who is not there


def protocol(name: str) -> UsageError | None:
    """Say what to do for a protocol that is not there; None where there is nothing to add."""
    if re.fullmatch(r"(fine-?_?tun(e|ed|ing)|full|lora|end-?_?to-?_?end)", name.lower()):
        return UsageError(
            f"there is no protocol {name!r}",
            fix="--protocol finetune trains encoder and head together (low ranks by "
            "-P moves=lora); --protocol finetuned scores a checkpoint that is trained already",
        )
    if re.fullmatch(r"zero-?_?shot|unsupervised|likelihoods?", name.lower()):
        return UsageError(
            f"there is no protocol {name!r}",
            fix="--protocol zero_shot scores variants by a model's likelihoods; `tape-bench "
            "perplexity` scores guesses of hidden residues",
        )
    return None
