"""The packed engine beside what scripts do: padded batches through a plain BERT of the same shape.

    python benchmarks/engine.py                                            # CPU, 200M, ten minutes
    python benchmarks/engine.py --device cuda --shape 3b --dtype float16   # a GPU, some minutes

Every way embeds the same random proteins, as long as those of TAPE's five sets mixed, with the
same weights, and returns the mean of each protein's residues on the host; that the values agree
is checked first. Rounds alternate between the ways, each over its own part of the proteins.

packed     `tape_bench.engine`, as `tape-bench run` and `bench` use it
padded     proteins in random order, 16 a batch, padded to the longest: separate query, key and
           value maps, torch's scaled-dot-product attention with a boolean mask, no custom kernels
TAPE-like  in float32 whatever is asked for, attention written out, and -10000 added to the scores
           of padding; batches of 16 proteins of like length, as its bucket sampler makes them

Shares are useful operations (those on residues, see `tape_bench.engine.flops`) of what plain
matrix products do in the precision that the way multiplies in, timed between its batches; a
processor that is slow in half precision is given float32 by the engine, and half precision by the
padded way. Seconds are summed over rounds, those that timing products takes left out.
Run it on an otherwise idle machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import click
import numpy as np
import torch
from plain_bert import PlainBert

from tape_bench.engine import workload
from tape_bench.engine.embed import represent
from tape_bench.engine.flops import useful_flops
from tape_bench.engine.measure import matmul_rate
from tape_bench.engine.yardsticks import MatmulRate
from tape_bench.kernels import dispatch
from tape_bench.models.placement import dtype_named
from tape_bench.models.proteinlm import ProteinLM, ProteinLMConfig
from tape_bench.models.proteinlm.reading import Reading
from tape_bench.models.random import SHAPES, RandomWeights
from tape_bench.results import provenance

CONFIGS = {
    "tiny": ProteinLMConfig(
        layers=2, hidden=64, heads=2, positions=1024, layernorm_eps=1e-12, gelu="tanh"
    ),
    "200m": SHAPES["proteinlm-200m"],
    "3b": ProteinLMConfig(
        layers=36, hidden=2560, heads=40, positions=2176, layernorm_eps=1e-12, gelu="tanh"
    ),
}
PROTEINS = {"cpu": 128, "cuda": 4096}
BATCH = 16
ROUNDS = 2
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far the ways may differ, relative; plain networks keep everything in the low precision."""

Embed = Callable[[Sequence[str], Callable[[], None]], np.ndarray]
"""Gives `[proteins, hidden]`; what it is handed, it calls after every batch."""


@dataclass
class Way:
    """One way of embedding, and what it has taken so far."""

    name: str
    dtype: torch.dtype
    multiplies: torch.dtype
    embed: Embed
    ceiling: MatmulRate
    seconds: float = 0.0

    def take(self, proteins: Sequence[str]) -> None:
        """Embed a round's proteins, against the clock."""
        started, before = time.perf_counter(), self.ceiling.seconds
        self.embed(proteins, self.ceiling.sample)
        self.seconds += time.perf_counter() - started - (self.ceiling.seconds - before)


def engine(config: ProteinLMConfig, dtype: torch.dtype, device: torch.device) -> ProteinLM:
    """Make our model, with random weights."""
    return ProteinLM(
        lambda: RandomWeights(config, 0, stored_dtype=dtype),
        Reading("megatron", None, None),
        spec="random",
        name="random",
        pretraining=(),
        control=True,
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
    )


def packed(model: ProteinLM) -> Embed:
    def embed(proteins: Sequence[str], between: Callable[[], None]) -> np.ndarray:
        with represent(model, proteins, "mean", progress=lambda *_: between()) as found:
            return np.stack([found[protein] for protein in proteins])

    return embed


