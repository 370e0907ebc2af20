"""Vectors that were computed elsewhere, and what reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mutations
import numpy as np
from of_own import spoil_one
from outcomes import Target, WrongError, steers_nothing

from tape_bench.embedding.in_memory import represent
from tape_bench.export.write import write_vectors
from tape_bench.models.controls.onehot import load as onehot
from tape_bench.models.vectors.adapter import load

PROTEINS = {f"p{number}": "MKVACDEFGH"[: number + 3] for number in range(6)}


def _prepare(ending: str, pool: Any) -> Any:
    def prepare(folder: Path) -> None:
        fasta = folder / "p.fa"
        fasta.write_text("".join(f">{id}\n{sequence}\n" for id, sequence in PROTEINS.items()))
        write_vectors(onehot(None), fasta, folder / f"v{ending}", pool)

    return prepare


def _use(ending: str) -> Any:
    def use(folder: Path) -> str:
        model = load(str(folder / f"v{ending}"), fasta=folder / "p.fa")
        steers_nothing(model.identity.name)
        for vector in represent(model, PROTEINS.values(), "mean").values():
            if not np.isfinite(vector).all():
                raise WrongError("not finite")
        return "read"

    return use


TARGETS: dict[str, Target] = {
    f"vectors {ending} {pool}": Target(
        _prepare(ending, pool),
        spoil_one("v.*", mutations.raw, *([mutations.of_zip] if ending == ".npz" else [])),
        _use(ending),
        8,
    )
    for ending in (".npz", ".safetensors", ".parquet")
    for pool in ("mean", "residues")
}
