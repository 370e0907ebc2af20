"""What users' own code does wrong, told as an error that names the model and the user's line."""

from __future__ import annotations

import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tape_bench.errors import ModelError, TapeBenchError
from tape_bench.models.embedder import Embedder, Identity

_OURS = str(Path(__file__).resolve().parents[1])
_LIBRARIES = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@contextmanager
def users_code(
    doing: str, unless: Callable[[Exception], bool] = lambda error: False
) -> Iterator[None]:
    """Turn what a user's code raises into a ModelError that says where.

    Args:
        doing: what is done, with the name of the model: `the model mine: embed()`.
        unless: tells errors that are let through as they are.

    Raises:
        ModelError: names the error and the user's own line.
    """
    try:
        yield
    except TapeBenchError:
        raise
    except Exception as error:
        if unless(error):
            raise
        words = f": {error}" if str(error) else ""
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise ModelError(
            f"{doing} raised {type(error).__name__}{words}",
            where=_users_line(error),
            fix=f"install what it needs, e.g. pip install {missing.partition('.')[0]}"
            if missing
            else "correct the model's code",
        ) from error


def is_users(model: object) -> bool:
    """Whether a model is somebody else's code; in ours, an unforeseen error is our mistake."""
    return not type(model).__module__.startswith("tape_bench.")


def check_embedder(model: Any, where: str) -> Embedder:
    """See that something has what a model needs, before anything is computed.

    Raises:
        ModelError: says what it lacks.
    """
    with users_code(f"the model {where}: identity"):
        if not isinstance(model, Embedder):
            raise ModelError(
                f"{where.rpartition(':')[2]} lacks `identity` or `embed`",
                where=where,
                fix="see tape_bench.models.embedder.Embedder for the two members a model needs",
            )
        identity = model.identity
    if not isinstance(identity, Identity):
        raise ModelError(
            f"the model's identity is a {type(identity).__name__}, not an Identity",
            where=where,
            fix="make one with tape_bench.models.embedder.Identity(spec=…, name=…, …)",
        )
    try:
        inspect.signature(model.embed).bind([], "mean")
    except TypeError as error:
        raise ModelError(
            f"the model {identity.name} cannot be called as embed(sequences, pool): {error}",
            where=where,
            fix='write `def embed(self, sequences, pool="residues")`',
        ) from None
    except ValueError:
        pass  # A compiled function that does not tell what it takes.
    return model


def _users_line(error: Exception) -> str | None:
    """Return file and line of the innermost frame in code that is neither ours nor a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    users = [frame for frame in outside if not frame.filename.startswith((*_LIBRARIES, "<"))]
    if not outside:
        return None
    frame = (users or outside)[-1]
    return f"{frame.filename}:{frame.lineno}, in {frame.name}: {frame.line}"
