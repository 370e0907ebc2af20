"""ESM-2's shapes on the packed engine beside transformers, in one run on a CPU.

    python -m benchmarks.hub                       # 35M and 150M, float32 and bfloat16, ten minutes
    python -m benchmarks.hub --shape tiny --proteins 8 --rounds 1

Random weights in a folder as the hub's. The proteins are random, as long as those of TAPE's five
sets mixed, and every way returns the mean of each protein's residues. Rounds alternate between the
ways, each over the same proteins, after one that does not count; that values agree is checked.

packed        `hf:FOLDER`
documented    what the model's page shows: `EsmTokenizer(proteins, padding=True)` and `EsmModel`,
              with torch's attention, 16 proteins a batch in the order they come
sorted        `hf:FOLDER -M engine=transformers`: by length, up to 2,048 tokens a batch, padded
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from tape_bench.embedding.in_memory import represent
from tape_bench.models.huggingface.loading import load
from tape_bench.models.placement import dtype_named
from tape_bench.results import provenance
from tape_bench.speed import synthetic

SHAPES = {"tiny": (2, 32, 4), "8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20)}
"""Layers, width and heads of ESM-2's models."""
VOCABULARY = [
    "<cls>",
    "<pad>",
    "<eos>",
    "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    "<null_1>",
    "<mask>",
]
BATCH = 16
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2}

Way = Callable[[Sequence[str]], list[np.ndarray]]


def folder_of(shape: str, place: Path) -> Path:
    """Write a random model of a shape as the hub has them."""
    import transformers

    layers, hidden, heads = SHAPES[shape]
    config = transformers.EsmConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
        pad_token_id=1,
        mask_token_id=32,
        layer_norm_eps=1e-5,
    )
    torch.manual_seed(0)
    transformers.EsmForMaskedLM(config).save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(VOCABULARY))
    return place


def documented(folder: Path, dtype: torch.dtype) -> Way:
    """Embed as the model's page shows."""
    import transformers

    network = transformers.EsmModel.from_pretrained(
        folder, dtype=dtype, add_pooling_layer=False, attn_implementation="sdpa"
    ).eval()
    tokenizer = transformers.EsmTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def embed(proteins: Sequence[str]) -> list[np.ndarray]:
        found = []
        for start in range(0, len(proteins), BATCH):
            batch = list(proteins[start : start + BATCH])
            tokens = tokenizer(batch, padding=True, return_tensors="pt")
            hidden = network(**tokens).last_hidden_state.float()
            found += [
                one[1 : len(protein) + 1].mean(0).numpy()
                for one, protein in zip(hidden, batch, strict=True)
            ]
        return found

    return embed


def ours(folder: Path, dtype: torch.dtype, engine: str) -> Way:
    """Embed by this package, as its runs do."""
    model = load(str(folder), dtype=str(dtype).removeprefix("torch."), device="cpu", engine=engine)  # type: ignore[arg-type]

    def embed(proteins: Sequence[str]) -> list[np.ndarray]:
        found = represent(model, proteins, "mean")
        return [found[protein] for protein in proteins]

    return embed


def measure(ways: dict[str, Way], proteins: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round of each way, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, embed in ways.items():
            start = time.perf_counter()
            embed(proteins)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


@click.command(help=__doc__)
@click.option("--shape", "shapes", type=click.Choice(list(SHAPES)), multiple=True)
@click.option("--dtype", "dtypes", type=click.Choice(["float32", "bfloat16"]), multiple=True)
@click.option("--proteins", "count", default=96, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(shapes: tuple[str, ...], dtypes: tuple[str, ...], count: int, rounds: int) -> None:
    """Print a table, one line a shape, precision and way."""
    proteins = synthetic.proteins(synthetic.lengths(count))
    np.random.default_rng(0).shuffle(proteins)
    residues = sum(map(len, proteins))
    print(
        f"{provenance.processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads."
    )
    print(f"{count} proteins, {residues:,} residues, {rounds} rounds.\n")
    print("| shape | precision | way | residues/s | times documented (each round) |")
    print("|---|---|---|---|---|")
    for shape in shapes or ("35M", "150M"):
        with tempfile.TemporaryDirectory() as place:
            folder = folder_of(shape, Path(place))
            for name in dtypes or ("float32", "bfloat16"):
                dtype = dtype_named(name)
                ways = {
                    "packed": ours(folder, dtype, "packed"),
                    "documented": documented(folder, dtype),
                    "sorted": ours(folder, dtype, "transformers"),
                }
                check(ways, proteins[:24], TOLERANCE[dtype])
                seconds = measure(ways, proteins, rounds)
                for way, took in seconds.items():
                    ratios = [
                        other / own for own, other in zip(took, seconds["documented"], strict=True)
                    ]
                    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
                    rate = residues / statistics.median(took)
                    print(
                        f"| {shape} | {name} | {way} | {rate:,.0f} "
                        f"| {statistics.median(ratios):.2f} ({shown}) |",
                        flush=True,
                    )


def check(ways: dict[str, Way], proteins: Sequence[str], tolerance: float) -> None:
    """See that all ways give the same vectors."""
    expected = np.stack(ways["documented"](proteins))
    for name, embed in ways.items():
        error = np.linalg.norm(np.stack(embed(proteins)) - expected) / np.linalg.norm(expected)
        assert error < tolerance, f"{name} differs by {error:.2g}"


if __name__ == "__main__":
    main()
