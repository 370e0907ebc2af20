"""A model of the user's own: any Python class with `identity` and `embed`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from tape_bench.errors import ModelError
from tape_bench.models.embedder import Embedder


def load(argument: str | None, *, dtype: str | None = None, device: str | None = None) -> Embedder:
    """Import `FILE.py:CLASS` or `package.module:CLASS` and make one.

    The class is called without arguments. This runs the user's code, which is the point.

    Raises:
        ModelError: the file, the class or one of the two members is missing.
    """
    place, _, name = (argument or "").rpartition(":")
    if not place or not name:
        raise ModelError(
            f"cannot tell which class 'python:{argument or ''}' means",
            fix="write python:FILE.py:CLASS or python:package.module:CLASS",
        )
    if place.endswith(".py"):
        path = Path(place).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise ModelError("no such Python file", where=place)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise ModelError(f"cannot import {place}: {error}", where=place) from error
    if not hasattr(module, name):
        raise ModelError(f"there is no class {name!r}", where=place)
    model = getattr(module, name)()
    if not isinstance(model, Embedder):
        raise ModelError(
            f"{name} lacks `identity` or `embed`",
            where=place,
            fix="see tape_bench.models.embedder.Embedder for the two members a model needs",
        )
    return model
