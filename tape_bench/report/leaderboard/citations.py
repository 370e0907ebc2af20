"""BibTeX entries of the data sets and baselines that a leaderboard shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tape_bench.errors import CardError


def bibtex(keys: Sequence[str], source: Path) -> str:
    """Return the BibTeX entries with these keys, in the order given.

    Raises:
        CardError: a card quotes a key that the file does not have.
    """
    text = source.read_text(encoding="utf-8")
    entries = {
        match[1]: match[0].strip()
        for match in re.finditer(r"^@\w+\{([^,\s]+),.*?^\}", text, re.MULTILINE | re.DOTALL)
    }
    missing = [key for key in keys if key not in entries]
    if missing:
        raise CardError(
            f"no BibTeX entry for {', '.join(missing)}",
            where=str(source),
            fix="add the entry, or correct the key on the card",
        )
    return "\n\n".join(entries[key] for key in keys) + "\n"
