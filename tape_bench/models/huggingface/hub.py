"""From what a user types to a folder with a model's files, with one clear error a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tape_bench import paths
from tape_bench.bounded import parse_json
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.huggingface.names import SHORT
from tape_bench.text import shown

INSTALL = "pip install 'tape-bench[hf]' (in a checkout: pip install '.[hf]')"

LARGEST_CONFIG = 1 << 22
"""Bytes that a `config.json` may have."""

LARGEST_SIZE = 1 << 24
_LAYERS = ("num_hidden_layers", "num_layers", "num_decoder_layers")
_SIZES = (
    *("hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"),
    *("d_model", "num_heads", "d_kv", "d_ff"),
)

MOST_LAYERS = 1_000
"""Layers that it may speak of; the deepest networks have about a hundred."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HTTP = re.compile("httpx|requests|urllib3")
_TOKENIZER = ("*.txt", "*.json", "*.model")


@dataclass(frozen=True)
class Checkpoint:
    """A model's files, on this machine."""

    folder: Path
    name: str
    """Short name for tables and paths."""
    repository: str | None
    """Where it is from on the hub; None for a folder."""
    revision: str | None
    """The commit on the hub that the files are of; None for a folder."""


def require() -> None:
    """See that what reads these models is installed.

    Raises:
        ModelError: it is not; the message has the line that installs it.
    """
    try:
        import huggingface_hub
        import transformers
    except ImportError as error:
        raise ModelError(
            f"Hugging Face's models need the package {error.name}", fix=INSTALL
        ) from None
    del huggingface_hub
    if int(transformers.__version__.split(".")[0]) < 5:
        raise ModelError(
            f"transformers {transformers.__version__} is too old; 5 or newer is needed",
            fix=f"with --upgrade: {INSTALL}",
        )


def find(argument: str) -> Checkpoint:
    """Find a model's files: a folder's own, or the hub's, fetched if they are not here yet.

    Args:
        argument: a short name, a repository of the hub, or a folder; the first two may end in
            `@revision`, a branch, tag or commit.

    Raises:
        UsageError: neither a folder nor a name that a repository can have.
        ModelError: the hub has no such model, keeps it behind a gate, or cannot be reached.
    """
    folder = paths.expand(argument)
    if _is_folder(folder):
        return Checkpoint(folder, _slug(folder.resolve().name), None, None)
    name, _, revision = argument.partition("@")
    repository = SHORT.get(name, name)
    if not _REPOSITORY.fullmatch(repository) or (
        "/" not in repository and repository not in SHORT.values()
    ):
        raise UsageError(
            f"{argument!r} is no folder, no short name and no repository of the hub",
            fix=f"write OWNER/NAME, a folder with a config.json, or one of {', '.join(SHORT)}",
        )
    with _told(repository, revision):
        return _fetched(repository, revision or None)


def _fetched(repository: str, revision: str | None) -> Checkpoint:
    import huggingface_hub
    from huggingface_hub import constants, errors

    here = huggingface_hub.try_to_load_from_cache(repository, "config.json", revision=revision)
    kept = Path(here).parent if isinstance(here, str) else None
    if constants.HF_HUB_OFFLINE and kept is None:
        raise errors.LocalEntryNotFoundError(repository)
    if constants.HF_HUB_OFFLINE:
        folder = kept
    else:
        try:
            info = huggingface_hub.HfApi().model_info(repository, revision=revision, timeout=30)
        except Exception as error:
            if kept is None or not _unreachable(error):
                raise
            folder = kept
        else:
            files = [file.rfilename for file in info.siblings or ()]
            patterns = [*_TOKENIZER, *weights_among(files)]
            folder = Path(
                huggingface_hub.snapshot_download(
                    repository, revision=revision, allow_patterns=patterns
                )
            )
    assert folder is not None
    # It is named after the commit that the branch stands at.
    return Checkpoint(folder, _slug(repository.split("/")[-1]), repository, folder.name)


def _unreachable(error: Exception) -> bool:
    """Tell an error of the way to the hub from the hub's own answers."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return False
    # Which library of HTTP it stands on changes with its versions.
    return isinstance(error, OSError) or bool(_HTTP.match(type(error).__module__))


def weights_among(files: list[str]) -> list[str]:
    """Return the files that hold the weights: safetensors where there are any, else pickles."""
    top = sorted(file for file in files if "/" not in file)
    found = [file for file in top if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", file)]
    return found or [
        file for file in top if re.fullmatch(r"pytorch_model(-\d+-of-\d+)?\.bin", file)
    ]


def config_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Read what a model's `config.json` says.

    Raises:
        ModelError: there is none, or it is not one.
    """
    path = checkpoint.folder / "config.json"
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_CONFIG + 1)
        config = parse_json(text.decode("utf-8")) if len(text) <= LARGEST_CONFIG else None
    except OSError as error:
        raise ModelError(
            f"cannot read the model's configuration: {error.strerror}",
            where=str(path),
            fix="give a folder as transformers' save_pretrained writes it",
        ) from None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ModelError("not a model's configuration", where=str(path), fix="get the file again")
    for names, most in ((_LAYERS, MOST_LAYERS), (_SIZES, LARGEST_SIZE)):
        for name in names:
            size = config.get(name)
            # transformers makes layers one by one before it looks whether there are weights for
            # them, and divides by what it is told.
            if isinstance(size, int) and not 1 <= size <= most:
                raise ModelError(
                    f"{name} is {shown(size)}: less than 1, or more than {most}",
                    where=str(path),
                    fix="get the file again",
                )
    return config


@contextmanager
def _told(repository: str, revision: str) -> Iterator[None]:
    """Turn what the hub's library raises into one error of ours each."""
    from huggingface_hub import errors

    here = "https://huggingface.co/" + repository
    try:
        yield
    except errors.GatedRepoError:
        raise ModelError(
            f"{repository} is behind a gate: its owner asks for an agreement",
            where=here,
            fix="agree on that page, then `hf auth login` (or HF_TOKEN) with your account",
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(
            f"{repository} has no revision {revision!r}",
            where=here,
            fix="give a branch, a tag or a commit that it has",
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"the hub has no model {repository!r}, or it is private",
            where=here,
            fix="look the name up there; for a private one, `hf auth login` (or HF_TOKEN)",
        ) from None
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            f"{repository} is not on this machine, and the hub is not to be asked or cannot be "
            "reached",
            where=here,
            fix="unset HF_HUB_OFFLINE and connect, or fetch it elsewhere "
            f"(`hf download {repository}`) and give the folder: hf:FOLDER",
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise ModelError(
            f"the hub refused: {str(error).splitlines()[0]}", where=here, fix="try again later"
        ) from None
    except Exception as error:
        if not _unreachable(error):
            raise
        raise ModelError(
            f"the hub cannot be reached: {type(error).__name__}",
            where=here,
            fix="connect, or fetch the model elsewhere "
            f"(`hf download {repository}`) and give the folder: hf:FOLDER",
        ) from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "model"
