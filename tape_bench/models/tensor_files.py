"""Tensors by name in safetensors or PyTorch files of anybody's, read one at a time."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tape_bench.errors import CheckpointError
from tape_bench.models.zip_checksums import READING, check_pickle, check_tensors, is_legacy

_WORDS = {"gamma": "weight", "beta": "bias"}


class Tensors:
    """The tensors of some files, by their own names; a context that closes the files."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Open the files and see what is in them.

        Raises:
            CheckpointError: they cannot be read.
        """
        self._stack = ExitStack()
        self._readers: dict[str, Callable[[], Tensor]] = {}
        for path in files:
            if path.suffix == ".bin":
                self._open_pickle(path)
            else:
                self._open_safetensors(path)

    def __enter__(self) -> Tensors:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._readers.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def read(self, name: str) -> Tensor:
        """Read one tensor, in the precision of the file."""
        return self._readers[name]()

    def _open_safetensors(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            opened = self._stack.enter_context(safe_open(path, framework="pt"))
        except (OSError, SafetensorError) as error:
            raise _broken(path, error) from error
        self._add(opened.keys(), opened.get_tensor)

    def _open_pickle(self, path: Path) -> None:
        check_pickle(path)
        try:
            found = torch.load(
                path, map_location="cpu", weights_only=True, mmap=not is_legacy(path)
            )
        except pickle.UnpicklingError as error:
            raise _broken(path, error) from error
        except READING as error:
            raise _broken(path, error) from error
        tensors = found if isinstance(found, dict) else {}
        if not tensors or not all(
            isinstance(name, str) and isinstance(one, Tensor) for name, one in tensors.items()
        ):
            raise _broken(path, ValueError("it holds no table of tensors"))
        if not is_legacy(path):
            check_tensors(path, tensors)
        self._add(tensors, tensors.__getitem__)

    def _add(self, found: Iterable[str], read: Callable[[str], Tensor]) -> None:
        for name in found:
            self._readers[_current(name)] = partial(read, name)


def _current(name: str) -> str:
    """Spell a layer norm's two as most files do; some have TensorFlow's words for them."""
    start, _, last = name.rpartition(".")
    if not start.endswith(("LayerNorm", "layer_norm")):
        return name
    return f"{start}.{_WORDS.get(last, last)}"


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the weights cannot be read: {str(error).splitlines()[0] if str(error) else error!r}",
        where=str(path),
        fix="get the file again",
    )
