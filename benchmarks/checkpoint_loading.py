"""Loading ProteinLM from Megatron shards, beside the usual way: build, torch.load, load_state_dict.

    python benchmarks/checkpoint_loading.py 200m
    python benchmarks/checkpoint_loading.py 3b

Writes random checkpoints of that size into a temporary folder, loads each in fresh processes, one
way after the other, embeds a few proteins, and removes the folder. The file's pages are in the
page cache for either way; in its own precision the file is the network's memory, so its pages
count. Memory is the process's peak resident size above what it had with everything imported.
The usual way is not asked for the 3B: it would need some 23 GB.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from tape_bench.models.controls.untrained import SHAPES, RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig, load
from tape_bench.models.proteinlm.checkpoint import build_encoder
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.mapping import VOCABULARY, flatten, weights
from tape_bench.models.proteinlm.megatron.writer import Sharding
from tape_bench.models.transformer.encoder import Encoder

CONFIGS = {
    "200m": SHAPES["proteinlm-200m"],
    "3b": ProteinLMConfig(
        layers=36, hidden=2560, heads=40, positions=2176, layernorm_eps=1e-12, gelu="tanh"
    ),
}
RANKS = {"200m": 1, "3b": 4}
CASES = {
    "200m": [
        ("float32", "float32"),
        ("float16", "float32"),
        ("float16", "bfloat16"),
        ("float16 + optimizer", "bfloat16"),
    ],
    "3b": [("float16", "bfloat16")],
}
"""What the file holds, and the precision that is asked for."""
WAYS = {"200m": ["usual", "tape-bench"], "3b": ["tape-bench"]}
PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMASLTPEQ" * 9, "ACDEFGHIKLMNPQRSTVWY" * 12]


class QuickWeights(RandomWeights):
    """Random weights from one small block, over and over: here only their number matters."""

    _block = torch.empty(1_000_003).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))

    def _draw(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if "norm" in name:
            return super()._draw(name, shape)
        count = torch.Size(shape).numel()
        return self._block.repeat(count // len(self._block) + 1)[:count].view(shape)


def load_as_usual(root: Path, config: ProteinLMConfig, dtype: torch.dtype) -> Encoder:
    """Build the network, load the shards, merge them, copy them in, cast: what scripts do."""
    encoder = build_encoder(config, vocabulary=VOCABULARY)
    for module in encoder.modules():
        # Ours leave their memory as it is; PyTorch's own draw values that are thrown away.
        for kind in (nn.Linear, nn.Embedding):
            if isinstance(module, kind):
                kind.reset_parameters(module)
    files = sorted(root.glob("release/mp_rank_*/model_optim_rng.pt"))
    states = [torch.load(file, map_location="cpu", weights_only=False) for file in files]
    shards = [flatten(state["model"]) for state in states]
    merged = {}
    for weight in weights(config).values():
        parts = [shard[weight.megatron.format(weight.layer)] for shard in shards]
        if len(parts) > 1 and weight.partition != "whole":
            parts = [torch.cat(parts, 1 if weight.partition == "columns" else 0)]
        merged[weight.name] = (
            parts[0][:VOCABULARY] if weight.partition == "vocabulary" else parts[0]
        )
    encoder.load_state_dict(merged)
    return encoder.to(dtype).eval()


def add_optimizer_state(root: Path) -> None:
    """Add what training keeps beside float16 weights: a float32 copy and two moments."""
    for path in root.glob("release/mp_rank_*/model_optim_rng.pt"):
        state = torch.load(path, weights_only=False)
        values = sum(tensor.numel() for tensor in flatten(state["model"]).values())
        names = ("fp32_from_fp16_params", "exp_avg", "exp_avg_sq")
        state["optimizer"] = {name: torch.ones(values) for name in names}
        torch.save(state, path)


def resident(field: str) -> int:
    """Return a line of this process's memory status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) << 10


def measure(way: str, root: str, size: str, dtype: str) -> None:
    """Load one way in this process, and print what it took as JSON."""
    before = resident("VmRSS")
    begun = time.perf_counter()
    model = None
    if way == "usual":
        encoder = load_as_usual(Path(root), CONFIGS[size], getattr(torch, dtype))
    else:
        model = load(root, dtype=dtype, device="cpu")
        encoder = model.encoder
    took = {"load": time.perf_counter() - begun, "peak": resident("VmHWM") - before}
    took["kept"] = sum(p.numel() * p.element_size() for p in encoder.parameters())
    if model is not None:
        begun = time.perf_counter()
        vectors = model.embed(PROTEINS)
        took["embed"] = time.perf_counter() - begun
        assert [len(rows) for rows in vectors] == [len(protein) for protein in PROTEINS]
        begun = time.perf_counter()
        assert model.identity.weights_digest
        took["digest"] = time.perf_counter() - begun
        took["peak of all"] = resident("VmHWM") - before
    print(json.dumps(took))


def write(root: Path, size: str, held: str) -> None:
    """Write the checkpoint a case starts from."""
    dtype = getattr(torch, held.split()[0])
    source = QuickWeights(CONFIGS[size], seed=0, stored_dtype=dtype)
    convert(source, root, to="megatron", sharding=Sharding(tensor=RANKS[size]))
    if held.endswith("optimizer"):
        add_optimizer_state(root)


def measured(root: Path, size: str, way: str, dtype: str, rounds: int) -> str:
    """Return a way's part of a line of the table: the medians over fresh processes."""
    command = [sys.executable, __file__, "--measure", way, str(root), size, dtype]
    runs = [json.loads(subprocess.check_output(command)) for _ in range(rounds)]
    took = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    sizes = f"{took['peak'] / 1e9:8.2f} GB{took['peak'] / took['kept']:7.2f}x"
    part = f"{way:12}{took['load']:7.2f} s{sizes}"
    if "embed" in took:
        whole = took["peak of all"] / took["kept"]
        part += f"{took['embed']:9.2f} s{took['digest']:8.2f} s{whole:9.2f}x"
    return part


@click.command()
@click.argument("size", type=click.Choice(list(CONFIGS)))
@click.option("--rounds", default=3, show_default=True, help="Fresh processes a way.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write the checkpoint.")
def main(size: str, rounds: int, folder: Path | None) -> None:
    """Write a checkpoint, load it each way in fresh processes, print the table."""
    click.echo(
        f"{'file':20}{'asked':10}{'way':12}{'load':>9}{'peak':>11}{'/kept':>8}"
        f"{'embed 3':>11}{'digest':>10}{'all/kept':>10}"
    )
    for held, dtype in CASES[size]:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            root = Path(temporary) / "checkpoint"
            write(root, size, held)
            for way in WAYS[size]:
                click.echo(f"{held:20}{dtype:10}{measured(root, size, way, dtype, rounds)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
