"""A task's data as examples: proteins with their targets, split by split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tape_bench import paths, registry
from tape_bench.cards import Role, TaskCard
from tape_bench.data.clusters import joined
from tape_bench.data.columns import Columns
from tape_bench.data.doubts import tell
from tape_bench.data.opening import SAMPLE, open_files, open_sample
from tape_bench.data.scorable import unscorable
from tape_bench.data.status import Status
from tape_bench.errors import DataError, UsageError, unknown_name


@dataclass(frozen=True)
class Example:
    """One protein and what is known about it."""

    id: str
    sequence: str
    targets: Mapping[str, Any]
    """By target name. token_class: int array `[residues]`, -1 unlabelled; sequence_class: int;
    sequence_value: float; residue_pair: float64 C-alpha coordinates in Angstrom
    `[residues, 3]`, NaN rows where there is no atom."""


@dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, in the file's order."""

    name: str
    card: TaskCard
    columns: Columns
    """The same examples as flat arrays, for batches."""
    digest: str
    """SHA-256 over all records of the file: ids, sequences and targets."""
    n_total: int
    """Records in the file."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Records the length policy left out, by reason."""
    shortened: Mapping[str, int] = field(default_factory=dict)
    """Examples used in part or in windows, by reason."""

    @property
    def role(self) -> Role:
        """What the split is for: train, valid or test; one that is joined is scored only."""
        return "test" if self.name in self.card.joined else self.card.splits[self.name].role

    @property
    def ids(self) -> list[str]:
        """Ids, each once."""
        return self.columns.ids

    @property
    def sequences(self) -> list[str]:
        """Sequences in one-letter code."""
        return self.columns.sequences

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """Which examples belong together, as numbers from 0, `[examples]`.

        Those of one cluster, where the card names a field for it, and those of one sequence.
        """
        named = self.columns.clusters
        return joined(self.sequences, *([] if named is None else [named]))

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        targets = {
            target.name: self._target(target.field, index)
            for target in self.card.targets
            if self.has(target.name)
        }
        return Example(self.ids[index], self.sequences[index], targets)

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def has(self, target: str) -> bool:
        """Tell whether the examples carry this target; only optional ones may be absent."""
        return self.card.target(target).field in self.columns.fields

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Split:
        """Return the split with the examples at these places only, in this order."""
        return replace(self, columns=self.columns.take(indices))

    @cached_property
    def skipped(self) -> dict[str, int]:
        """Examples that count for nothing, by reason.

        Those the length policy left out are gone; those with nothing to score (no label, no
        pair far enough apart) are still among the examples.
        """
        return {**self.left_out, **self._unscorable}

    @property
    def n_scored(self) -> int:
        """Examples that have something to learn from or to score."""
        return len(self) - sum(self._unscorable.values())

    def checked(self) -> Self:
        """Return the split itself, if it has anything to score.

        Raises:
            DataError: no example has.
        """
        if self.n_scored:
            return self
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.skipped.items())
        raise DataError(
            f"no protein of the split {self.name} can be scored ({reasons or 'it is empty'})",
            where=f"task {self.card.name}",
            fix="give proteins that have what the task asks for",
        )

    @cached_property
    def _unscorable(self) -> dict[str, int]:
        reasons = unscorable(self.columns, self.card.targets[0].field) if len(self) else {}
        return {reason: int(marked.sum()) for reason, marked in reasons.items() if marked.any()}

    def _target(self, field: str, index: int) -> Any:
        value = self.columns.target(field, index)
        if self.card.kind == "residue_pair":
            return value.astype(np.float64)
        return value if self.card.kind == "token_class" else value.item()


@dataclass(frozen=True, eq=False)
class TaskData(Mapping[str, Split]):
    """A task's splits by name, and what data they are."""

    card: TaskCard
    splits: Mapping[str, Split]
    status: Status
    reason: str
    """What the status rests on."""
    source: str
    """`sample`, or the name of the data root or tarball."""

    def __getitem__(self, name: str) -> Split:
        if name not in self.splits:
            raise unknown_name(f"{self.card.name} split", name, self.splits)
        return self.splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    def joined(self, name: str) -> TaskData:
        """Return the data with one more split, which the card puts together from others.

        Raises:
            UsageError: one of these is not there.
        """
        parts = [self[part] for part in self.card.joined[name].of]
        columns = Columns.joined([part.columns for part in parts])
        shortened: Counter[str] = Counter()
        for part in parts:
            shortened.update(part.shortened)
        whole = Split(name, self.card, columns, columns.digest, len(columns), shortened=shortened)
        return replace(self, splits={**self.splits, name: whole})

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the digests of the splits; those put together from others add nothing."""
        own = sorted((name, split) for name, split in self.items() if name not in self.card.joined)
        lines = "".join(f"{name} {split.digest}\n" for name, split in own)
        return hashlib.sha256(lines.encode()).hexdigest()


def load_task(
    task: str | TaskCard,
    data: str | Path | None = None,
    limit: int | None = None,
    cache: Path | None = None,
    roles: Collection[Role] = ("train", "valid", "test"),
) -> TaskData:
    """Open a task's data.

    The first time, every record is decoded and checked; after that the set opens at once.
    A test split that the data lack is simply not there, unless it is the task's headline;
    train and valid must be there, where the card has them and the roles name them.

    Args:
        task: a task's name or card.
        data: `sample`, a data root, a folder of tarballs, or one tarball; the folder that
            `tape-bench data fetch` fills if None, as in `evaluate`.
        limit: take only the first so many records of each split.
        cache: cache root; the user's own by default.
        roles: which kinds of splits must be there; all of them are read where they are.

    Returns:
        The splits by name, in the card's order.

    Raises:
        UsageError: no such task, or a limit that is no whole number above 0.
        DataError: data that are missing, broken, or not what the card describes.
        StorageError: no room to unpack a tarball.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise UsageError(f"a limit of {limit!r} records leaves nothing", fix="give 1 or more")
    card = task if isinstance(task, TaskCard) else registry.task(task)
    cache = paths.cache() if cache is None else cache
    data = paths.data() if data is None else data
    if str(data) == SAMPLE:
        opened = open_sample(card, cache)
    else:
        opened = open_files(card, paths.expand(data), cache, roles)
    splits = {}
    for name, columns in opened.splits.items():
        split = Split(name, card, columns, columns.digest, len(columns))
        if limit is not None and limit < len(split):
            split = split.take(range(limit))
        split = replace(split, shortened=tell(split.columns, f"{opened.source}, split {name}"))
        splits[name] = split.checked()
    return TaskData(card, splits, opened.verdict.status, opened.verdict.reason, opened.source)
