"""Contact heads by algebra, beside the same heads with the features of every pair written out.

    python benchmarks/contact_heads.py > benchmarks/contact_heads.md

Each case runs in a fresh process, one after the other: time is the median over runs, memory the
peak of the first run above what the process held before it (a tiny run of the same head came
before). The two forms share weights and input; the difference of their scores is relative to the
largest score. Feature dropout is on in training, so there the forms are not compared.

Written out, evaluation takes 11 GB of memory: the program refuses to start with less than 13 free.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import psutil
import torch
from scipy.spatial.distance import pdist, squareform
from torch import Tensor
from torch.nn import functional

from tape_bench.heads.pair import PairHead, PairProductDifference
from tape_bench.heads.pair_mlp import PairMLP
from tape_bench.heads.pair_resnet import PairResNet, ResidualBlock
from tape_bench.scoring.contact_precision import count_hits
from tape_bench.scoring.contacts import contact_labels, pair_labels
from tape_bench.scoring.predictions import Predictions

HIDDEN = 2560
NEEDED = 13e9
"""Bytes that must be free."""


def products_and_differences(x: Tensor) -> Tensor:
    one, other = x[:, :, None], x[:, None]
    return torch.cat([one * other, one - other], dim=-1)


def symmetric(scores: Tensor) -> Tensor:
    return ((scores + scores.transpose(1, 2)) / 2).diff(dim=-1).squeeze(-1)


def tape_written_out(head: PairProductDifference, x: Tensor) -> Tensor:
    return symmetric(head.predict(products_and_differences(x)))


def first_stage_written_out(head: PairResNet, x: Tensor) -> Tensor:
    features = functional.dropout(products_and_differences(x), 0.5, head.training)
    layer = head.predict["1"]
    return functional.conv2d(features.permute(0, 3, 1, 2), layer.weight, layer.bias)


def fork_written_out(head: PairResNet, x: Tensor) -> Tensor:
    maps = first_stage_written_out(head, x)
    for block in head.predict.values():
        if isinstance(block, ResidualBlock):
            maps = block(maps, None)
    return symmetric(head.linear["0"](maps.permute(0, 2, 3, 1)))


def megatron_written_out(head: PairMLP, x: Tensor) -> Tensor:
    pairs = (1, x.shape[1], x.shape[1], HIDDEN)
    ends = torch.cat([x[:, None].expand(pairs), x[:, :, None].expand(pairs)], dim=-1)
    inner = functional.dropout(head.classifier["0"](ends).tanh(), 0.1, head.training)
    return symmetric(head.classifier["3"](inner))


HEADS: dict[str, tuple[type[PairHead], Callable, Callable]] = {
    "TAPE": (PairProductDifference, tape_written_out, PairProductDifference.__call__),
    "fork, first stage": (
        PairResNet,
        first_stage_written_out,
        lambda head, x: head.first_stage(x[0])[None],
    ),
    "fork": (PairResNet, fork_written_out, PairResNet.__call__),
    "Megatron": (PairMLP, megatron_written_out, PairMLP.__call__),
}
"""The head, its scores written out, and its scores as we compute them."""


def resident(field: str) -> int:
    """Return a line of this process's memory status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) << 10


def measure(name: str, form: str, step: str, residues: int, out: str) -> None:
    """Run one form of one head in this process; print what it took as JSON, keep the scores."""
    torch.manual_seed(0)
    make, *forms = HEADS[name]
    head = make(HIDDEN).train(step == "training")
    score = forms[form == "ours"]
    x = torch.randn(1, residues, HIDDEN)

    def run(x: Tensor) -> Tensor:
        if step == "evaluation":
            with torch.no_grad():
                return score(head, x)
        head.zero_grad()
        scores = score(head, x)
        scores.square().mean().backward()
        return scores.detach()

    run(x[:, :16])
    # From here on, the highest mark of memory is that of the runs.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < 5:
        begun = time.perf_counter()
        scores = run(x)
        seconds.append(time.perf_counter() - begun)
        if len(seconds) == 1:
            peak = resident("VmHWM") - before
            np.save(out, scores.numpy())
        del scores
    print(json.dumps({"seconds": statistics.median(seconds), "peak": peak}))


