"""`tape-bench cache`: what is kept of models' representations, and how to be rid of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from tape_bench import paths, text
from tape_bench.cli.options import json_option
from tape_bench.errors import unknown_name

if TYPE_CHECKING:
    from tape_bench.cache.eviction import Holding


@click.group(name="cache")
def command() -> None:
    """Look at the kept representations, check them, or remove them.

    A run keeps what a model makes of a sequence, and never computes it again for the same weights,
    read in the same way. The cache lies in TAPE_BENCH_CACHE; it is safe to remove at any time,
    and `run --cache-limit` bounds it.

    \b
    Examples:
        tape-bench cache status
        tape-bench cache verify
        tape-bench cache clear proteinlm-3b
    """


@command.command(name="status")
@json_option
def status(as_json: bool) -> None:
    """Tell what is kept, by model, the last used first."""
    from tape_bench.cache.eviction import holdings

    held = holdings(paths.cache())
    if as_json:
        click.echo(json.dumps([_as_dict(holding) for holding in held], indent=1))
        return
    _print_table(held)
    total = sum(holding.size for holding in held)
    click.echo(f"{_bytes(total)} in {paths.cache() / 'representations'}")


@command.command(name="clear")
@click.argument("model", required=False)
def clear(model: str | None) -> None:
    """Remove what is kept of MODEL, named as `status` names it; of all models if none is named."""
    from tape_bench.cache import eviction

    if model is not None:
        names = {holding.name for holding in eviction.holdings(paths.cache())}
        if model not in names:
            raise unknown_name("kept model", model, names)
    removed = eviction.clear(paths.cache(), model)
    size = sum(holding.size for holding in removed)
    click.echo(f"removed {sum(h.entries for h in removed):,} representations, {_bytes(size)}")


@command.command(name="verify")
@json_option
def verify(as_json: bool) -> None:
    """Read everything against its checksums; remove what is damaged.

    It is computed again when it is next needed. The exit status is 1 if anything was damaged.
    """
    from tape_bench.cache import eviction

    found = eviction.verify(paths.cache())
    if as_json:
        removed = [str(path) for path in found.removed]
        told = {"entries": found.entries, "damaged": found.damaged, "removed": removed}
        click.echo(json.dumps(told, indent=1))
    else:
        click.echo(f"{found.entries:,} representations read, {found.damaged:,} damaged")
        for path in found.removed:
            click.echo(f"removed, as a killed run left it behind: {text.line(str(path))}")
    if found.damaged:
        raise SystemExit(1)


def _print_table(held: list[Holding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tape_bench.cli.output import table_console

    table = Table(box=None)
    for name in ("model", "computed in", "kept in"):
        table.add_column(name, no_wrap=True)
    for name in ("entries", "size", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    for holding in held:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(holding.used))
        # Whoever wrote the folder chose these: no markup, no escapes.
        labels = (Text(text.line(n)) for n in (holding.name, holding.dtype, holding.stored))
        table.add_row(*labels, f"{holding.entries:,}", _bytes(holding.size), used)
    if held:
        table_console().print(table)


def _as_dict(holding: Holding) -> dict[str, object]:
    return {name: str(v) if name == "folder" else v for name, v in vars(holding).items()}


def _bytes(size: int) -> str:
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.2f} TB"
