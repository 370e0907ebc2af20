"""A model of the user's own: any Python class with `identity` and `embed`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from tape_bench.errors import ModelError
from tape_bench.models.embedder import Embedder
from tape_bench.models.user_code import check_embedder, users_code


def load(argument: str | None, *, dtype: str | None = None, device: str | None = None) -> Embedder:
    """Import `FILE.py:CLASS` or `package.module:CLASS` and make one.

    The class is called without arguments. This runs the user's code, which is the point.

    Raises:
        ModelError: the file, the class or one of the two members is missing, or the user's code
            raised an error.
    """
    place, _, name = (argument or "").rpartition(":")
    if not place or not name:
        raise ModelError(
            f"cannot tell which class 'python:{argument or ''}' means",
            fix="write python:FILE.py:CLASS or python:package.module:CLASS",
        )
    with users_code(f"the model python:{argument}: importing it"):
        module = _from_file(place) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(module, name):
        raise ModelError(f"there is no class {name!r}", where=place)
    with users_code(f"the model python:{argument}: making one, without arguments,"):
        model = getattr(module, name)()
    return check_embedder(model, f"{place}:{name}")


def _from_file(place: str) -> ModuleType:
    """Run a file as a module whose name takes nothing away from others, e.g. from `random`."""
    path = Path(place).resolve()
    name = "users_model_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ModelError("no such Python file", where=place)
    folder = str(path.parent)
    if folder not in sys.path:
        # It may import its neighbours; at the end, so that they hide no other module.
        sys.path.append(folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