def padded(model: ProteinLM, dtype: torch.dtype, *, tape_like: bool) -> Embed:
    """Put our model's weights into a plain BERT, and feed it padded batches."""
    plain = PlainBert(model.config, written_out=tape_like).load(model.encoder.state_dict())
    plain = plain.to(model.device, dtype).eval()
    vocabulary = model.vocabulary

    @torch.no_grad()
    def embed(proteins: Sequence[str], between: Callable[[], None]) -> np.ndarray:
        order = list(range(len(proteins)))
        if tape_like:
            order.sort(key=lambda index: len(proteins[index]))
        vectors = np.empty((len(proteins), model.config.hidden), np.float32)
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            rows = [[vocabulary.cls, *vocabulary.encode(proteins[index])] for index in batch]
            longest = max(map(len, rows))
            ids = torch.tensor([row + [vocabulary.pad] * (longest - len(row)) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
            vectors[batch] = plain.mean(ids.to(model.device), mask.to(model.device)).cpu().numpy()
            between()
        return vectors

    return embed


def compare(model: ProteinLM, count: int) -> Iterator[str]:
    """Race the ways, and yield lines of the table."""
    network, dtype = model.describe(), model.dtype

    def way(name: str, asked: torch.dtype, multiplies: torch.dtype, embed: Embed) -> Way:
        return Way(name, asked, multiplies, embed, matmul_rate(model, network, multiplies))

    ways = [
        way("packed", dtype, dtype_named(network.dtype), packed(model)),
        way("padded", dtype, dtype, padded(model, dtype, tape_like=False)),
    ]
    if dtype == torch.float32 or model.device.type == "cuda":
        tape = padded(model, torch.float32, tape_like=True)
        ways.append(way("TAPE-like", torch.float32, torch.float32, tape))
    proteins = workload.proteins(workload.lengths(count))
    check_same(ways, proteins[:BATCH], dtype)
    for part in range(ROUNDS):
        for each in ways:
            each.take(proteins[part::ROUNDS])
    residues = sum(map(len, proteins))
    useful = useful_flops(network, map(len, proteins))
    for each in ways:
        top = each.ceiling.flops_per_second
        yield (
            f"| {each.name} | {name_of(each.dtype)} | {name_of(each.multiplies)} "
            f"| {residues / each.seconds:,.0f} "
            f"| {each.seconds / ways[0].seconds:.2f} | {useful / each.seconds / 1e9:,.0f} "
            f"| {top / 1e9:,.0f} | {useful / each.seconds / top:.1%} |"
        )


def check_same(ways: Sequence[Way], proteins: Sequence[str], dtype: torch.dtype) -> None:
    """Stop unless all ways give the same vectors, which warms them up as well."""
    expected = ways[0].embed(proteins, nothing)
    for each in ways[1:]:
        error = np.linalg.norm(each.embed(proteins, nothing) - expected) / np.linalg.norm(expected)
        if not error < TOLERANCE[dtype]:
            raise SystemExit(f"{each.name} and {ways[0].name} differ by {error:.1e}")


def nothing() -> None:
    """Done between batches that warm up."""


def alone(model: ProteinLM, count: int) -> Iterator[str]:
    """Yield what is to be said of the engine by itself."""
    mixed = workload.proteins(workload.lengths(count))
    name = name_of(model.dtype)
    if dispatch.choice(model.device)[0]:
        fused = rate(model, mixed)
        with kernels("reference"):
            reference = rate(model, mixed)
        yield f"- {name}: fused kernels {fused / reference:.2f}x reference kernels"
    residues = sum(map(len, mixed))
    short, long = (
        rate(model, workload.proteins([length] * (residues // length))) for length in (45, 256)
    )
    yield (
        f"- {name}: {short:,.0f} residues/s at length 45, {long:,.0f} at length 256: "
        f"{short / long:.2f} of it"
    )
    if model.dtype != torch.float32:
        yield f"- {name} against float32, per residue: {errors(model, mixed[: 2 * BATCH])}"


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
def main(shape: str, device: str, dtypes: Sequence[str], proteins: int | None) -> None:
    """Print the tables."""
    config, place = CONFIGS[shape], torch.device(device)
    count = proteins or PROTEINS[device]
    print(f"# Packed, padded, and as TAPE does it: {config.layers} x {config.hidden}\n")
    print(f"{machine(place)}. {count} proteins of TAPE's lengths.\n")
    print("| way | precision | products in | residues/s | time / packed | GFLOP/s ", end="")
    print("| matmul GFLOP/s | share |\n|---|---|---|---|---|---|---|---|")
    remarks = []
    for dtype in dtypes:
        model = engine(config, getattr(torch, dtype), place)
        for line in compare(model, count):
            print(line, flush=True)
        # A CPU has no kernels to compare, and these would double its time.
        if device == "cuda" or shape == "tiny":
            remarks += alone(model, count)
    print("", *remarks, sep="\n")


if __name__ == "__main__":
    main()
