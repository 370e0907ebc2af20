"""The packed engine beside what scripts do: padded batches through networks of the same shape.

    python -m benchmarks.engine                                            # CPU, 200M, ten minutes
    python -m benchmarks.engine --device cuda --shape 3b --dtype float16   # a GPU, two minutes

Every way embeds random proteins, as long as those of TAPE's five sets mixed, and returns the mean
of each protein's residues on the host. Rounds alternate between the ways, each over its own part
of the proteins, after a whole round that does not count.

packed         `tape_bench`, as `tape-bench run` and `bench` use it
padded         proteins in random order, 16 a batch, padded to the longest: separate query, key and
               value maps, torch's scaled-dot-product attention with a boolean mask
padded-sorted  the same, proteins sorted by length, up to 16,384 tokens a batch
transformers   `EsmModel` of the same shape with torch's attention, sorted as above (on a GPU)
TAPE-like      in float32 whatever is asked for, attention written out, and -10000 added to the
               scores of padding; 16 proteins of like length a batch, as its bucket sampler does

All but transformers' have the same weights; that their values agree is checked first. Shares are
useful operations (those on residues, see `flops`) of what plain matrix products do in the
precision that the way multiplies in, timed in the same run; a processor that is slow in half
precision is given float32 by the engine, and half precision by the padded ways. On a GPU slow ways
are given a part of the proteins: rates are compared. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
import numpy as np
import torch

from benchmarks import ways
from benchmarks.networks import CONFIGS, network
from benchmarks.ways import Way
from tape_bench import kernels as fused
from tape_bench.embedding.in_memory import represent
from tape_bench.kernels import dispatch
from tape_bench.models.placement import dtype_named
from tape_bench.models.proteinlm import ProteinLM
from tape_bench.results import provenance
from tape_bench.speed import synthetic
from tape_bench.speed.flops import useful_flops
from tape_bench.speed.measure import matmul_rate

PROTEINS = {"cpu": 128, "cuda": 4096}
ROUNDS = 2
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far the ways may differ, relative; plain networks keep everything in the low precision."""


def racers(model: ProteinLM, peers: Sequence[str]) -> Iterator[Way]:
    """Make the ways, ours first."""
    shape, dtype, gpu = model.describe(), model.dtype, model.device.type == "cuda"

    def way(name: str, embed: ways.Embed, multiplies: torch.dtype = dtype, part: int = 1) -> Way:
        ceiling = matmul_rate(model, shape, multiplies)
        return Way(name, multiplies, multiplies, embed, ceiling, part if gpu else 1)

    ours = way("packed", ways.packed(model), dtype_named(shape.dtype))
    ours.dtype = dtype
    yield ours
    if gpu and "sums-apart" in peers:
        yield way("packed, sums apart", _sums_apart(ways.packed(model)))
    if "padded" in peers or "padded-sorted" in peers:
        plain = ways.plain(model, dtype, written_out=False)
        if "padded" in peers:
            yield way("padded", ways.padded(model, plain, ways.as_they_come), part=4)
        if "padded-sorted" in peers:
            yield way("padded-sorted", ways.padded(model, plain, ways.by_tokens))
    if "transformers" in peers:
        esm = ways.transformers_esm(model, dtype)
        yield way("transformers", ways.padded(model, esm, ways.by_tokens))
    if "TAPE-like" in peers:
        tape = ways.plain(model, torch.float32, written_out=True)
        embed = ways.padded(model, tape, ways.of_like_length)
        yield way("TAPE-like", embed, torch.float32, part=16)


def _sums_apart(embed: ways.Embed) -> ways.Embed:
    """Embed with block and residual stream added by the layer norm, not by the product."""

    def apart(proteins: Sequence[str], between: Callable[[], None]) -> np.ndarray:
        within = fused.sums_on_gpu
        fused.sums_on_gpu = lambda stream, weight: False
        try:
            return embed(proteins, between)
        finally:
            fused.sums_on_gpu = within

    return apart


def compare(model: ProteinLM, count: int, peers: Sequence[str]) -> Iterator[str]:
    """Race the ways, and yield lines of the table."""
    gpu = model.device.type == "cuda"
    proteins = synthetic.proteins(synthetic.lengths(count))
    rounds = [proteins[part::ROUNDS] for part in range(ROUNDS)]
    chosen = list(racers(model, peers))
    check_same([one for one in chosen if one.name != "transformers"], proteins, model.dtype)
    for each in chosen:
        if gpu:
            # What is compiled, loaded and set aside the first time is no part of a rate.
            each.embed(rounds[0][:: each.part], ways.nothing)
    for part in rounds:
        for each in chosen:
            each.take(part, between=not gpu)
    for each in chosen:
        top = each.ceiling.flops_per_second
        useful = useful_flops(model.describe(), each.lengths) / each.seconds
        yield (
            f"| {each.name} | {name_of(each.dtype)} | {name_of(each.multiplies)} "
            f"| {each.rate:,.0f} | {chosen[0].rate / each.rate:.2f} | {useful / 1e9:,.0f} "
            f"| {top / 1e9:,.0f} | {useful / top:.1%} |"
        )


def check_same(chosen: Sequence[Way], proteins: Sequence[str], dtype: torch.dtype) -> None:
    """Stop unless all ways give the same vectors."""
    few = proteins[: ways.BATCH]
    expected = chosen[0].embed(few, ways.nothing)
    for each in chosen[1:]:
        found = each.embed(few, ways.nothing)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        if not error < TOLERANCE[dtype]:
            raise SystemExit(f"{each.name} and {chosen[0].name} differ by {error:.1e}")


