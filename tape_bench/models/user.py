"""A model of the user's own: any Python class with `identity` and `embed`, or a function."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import Embedder
from tape_bench.models.files_read import files_read, made_from
from tape_bench.models.function import from_function, takes_sequences
from tape_bench.models.user_code import check_embedder, users_code


def load(argument: str | None, *, dtype: str | None = None, device: str | None = None) -> Embedder:
    """Import `FILE.py:CLASS` or `package.module:CLASS` and make one, or take `FILE.py:FUNCTION`.

    A function of sequences is a model by itself, see `from_function`; one without arguments makes
    one.
    The class is called with `device` and `dtype` if they are given and it has parameters of these
    names, otherwise without arguments. This runs the user's code, which is the point.

    Raises:
        UsageError: a precision, or one of several devices, is asked of a class that does not let
            itself be told.
        ModelError: the file, the class or one of the two members is missing, or the user's code
            raised an error.
    """
    place, _, name = (argument or "").rpartition(":")
    if not place or not name:
        raise ModelError(
            f"cannot tell which class or function 'python:{argument or ''}' means",
            fix="write python:FILE.py:NAME or python:package.module:NAME",
        )
    with files_read() as files:
        model = _made(argument, place, name, device=device, dtype=dtype)
    made_from(model, files)
    return model


def _made(argument: str | None, place: str, name: str, **asked: str | None) -> Embedder:
    with users_code(f"the model python:{argument}: importing it"):
        module = _from_file(place) if place.endswith(".py") else importlib.import_module(place)
    if not hasattr(module, name):
        raise ModelError(f"there is no class or function {name!r}", where=place)
    make = getattr(module, name)
    if takes_sequences(make):
        _accepted(make, name, place, **asked)
        model = from_function(make, name, f"python:{argument}")
        return check_embedder(model, f"{place}:{name}")
    accepted = _accepted(make, name, place, **asked)
    with users_code(f"the model python:{argument}: making one"):
        model = make(**accepted)
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


def _accepted(
    make: Callable[..., Any], name: str, where: str, **asked: str | None
) -> dict[str, str]:
    """Return what the class takes of what is asked, and refuse the rest."""
    given = {option: value for option, value in asked.items() if value is not None}
    taken = {option: value for option, value in given.items() if _takes(make, option)}
    refused = sorted(given.keys() - taken.keys())
    if "device" in refused and given["device"] == "cpu" and not _has_gpu():
        # There is no choice: it computes there anyway. So do workers on the parts of a CPU.
        refused.remove("device")
    if refused:
        raise UsageError(
            f"{name} cannot be told its {' or '.join(refused)}",
            where=where,
            fix=f"write def __init__(self, {', '.join(f'{o}=None' for o in refused)}), or leave "
            f"--{' and --'.join(refused)} out",
        )
    return taken


def _takes(make: Callable[..., Any], option: str) -> bool:
    try:
        inspect.signature(make).bind_partial(**{option: None})
    except (TypeError, ValueError):  # it has no such parameter, or does not say what it has
        return False
    return True


def _has_gpu() -> bool:
    """Tell whether there is a choice of devices at all."""
    import torch

    return torch.cuda.is_available()
