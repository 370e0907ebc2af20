"""Loading a network with transformers, and believing it only where every weight is the file's.

The library draws weights at random where a file lacks them, takes the file's precision where it is
not told, and says so in a log at most.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tape_bench import paths
from tape_bench.data.digests import remembered
from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.huggingface.hub import INSTALL, Checkpoint, weights_among
from tape_bench.models.huggingface.recipe import Recipe
from tape_bench.models.zip_checksums import check_pickle

_MAY_BE_MISSING = re.compile(r"(^|\.)(pooler\.|contact_head\.|position_ids$)")
"""What representations and token scores do not go through."""

_OF_OLD = re.compile(r"(^|\.)(position_ids|inv_freq)$")
"""Constants that older versions of the library kept in the file."""

_HEADS = re.compile(r"^(lm_head|cls\.predictions)\.")
"""What scores hidden residues."""


@dataclass(frozen=True)
class Loaded:
    """A network, all of whose weights are the file's."""

    encoder: nn.Module
    """Token ids and a mask to hidden states."""
    masked: nn.Module | None
    """The encoder with its masked-language-model head; None where the file has no such head."""
    left_out: tuple[str, ...]
    """Weights of the file that belong to other heads."""


def load_network(
    checkpoint: Checkpoint, recipe: Recipe, dtype: torch.dtype, device: torch.device
) -> Loaded:
    """Load a model's network in a precision, onto a device.

    Raises:
        ModelError: transformers has no such class, or is too old for it.
        CheckpointError: weights are missing, left over, of another shape, not finite, or cannot
            be read.
    """
    network, missing, unexpected = read_pretrained(
        checkpoint, recipe.masked or recipe.architecture, dtype
    )
    headless = recipe.masked is None
    if recipe.masked is not None and any(map(_HEADS.match, missing)):
        # It was drawn at random: the file is of the bare network.
        headless = True
        missing = [name for name in missing if not _HEADS.match(name)]
    lost = [name for name in missing if not _MAY_BE_MISSING.search(name)]
    _refuse("lacks", lost, checkpoint, recipe)
    prefix = getattr(network, "base_model_prefix", "") + "."
    inside = [name for name in unexpected if name.startswith(prefix)]
    _refuse(
        "has too many, by",
        [n for n in inside if not _OF_OLD.search(n) and not _MAY_BE_MISSING.search(n)],
        checkpoint,
        recipe,
    )
    broken = [name for name, weight in network.named_parameters() if not weight.isfinite().all()]
    _refuse("has values that are not finite in", broken, checkpoint, recipe)
    network = network.to(device).eval().requires_grad_(False)
    encoder = network if recipe.masked is None else network.base_model
    others = sorted({name for name in unexpected if name not in inside})
    return Loaded(encoder, None if headless else network, tuple(others))


def read_pretrained(
    checkpoint: Checkpoint, architecture: str, dtype: torch.dtype
) -> tuple[Any, list[str], list[str]]:
    """Have transformers read a network; return what it drew at random and what it left aside.

    Raises:
        ModelError: transformers has no such class.
        CheckpointError: weights are of another shape, or cannot be read.
    """
    import transformers

    make: Any = getattr(transformers, architecture, None)
    if not hasattr(make, "from_pretrained"):
        raise ModelError(
            f"transformers {transformers.__version__} has no {architecture}",
            where=str(checkpoint.folder),
            fix=f"with --upgrade: {INSTALL}; or correct the recipe",
        )
    for file in weight_files(checkpoint):
        if file.suffix == ".bin":
            check_pickle(file)
    with quiet():
        try:
            network, info = make.from_pretrained(
                checkpoint.folder,
                dtype=dtype,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                attn_implementation="sdpa",
            )
        except Exception as error:
            # The library has no errors of its own; whatever it is, the files are at fault.
            raise CheckpointError(
                f"transformers cannot load it as {architecture}: {_first_line(error)}",
                where=str(checkpoint.folder),
                fix="get the files again; see that config.json and the weights belong together",
            ) from error
    if info.get("mismatched_keys"):
        raise CheckpointError(
            f"weights of another shape than config.json says: {info['mismatched_keys']}",
            where=str(checkpoint.folder),
            fix="get the files again",
        )
    return network, sorted(info["missing_keys"]), sorted(info["unexpected_keys"])


def _refuse(fault: str, names: list[str], checkpoint: Checkpoint, recipe: Recipe) -> None:
    if names:
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        raise CheckpointError(
            f"the checkpoint {fault} {len(names)} weights of {recipe.architecture}: {shown}",
            where=str(checkpoint.folder),
            fix="the library would fill them in at random; get a checkpoint of this architecture",
        )


def weight_files(checkpoint: Checkpoint) -> list[Path]:
    """Return the files that hold the weights.

    Raises:
        CheckpointError: there are none.
    """
    folder = checkpoint.folder
    names = weights_among([path.name for path in folder.iterdir() if path.is_file()])
    if not names:
        raise CheckpointError(
            "there are no weights",
            where=str(folder),
            fix="give a folder with model.safetensors or pytorch_model.bin",
        )
    return [folder / name for name in names]


def weights_digest(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of the weight files, remembered while they do not change.

    Raises:
        CheckpointError: there are none, or one is gone.
    """
    files = weight_files(checkpoint)

    def look() -> str:
        whole = hashlib.sha256()
        for file in files:
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            whole.update(f"{file.name} {content}\n".encode())
        return whole.hexdigest()

    try:
        return remembered(files, "hugging face weights", paths.cache(), look)
    except OSError as error:
        raise CheckpointError(
            f"cannot read the weights: {error.strerror}", where=error.filename
        ) from None


def stored_dtype(config: dict[str, Any]) -> torch.dtype:
    """Return the precision a configuration says its weights are in; float32 where it is silent."""
    said = config.get("dtype", config.get("torch_dtype"))
    known = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    return known.get(str(said).removeprefix("torch."), torch.float32)


def tokens_of(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the tokens of a model and their ids.

    Raises:
        ModelError: the folder has no tokenizer, or it cannot be read.
    """
    folder = checkpoint.folder
    plain = folder / "vocab.txt"
    if plain.is_file():
        if plain.stat().st_size > 1 << 20:
            raise ModelError("too large for a protein vocabulary", where=str(plain))
        try:
            words = plain.read_text("utf-8").splitlines()
        except ValueError:
            raise ModelError("the vocabulary is no text", where=str(plain)) from None
        return {word.strip(): id for id, word in enumerate(words)} | _added(folder)
    import transformers

    with quiet():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
            found: dict[str, int] = tokenizer.get_vocab()
        except Exception as error:
            raise ModelError(
                f"the model has no tokenizer that can be read: {_first_line(error)}",
                where=str(folder),
                fix="the folder needs vocab.txt, tokenizer.json or spiece.model, as on the hub",
            ) from error
    if not found:
        raise ModelError("the tokenizer has no tokens", where=str(folder), fix="get it again")
    return found


def _added(folder: Path) -> dict[str, int]:
    """Return tokens that were added to a vocabulary later."""
    path = folder / "added_tokens.json"
    if not path.is_file() or path.stat().st_size > 1 << 20:
        return {}
    try:
        added = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ModelError("no JSON", where=str(path), fix="get the file again") from None
    return {str(token): id for token, id in _items(added) if isinstance(id, int) and id < 1 << 20}


def _items(found: object) -> Iterable[tuple[object, object]]:
    return found.items() if isinstance(found, dict) else ()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's warnings and progress bars away: what matters is looked at here."""
    from transformers.utils import logging as theirs

    logging: Any = theirs
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
