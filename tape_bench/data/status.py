"""Whether data are TAPE's own: decided by digests and record counts, never by names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tape_bench.cards import TaskCard

Status = Literal["official", "partial", "other", "simulated"]


@dataclass(frozen=True)
class Found:
    """What was found of one split."""

    records: int
    digest: str
    """SHA-256 of its records."""


@dataclass(frozen=True)
class Verdict:
    """What a data set is, and what says so."""

    status: Status
    reason: str


SIMULATED = Verdict("simulated", "the built-in sample: simulated proteins, not measured ones")


def judge(card: TaskCard, found: Mapping[str, Found], tarball_md5: str | None) -> Verdict:
    """Compare what was found with what the card says of TAPE's own files.

    `official`: TAPE's tarball by its md5, or TAPE's records by the digest of every split.
    `partial`: no split larger than TAPE's, none that is there under half of it, and not all
    alike. `other`: anything else, equal counts without a digest to prove more included.

    Args:
        card: the task.
        found: what was found, by split.
        tarball_md5: digest of the tarball the files come from, unchanged since.
    """
    if tarball_md5 is not None and tarball_md5 == card.source.md5:
        return Verdict("official", f"TAPE's own tarball, md5 {tarball_md5}")
    declared = card.splits
    if all(name in found and found[name].digest == declared[name].sha256 for name in declared):
        return Verdict("official", "every split has the digest of TAPE's own records")
    counts = {name: found[name].records if name in found else None for name in declared}
    differing = [
        f"{name} {'absent' if count is None else count} of {declared[name].records}"
        for name, count in counts.items()
        if count != declared[name].records
    ]
    if not differing:
        return Verdict("other", "record counts match TAPE's, but no digest proves the records")
    within = all(
        count is None or declared[name].records / 2 <= count <= declared[name].records
        for name, count in counts.items()
    )
    return Verdict("partial" if within else "other", f"records: {', '.join(differing)}")