def measured(name: str, form: str, step: str, residues: int, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", name, form, step, str(residues), str(out)]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def report_heads(step: str, residues: int, forms: tuple[str, ...], folder: Path) -> None:
    """Print a line for each head: both forms, or ours alone."""
    for name in HEADS:
        took = {
            form: measured(name, form, step, residues, folder / f"{form}.npy") for form in forms
        }
        ours, ratios = took["ours"], ["–"] * 5
        if "written out" in took:
            theirs = took["written out"]
            ratios = [
                f"{theirs['seconds']:.2f} s",
                f"{theirs['peak'] / 1e6:,.0f} MB",
                f"{theirs['seconds'] / ours['seconds']:.1f}x",
                f"{theirs['peak'] / ours['peak']:.0f}x",
                difference(folder) if step == "evaluation" else "–",
            ]
        time_, memory, *compared = ratios
        line = [name, step, str(residues), time_, memory, f"{ours['seconds']:.3f} s"]
        click.echo(row(*line, f"{ours['peak'] / 1e6:,.0f} MB", *compared))


def difference(folder: Path) -> str:
    ours, theirs = (np.load(folder / f"{form}.npy") for form in ("ours", "written out"))
    return f"{np.abs(ours - theirs).max() / np.abs(theirs).max():.0e}"


def report_labels() -> None:
    random = np.random.default_rng(0)
    for residues in (128, 256, 512, 1024):
        walk = random.normal(0, 2.2, (residues, 3)).cumsum(axis=0)
        valid = random.random(residues) > 0.05
        unresolved = np.where(valid[:, None], walk, np.nan)
        np.testing.assert_array_equal(contact_labels(unresolved), plain_labels(walk, valid))
        plain = lambda walk=walk, valid=valid: plain_labels(walk, valid)  # noqa: E731
        ours = lambda unresolved=unresolved: contact_labels(unresolved)  # noqa: E731
        theirs, mine = milliseconds(plain), milliseconds(ours)
        click.echo(row(str(residues), f"{theirs:.2f}", f"{mine:.2f}", f"{theirs / mine:.1f}x"))


def plain_labels(walk: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Label pairs the way TAPE's data set does: condensed distances, whole index arrays."""
    labels = (squareform(pdist(walk)) < 8.0).astype(np.int64)
    i, j = np.indices(labels.shape)
    labels[~(valid[:, None] & valid[None]) | (np.abs(i - j) < 6)] = -1
    return labels


def report_precision() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(60, 500, 40)
    walks = [random.normal(0, 2.2, (length, 3)).cumsum(axis=0) for length in lengths]
    logits = [torch.from_numpy(random.normal(size=(n, n)).astype(np.float32)) for n in lengths]
    scored = [torch.ones(n, n, dtype=torch.bool).triu(6) for n in lengths]
    values = [torch.sigmoid(own[mask]).numpy() for own, mask in zip(logits, scored, strict=True)]
    labels = np.concatenate([pair_labels(walk) for walk in walks]).astype(np.int64)
    ids = tuple(map(str, range(len(lengths))))
    predictions = Predictions("residue_pair", ids, lengths, np.concatenate(values), labels)
    ours = milliseconds(lambda: count_hits(predictions))
    for size in (1, 8):
        batches = [
            pad(lengths[first : first + size], logits[first:], walks[first:])
            for first in range(0, len(lengths), size)
        ]
        theirs = milliseconds(lambda batches=batches: [plain_precision(*b) for b in batches])
        click.echo(row(str(size), f"{theirs:.0f}", f"{ours:.0f}", f"{theirs / ours:.1f}x"))


def pad(lengths: np.ndarray, logits: list[Tensor], walks: list[np.ndarray]) -> tuple:
    width = int(lengths.max())
    scores = torch.zeros(len(lengths), width, width, 2)
    labels = torch.full((len(lengths), width, width), -1)
    for place, length in enumerate(lengths.tolist()):
        scores[place, :length, :length, 1] = logits[place]
        labels[place, :length, :length] = torch.from_numpy(contact_labels(walks[place]))
    return lengths.tolist(), scores, labels


def plain_precision(lengths: list[int], scores: Tensor, labels: Tensor) -> float:
    """P@L/5 of one batch the way TAPE does it: a top-k over each whole matrix."""
    place = torch.arange(labels.shape[1])
    eligible = (labels != -1) & (place - place[:, None] >= 6)
    probabilities = scores.softmax(-1)[..., 1] * eligible
    found = taken = 0.0
    for length, probability, label in zip(lengths, probabilities, labels, strict=True):
        top = probability.flatten().topk(length // 5, sorted=False).indices
        found += float(label.flatten()[top].sum())
        taken += len(top)
    return found / taken


def milliseconds(run: Callable[[], object], rounds: int = 7) -> float:
    run()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(seconds)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def heading(*cells: str) -> str:
    return f"\n{row(*cells)}\n|{'---|' * len(cells)}"


@click.command()
def main() -> None:
    """Measure every head in both forms, then labels and precisions; print Markdown tables."""
    free = psutil.virtual_memory().available
    if free < NEEDED:
        raise click.ClickException(
            f"{free / 1e9:.0f} GB of memory are free, {NEEDED / 1e9:.0f} needed"
        )
    click.echo(
        f"# Contact heads by algebra, beside the features of all pairs written out\n\n"
        f"`python benchmarks/contact_heads.py`, {HIDDEN} channels, float32. "
        f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} of them used, "
        f"torch {torch.__version__}, Python {platform.python_version()}."
    )
    click.echo(
        heading(
            "head", "step", "residues", "written out", "memory", "tape-bench", "memory",
            "faster", "smaller", "difference",
        )
    )  # fmt: skip
    both = ("written out", "ours")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        report_heads("evaluation", 512, both, folder)
        report_heads("training", 256, both, folder)
        report_heads("training", 512, ("ours",), folder)
        report_heads("evaluation", 1024, ("ours",), folder)
    click.echo("\nLabels of one protein, beside TAPE's way (`squareform(pdist)`), in milliseconds:")
    click.echo(heading("residues", "TAPE's way", "tape-bench", "faster"))
    report_labels()
    click.echo(
        "\nAll fifteen precisions of 40 proteins of 60 to 500 residues, beside one of them, P@L/5, "
        "the way TAPE takes it in padded batches, in milliseconds:"
    )
    click.echo(heading("batch", "TAPE's way, one", "tape-bench, all", "faster"))
    report_precision()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        name, form, step, residues, out = sys.argv[2:]
        measure(name, form, step, int(residues), out)
    else:
        main()
