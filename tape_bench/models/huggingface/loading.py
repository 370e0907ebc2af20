"""`hf:NAME`: from what is typed to a model that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict

import torch

from tape_bench import paths
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.huggingface.adapter import HuggingFace, MaskedHuggingFace
from tape_bench.models.huggingface.families import recipe_of
from tape_bench.models.huggingface.hub import config_of, find, require
from tape_bench.models.huggingface.network import stored_dtype, tokens_of
from tape_bench.models.huggingface.packed import PackedHuggingFace
from tape_bench.models.huggingface.recipe import read_recipe, vocabulary
from tape_bench.models.huggingface.shape import shape_of
from tape_bench.models.placement import choose_device, choose_dtype
from tape_bench.parallel.tensor import ALONE, TensorParallel

Engine = Literal["packed", "transformers"]


def load(
    argument: str | None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    layer: int | None = None,
    recipe: Path | None = None,
    engine: Engine | None = None,
    tensor_parallel: TensorParallel = ALONE,
) -> HuggingFace | PackedHuggingFace:
    """Load a protein language model of the Hugging Face hub, or of a folder laid out like one.

    Args:
        argument: a short name (`esm2_t33_650M`), a repository (`OWNER/NAME`) or a folder; the
            first two may end in `@revision`.
        dtype: precision; None for float32 on a CPU, and on a GPU what the checkpoint has.
        device: `cpu`, `cuda` or `cuda:N`; a GPU if there is one.
        layer: take the representation after this block, 0 for the embeddings; the last if not
            given, which is after the final norm where there is one.
        recipe: a TOML file that says how a model of no known family is read.
        engine: `packed`, our own network without padding, is the default for ESM-1b, ESM-2, SaProt
            and BERTs; `transformers`, which pads, is that of all others.
        tensor_parallel: this process's part of the network.

    Raises:
        UsageError: no model is named, or the name cannot be one.
        ModelError: the extra is not installed; the hub has no such model, or cannot be reached;
            its family is not known; or the options ask for what it does not have.
        CheckpointError: its weights cannot be read, or are not those of its architecture.
    """
    if not argument:
        raise UsageError("hf needs a model", fix="write hf:esm2_t6_8M, hf:OWNER/NAME or hf:FOLDER")
    require()
    checkpoint = find(argument)
    where = str(checkpoint.folder)
    config = config_of(checkpoint)
    tokens = tokens_of(checkpoint)
    read = read_recipe(paths.expand(recipe)) if recipe else recipe_of(config, tokens, where)
    letters = vocabulary(read, tokens, where)
    rows = config.get("vocab_size")
    if isinstance(rows, int) and rows < len(letters.tokens):
        raise ModelError(
            f"the tokenizer has {len(letters.tokens)} tokens, the network {rows}",
            where=where,
            fix="they are of two models; get the files again",
        )
    place = choose_device(device)
    precision = choose_dtype(dtype, place, stored_dtype(config))
    about: _About = {
        "spec": f"hf:{argument}",
        "dtype": precision,
        "device": place,
        "layer": layer,
    }
    shape = None if engine == "transformers" else shape_of(config, read)
    if shape is not None:
        return PackedHuggingFace(
            checkpoint, shape, read, letters, **about, tensor_parallel=tensor_parallel
        )
    if engine == "packed" or tensor_parallel.size > 1:
        raise ModelError(
            f"{checkpoint.name} ({read.family}) does not run on the packed engine"
            + (", which --tensor-parallel needs" if tensor_parallel.size > 1 else ""),
            where=where,
            fix="leave it out, and transformers computes it",
        )
    if precision == torch.float16 and not (read.float16 and place.type == "cuda"):
        raise ModelError(
            f"{checkpoint.name} is not computed in float16"
            + (" on a CPU, which is slow in it" if read.float16 else ": its values overflow"),
            fix="choose float32, or bfloat16 for half the memory",
        )
    kind = MaskedHuggingFace if read.masked else HuggingFace
    return kind(checkpoint, config, read, letters, **about)


class _About(TypedDict):
    spec: str
    dtype: torch.dtype
    device: torch.device
    layer: int | None