def alone(model: ProteinLM, count: int) -> Iterator[str]:
    """Yield what is to be said of the engine by itself."""
    mixed = synthetic.proteins(synthetic.lengths(count))
    name = name_of(model.dtype)
    residues = sum(map(len, mixed))
    short, long = (
        rate(model, synthetic.proteins([length] * (residues // length))) for length in (45, 256)
    )
    if model.device.type == "cuda":
        lasting = sustained(model)
        mixed_rate = rate(model, mixed)
        useful = useful_flops(model.describe(), map(len, mixed)) * mixed_rate / residues
        yield (
            f"- {name}: products for three seconds in a row: {lasting / 1e9:,.0f} GFLOP/s, the "
            f"card being limited by its power; packed alone {mixed_rate:,.0f} residues/s, "
            f"{useful / lasting:.1%} of that"
        )
    yield (
        f"- {name}: {short:,.0f} residues/s at length 45, {long:,.0f} at length 256: "
        f"{short / long:.2f} of it"
    )
    if model.dtype != torch.float32:
        yield f"- {name} against float32, per residue: {errors(model, mixed[: 2 * ways.BATCH])}"
    # Last, for the references take longest.
    if dispatch.choice(model.device)[0]:
        part = mixed[: count // 32]
        fused = rate(model, part)
        with kernels("reference"):
            reference = rate(model, part)
        yield (
            f"- {name}: fused kernels {fused / reference:.2f}x the references (which ask the GPU "
            "for lengths in every layer)"
        )


def sustained(model: ProteinLM) -> float:
    """Return the operations a second of a perceptron's product, repeated for seconds."""
    hidden = model.config.hidden
    x = torch.randn(model.tokens_per_launch(), hidden, device=model.device).to(model.dtype)
    weight = torch.randn(4 * hidden, hidden, device=model.device).to(model.dtype)
    work = 2 * x.numel() * 4 * hidden
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    repeats = int(2e15 // work)
    start.record()
    for _ in range(repeats):
        torch.nn.functional.linear(x, weight)
    end.record()
    end.synchronize()
    return work * repeats / start.elapsed_time(end) * 1000


def rate(model: ProteinLM, proteins: Sequence[str]) -> float:
    """Return residues a second, the better of two rounds after one that does not count."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        represent(model, proteins, "mean").close()
        taken.append(time.perf_counter() - started)
    return sum(map(len, set(proteins))) / min(taken[1:])


def errors(model: ProteinLM, proteins: Sequence[str]) -> str:
    """Say how far residues' vectors are from those of the same weights computed in float32."""
    with represent(model, proteins, "residues") as found:
        low = np.concatenate([found[protein] for protein in proteins])
    model.encoder.float()
    with represent(model, proteins, "residues") as found:
        high = np.concatenate([found[protein] for protein in proteins])
    model.encoder.to(model.dtype)
    error = np.linalg.norm(low - high, axis=1) / np.linalg.norm(high, axis=1)
    return f"median {np.median(error):.1e}, largest {error.max():.1e}"


@contextmanager
def kernels(setting: str) -> Iterator[None]:
    before = os.environ.get(dispatch.VARIABLE)
    os.environ[dispatch.VARIABLE] = setting
    try:
        yield
    finally:
        os.environ.pop(dispatch.VARIABLE)
        if before is not None:
            os.environ[dispatch.VARIABLE] = before


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def machine(device: torch.device) -> str:
    where = provenance.processor()
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}; {where}"
    return f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}"


PEERS = ("padded", "padded-sorted", "transformers", "TAPE-like")


@click.command()
@click.option("--shape", type=click.Choice(list(CONFIGS)), default="200m", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default=["float32", "bfloat16"],
    show_default=True,
)
@click.option("--proteins", type=int, help="Default: 128 on a CPU, 4096 on a GPU.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice([*PEERS, "sums-apart", "none"]),
    help="Default: all; on a CPU all but transformers, and TAPE-like in float32 alone.",
)
def main(
    shape: str, device: str, dtypes: Sequence[str], proteins: int | None, peers: Sequence[str]
) -> None:
    """Print the tables."""
    config, place = CONFIGS[shape], torch.device(device)
    count = proteins or PROTEINS[device]
    print(f"# Packed, padded, and as TAPE does it: {config.layers} x {config.hidden}\n")
    print(f"{machine(place)}. {count} proteins of TAPE's lengths.\n")
    print("| way | precision | products in | residues/s | packed / way | GFLOP/s ", end="")
    print("| matmul GFLOP/s | share |\n|---|---|---|---|---|---|---|---|")
    remarks: list[tuple[ProteinLM, int]] = []
    for dtype in dtypes:
        model = network(config, getattr(torch, dtype), place)
        asked = peers or [
            peer
            for peer in PEERS
            if device == "cuda"
            or (peer != "transformers" and dtype == "float32")
            or "padded" in peer
        ]
        for line in compare(model, count, asked):
            print(line, flush=True)
        gc.collect()
        # A CPU has no kernels to compare, and these would double its time.
        if device == "cuda" or shape == "tiny":
            remarks.append((model, count))
    print(flush=True)
    for model, count in remarks:
        for line in alone(model, count):
            print(line, flush=True)


if __name__ == "__main__":
    main()
