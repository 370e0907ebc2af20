"""The leaderboard as JSON, for programs: the table model as it is."""

from __future__ import annotations

import dataclasses
import json

from tape_bench.report.leaderboard.table import Leaderboard


def render(leaderboard: Leaderboard) -> str:
    """Write the table model; names stand as they are, for the reader to escape."""
    content = dataclasses.asdict(leaderboard)
    return json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
