"""Vectors of a FASTA file written to a file of their own: streamed, and resumable.

The proteins are taken in chunks of about `CHUNK_RESIDUES`, each embedded with its sequences
sorted by length. Finished chunks wait in the folder `OUT.work`, together with the plan: which
model, which proteins, which pooling; and with a note of each one's digest, without which it does
not count as finished. When all are there they are put together under a temporary name, moved into
place, and the folder goes.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tape_bench import memo
from tape_bench.atomic import replace, storage_error
from tape_bench.data.formats.fasta import AS_IT_IS, Cleaning, readable_again
from tape_bench.embedding.in_memory import Representations, represent
from tape_bench.errors import DataError, UsageError
from tape_bench.export.formats import Vectors, format_of
from tape_bench.export.survey import Proteins, survey
from tape_bench.leftovers import claimed
from tape_bench.models.embedder import Embedder, Identity, Pool
from tape_bench.models.evidence import Evidence, agree, with_evidence
from tape_bench.progress import Advance
from tape_bench.results.provenance import version
from tape_bench.results.store import file_digest

CHUNK_RESIDUES = 1 << 16
"""Residues kept in memory at once, and lost at most when a run is interrupted."""


def write_vectors(
    model: Embedder,
    fasta: Path,
    out: Path,
    pool: Pool,
    progress: Advance | None = None,
    clean: Cleaning = AS_IT_IS,
) -> Proteins:
    """Embed every protein of a FASTA file and write the vectors, in the order of the file.

    Args:
        model: any Embedder.
        fasta: the proteins.
        out: the file to write; its ending says how: `.npz`, `.safetensors` or `.parquet`.
        pool: one vector a residue, or one a protein.
        progress: called with residues done and residues to do, not counting those that an
            interrupted run has left finished.
        clean: what is done to the sequences as they are read.

    Returns:
        What was embedded.

    Raises:
        UsageError: the ending is unknown, `out` exists, or `OUT.work` is about something else.
        DataError, ModelError: the proteins cannot be read, by us or by the model.
        StorageError: no room, or no permission.
    """
    format_of(out)
    _refuse_existing(out)
    identity = with_evidence(model)
    work = out.with_name(out.name + ".work")
    with readable_again(fasta) as file:
        proteins = survey(file, identity, clean)
        with ExitStack() as stack:
            try:
                stack.enter_context(claimed(work, out))
            except OSError as error:
                raise storage_error(error, out) from error
            _refuse_existing(out)
            return _write(model, identity, proteins, out, work, pool, progress)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise UsageError(
            "the output exists already", where=str(out), fix="remove it, or choose another name"
        )


def _write(
    model: Embedder,
    identity: Identity,
    proteins: Proteins,
    out: Path,
    work: Path,
    pool: Pool,
    progress: Advance | None,
) -> Proteins:
    about = _plan(identity, proteins, pool)
    _claim(work, about, identity.rests_on)
    parts = [(chunk, work / f"{number:06}.f32") for number, chunk in enumerate(_chunks(proteins))]
    try:
        _compute_missing(model, proteins, pool, parts, progress)
    except BaseException:
        if not _vectors_in(work):
            # Nothing to go on from: the next run, of whatever model, finds no trace of this one.
            with suppress(OSError):
                _empty(work)
        raise
    vectors = Vectors(
        ids=proteins.ids,
        rows=proteins.lengths if pool == "residues" else None,
        hidden=model.identity.hidden_size,
        parts=parts,
        about=json.dumps(about),
    )
    replace(out, lambda path: format_of(out)(path, vectors))
    shutil.rmtree(work)
    return proteins


def _plan(identity: Identity, proteins: Proteins, pool: Pool) -> dict[str, Any]:
    """Say everything the vectors depend on; where a checkpoint lies is no part of it."""
    model = dataclasses.asdict(identity)
    del model["spec"]
    model["rests_on"] = identity.rests_on and identity.rests_on.digest
    return {
        "model": model,
        "proteins": proteins.digest,
        "pool": pool,
        "chunk_residues": CHUNK_RESIDUES,
        "tape_bench": version("tape-bench"),
    }


def _claim(work: Path, plan: dict[str, Any], rests_on: Evidence | None) -> None:
    """Begin in a new folder, or go on in one that an interrupted run of the same plan left.

    What a user's model answers to probes is kept beside the plan, and compared as numbers.
    """
    file = work / "plan.json"
    # As it will be read back: tuples become lists on the way.
    plan = json.loads(json.dumps(plan))
    answers = list(rests_on.probes) if rests_on else None
    if _is_ours(work) and (memo.read(file) is None or not _vectors_in(work)):
        # Damaged, or of a run that was killed before it had any vectors.
        _empty(work)
    if not any(work.iterdir()):
        memo.write(file, {**plan, "answers": answers})
        return
    left = memo.read(file)
    if left is None:
        raise UsageError(
            "in the way: not a folder that an interrupted run has left",
            where=str(work),
            fix="move it, or choose another output",
        )
    others = [name for name in plan if left.get(name) != plan[name]]
    if answers is not None and not agree(left["answers"] or [], answers):
        others = ["model"]
    if others:
        raise UsageError(
            f"an interrupted run with another {' and '.join(others)} has left its vectors here",
            where=str(work),
            fix="repeat that run to finish it, remove the folder, or choose another output",
        )


def _vectors_in(work: Path) -> bool:
    return work.is_dir() and any(work.glob("*.f32"))


def _is_ours(work: Path) -> bool:
    """Tell whether a folder holds nothing but what we put into one."""
    ours = re.compile(r"\.?(plan\.json|\d{6,}\.(f32|json))(\.\w+)?")
    return all(ours.fullmatch(path.name) and path.is_file() for path in work.iterdir())


def _empty(work: Path) -> None:
    """Remove what is in the folder; the folder itself is what this process has claimed."""
    for path in work.iterdir():
        path.unlink(missing_ok=True)


def _chunks(proteins: Proteins) -> list[slice]:
    """Share the proteins out, in order; one longer than a chunk has its own."""
    chunks, start, residues = [], 0, 0
    for index, length in enumerate(proteins.lengths.tolist()):
        if residues and residues + length > CHUNK_RESIDUES:
            chunks.append(slice(start, index))
            start, residues = index, 0
        residues += length
    return [*chunks, slice(start, len(proteins.ids))]


def _compute_missing(
    model: Embedder,
    proteins: Proteins,
    pool: Pool,
    parts: Sequence[tuple[slice, Path]],
    progress: Advance | None,
) -> None:
    missing = {chunk.start for chunk, part in parts if not _is_whole(part)}
    residues = {chunk.start: int(proteins.lengths[chunk].sum()) for chunk, _ in parts}
    done, total = 0, sum(residues[start] for start in missing)
    sequences = _sequences(proteins)
    for chunk, part in parts:
        batch = list(islice(sequences, chunk.stop - chunk.start))
        if chunk.start not in missing:
            continue
        within = progress and partial(_shift, progress, done, total)
        with represent(model, batch, pool, progress=within) as found:
            replace(part, partial(_dump, found, batch))
        memo.write(part.with_suffix(".json"), {"sha256": file_digest(part)})
        done += residues[chunk.start]
        if progress is not None:
            progress(done, total)


def _is_whole(part: Path) -> bool:
    """Tell whether a part is there, and what was written."""
    told = memo.read(part.with_suffix(".json"))
    return told is not None and told.get("sha256") == memo.attempt(partial(file_digest, part))


def _shift(progress: Advance, before: int, total: int, done: int, chunk: int) -> None:
    """Report progress within a chunk as progress of the whole."""
    if done < chunk:
        progress(before + done, total)


def _sequences(proteins: Proteins) -> Iterator[str]:
    for (id, sequence), known, length in zip(proteins, proteins.ids, proteins.lengths, strict=True):
        if id != known or len(sequence) != length:
            raise DataError(
                "the file changed while it was read", where=str(proteins.fasta), fix="try again"
            )
        yield sequence


def _dump(found: Representations, sequences: Sequence[str], path: Path) -> None:
    with path.open("wb") as file:
        for sequence in sequences:
            file.write(found[sequence].astype("<f4", copy=False).data)
