"""What a checkpoint is, whatever its form on disk: a shape, an origin, and weights to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from tape_bench.models.proteinlm.config import ProteinLMConfig, QkvOrder
from tape_bench.models.proteinlm.megatron.partition import Rank


@dataclass(frozen=True)
class Origin:
    """Where weights come from, as the record keeps it; a conversion hands it on unchanged."""

    revision: str
    """Iteration, e.g. `iter_0123000`, or `release`."""
    checkpoint_version: str
    """Megatron's layout version, or `absent`."""
    qkv_order: QkvOrder
    """Order in which query, key and value rows were read from the Megatron file."""


class WeightSource(Protocol):
    """A checkpoint whose tensors are read one at a time."""

    @property
    def config(self) -> ProteinLMConfig:
        """Shape of the network."""

    @property
    def origin(self) -> Origin:
        """Where the weights come from."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that hold the weights; none where they follow from config and origin."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the checkpoint was read."""

    @property
    def stored_dtype(self) -> torch.dtype:
        """Precision of the weights on disk."""

    @property
    def promised_digest(self) -> str | None:
        """What the checkpoint says that the digest of its weights is; None where it is silent."""

    def check_bytes(self) -> None:
        """Read the weights against the checksums of their files, where these have any.

        Raises:
            CheckpointError: a weight is not what was written.
        """

    def read(
        self,
        name: str,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        keep: Rank = (0, 1),
        share: bool = False,
    ) -> Tensor:
        """Read one weight in our layout.

        Args:
            name: our name; see `mapping.weights`.
            dtype: precision of the result; None for that on disk.
            device: where the result lies.
            keep: a tensor-parallel rank and their number, to read only that rank's slice.
            share: where the file has the weight just as asked for, give a view of the mapped
                file instead of a copy. Writing to it changes neither the file nor other readers.
        """
