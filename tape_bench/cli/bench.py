"""`tape-bench bench`: how fast a model is on this machine, and how fast it could be."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import click

from tape_bench.cli import completion
from tape_bench.cli.options import json_option, model_keywords, model_options, option, tell_notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tape_bench.models.embedder import Network


@click.command(name="bench")
@click.argument("model", shell_complete=completion.models)
@option(
    "--lengths",
    metavar="tape|NAME|N",
    default="tape",
    show_default=True,
    help="Proteins as long as in all five data sets, as in one of them, or of N residues.",
)
@option("--proteins", type=click.IntRange(min=1), help="Embed so many proteins.")
@option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Embed as many proteins as take about so long. Default: 20.",
)
@option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Measure, too, how much faster this many processes are that share the proteins.",
)
@model_options
@json_option
@option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    model: str,
    lengths: str,
    proteins: int | None,
    seconds: float | None,
    devices: int,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Measure how fast MODEL embeds proteins, beside the best this machine can do.

    No data are needed: the proteins are random, and as long as TAPE's. Plain matrix products,
    copying in memory and the disk of the cache are measured in the same run, to compare with. It
    takes about a minute.

    \b
    Examples:
        tape-bench bench proteinlm:checkpoints/3b
        tape-bench bench random:proteinlm-200m --dtype bfloat16 --lengths 512 --json
    """
    from tape_bench.cli.output import aside
    from tape_bench.cli.progress import showing
    from tape_bench.embedding.executors.session import assemble
    from tape_bench.errors import UsageError
    from tape_bench.results import provenance
    from tape_bench.speed.benchmark import benchmark

    if proteins and seconds:
        raise UsageError("--proteins and --seconds exclude each other", fix="leave one of them out")
    started = time.perf_counter()
    with aside():
        session = assemble(model, model_keywords(options), devices)
    tell_notes(session.model)
    loading = time.perf_counter() - started
    with showing(quiet) as progress:
        measured = benchmark(session, lengths, progress, proteins=proteins, seconds=seconds)
    cache, together = measured.cache, measured.together
    found = {
        "model": dataclasses.asdict(session.model.identity),
        "load_seconds": loading,
        "lengths": lengths,
        "embedding": measured.embedding.as_dict(),
        "together": dataclasses.asdict(together) if together else None,
        "peak_memory_bytes": measured.peak_memory_bytes,
        "cache": {
            **dataclasses.asdict(cache),
            "copy_bytes_per_second": measured.copy_bytes_per_second,
        },
        "computed": _computed(measured.network),
        "provenance": provenance.collect([provenance.processor()]).model_dump(mode="json"),
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _print(found)


def _computed(network: Network | None) -> dict[str, Any]:
    """Say what the network ran on, and how."""
    import torch

    from tape_bench.kernels import dispatch

    device = torch.device("cpu" if network is None else network.device)
    on_gpu = device.type == "cuda"
    fused, why = dispatch.choice(device)
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "threads": torch.get_num_threads(),
        "kernels": f"{'fused' if fused else 'reference'} ({why})",
    }


def _print(found: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for row in _rows(found):
        table.add_row(*map(Text, row))
    Console().print(table)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what was measured: its name, its value, and what it is to be read with."""
    from tape_bench.report.wording import DASH, plain

    model, speed, cache, computed = (
        found[part] for part in ("model", "embedding", "cache", "computed")
    )
    packed = speed["launches"] is not None
    known = speed["useful_flops_per_second"] is not None
    arithmetic = model["reading"].get("arithmetic")
    precision = model["dtype"] + (f", multiplied in {arithmetic}" if arithmetic else "")
    yield "model", plain(model["name"]), f"{model['parameters']:,} parameters, {precision}"
    yield "computed on", computed["device"], _where(computed) if known else ""
    yield "load", f"{found['load_seconds']:.1f} s", ""
    yield (
        "proteins",
        f"{speed['proteins']:,}",
        f"{speed['residues']:,} residues in {speed['seconds']:.1f} s (lengths: {found['lengths']})",
    )
    yield "speed", f"{speed['residues_per_second']:,.0f} residues/s", "one vector a protein"
    if (together := found["together"]) is not None:
        rate = together["residues_per_second"]
        yield (
            f"{together['processes']} processes",
            f"{rate:,.0f} residues/s" if rate else DASH,
            f"{rate / speed['residues_per_second']:.2f}x the speed of one"
            if rate
            else "too short to tell: give more --seconds",
        )
    yield (
        "useful work",
        f"{speed['share_of_matmul']:.1%}" if known else DASH,
        f"of plain matrix products: {speed['useful_flops_per_second'] / 1e9:,.0f} of "
        f"{speed['matmul_flops_per_second'] / 1e9:,.0f} GFLOP/s"
        if known
        else "its operations are not known",
    )
    yield (
        "padding",
        f"{speed['padding']:.1%}" if packed else DASH,
        f"of {speed['launched_tokens']:,} tokens in {speed['launches']:,} launches"
        if packed
        else "",
    )
    yield "peak memory", _gib(found["peak_memory_bytes"]), "of this process"
    if speed["gpu_bytes"] is not None:
        yield "", _gib(speed["gpu_bytes"]), "on the GPU"
    write, read, copied = (
        cache[f"{what}_bytes_per_second"] / 1e9 for what in ("write", "read", "copy")
    )
    yield "cache, write", f"{write:.2f} GB/s", ""
    share = f"{read / copied:.0%} of copying in memory ({copied:.1f} GB/s)"
    yield "cache, read", f"{read:.2f} GB/s", share


def _where(computed: dict[str, Any]) -> str:
    return f"{computed['threads']} threads, {computed['kernels']}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
