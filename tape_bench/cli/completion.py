"""What the shell offers where a name is to be completed: models, tasks, heads, protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click
from click.shell_completion import CompletionItem

from tape_bench import registry
from tape_bench.heads.catalogue import HEADS

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def offer(names: Sequence[str] | Callable[[], Iterable[str]]) -> Complete:
    """Offer names, the last of several with commas between them, too."""

    def complete(
        context: click.Context, parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        known = names() if callable(names) else names
        before, comma, last = begun.rpartition(",")
        fitting = [f"{before}{comma}{name}" for name in known if name.startswith(last)]
        # Where no name fits it may be a path: a card, a folder of data, a checkpoint.
        return [CompletionItem(name) for name in fitting] or [CompletionItem(begun, type="file")]

    return complete


def _models() -> Iterable[str]:
    for name, entry in registry.models().items():
        yield f"{name}:" if ":" in entry.usage else name


models = offer(_models)
tasks = offer(registry.task_names)
heads = offer(sorted({head for known in HEADS.values() for head in known}))
protocols = offer(list(registry.PROTOCOLS))
data = offer(["sample"])
