"""Pictures of leaderboards and predictions; matplotlib is imported when one is drawn."""

from __future__ import annotations

from tape_bench.report.plots.catalogue import PLOTS, of_kind, of_leaderboard, of_record
from tape_bench.report.plots.style import FORMATS, Plot, save, svg
from tape_bench.report.plots.together import of_records

__all__ = [
    "FORMATS",
    "PLOTS",
    "Plot",
    "of_kind",
    "of_leaderboard",
    "of_record",
    "of_records",
    "save",
    "svg",
]
