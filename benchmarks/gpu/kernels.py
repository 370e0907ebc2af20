"""Every fused operation beside what else could compute it, and which of them is to be taken.

    python -m benchmarks.gpu.kernels [--rehearse]

One launch of ProteinLM-3B (hidden 2560, 40 heads of 64) and -200M (hidden 1024, 16 heads of 64),
in float16. Times are of replayed CUDA graphs, so the host's part is not in them; errors are
relative to the same operation in float64. The lines at the end follow from the tables by rules
that were written down before anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.common import Session, milliseconds, queued
from tape_bench.kernels import attention
from tape_bench.speed import synthetic

# The package gives its operations the names of their modules.
add_norm, bias_gelu, layer_norm, linear, segment_mean = (
    import_module(f"tape_bench.kernels.{name}")
    for name in ("add_layer_norm", "bias_gelu", "layer_norm", "linear", "segment_mean")
)

MODELS = {"3B": (2560, 64), "200M": (1024, 64), "3B, heads of 80": (2560, 80)}
LENGTHS = (32, 47, 64, 96, 128, 192, 256, 384, 512, 1024)
GAIN = 1.03
"""How much faster a fusion has to be."""

Operation = Callable[[], Tensor]


@dataclass
class Draw:
    """Random numbers where and as the session computes."""

    session: Session

    def __call__(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Draw from a normal distribution."""
        return torch.randn(shape, device=self.session.device).to(dtype or self.session.dtype)


def report(
    session: Session, name: str, ways: dict[str, Operation], exact: Tensor | None, gigabytes: float
) -> dict[str, float]:
    """Print a line for each implementation, and return their times."""
    times: dict[str, float] = {}
    for who, run in ways.items():
        with session.part(f"{name}, {who}"):
            error = ""
            if exact is not None:
                found = run().double()
                error = f"{float((found - exact).norm() / exact.norm()):.1e}"
            times[who] = milliseconds(run, session.device)
            host = queued(run, session.device)
            rate = f"{gigabytes / times[who]:.2f}" if gigabytes else ""
            print(
                f"| {name} | {who} | {times[who]:.4f} | {host:.4f} | {rate} | {error} |", flush=True
            )
    return times


def operations(session: Session, tokens: int, model: str, decisions: list[str]) -> None:
    """Time what surrounds the products of a layer, and the products that take it in."""
    draw = Draw(session)
    hidden = 64 if session.rehearse else MODELS[model][0]
    stream, branch = draw(tokens, hidden, dtype=torch.float32), draw(tokens, hidden)
    weight, bias = draw(hidden), draw(hidden)
    shift = draw(hidden, dtype=torch.float32)
    per_token = tokens * hidden / 1e9
    report(
        session, f"add + layer norm, {model}, {tokens}",
        {
            "torch": lambda: add_norm.reference(stream, branch, weight, bias, 1e-12)[1],
            "fused": lambda: add_norm.add_layer_norm(stream, branch, weight, bias, 1e-12)[1],
        },
        add_norm.reference(*(x.double() for x in (stream, branch, weight, bias)), 1e-12)[1],
        12 * per_token,
    )  # fmt: skip
    report(
        session, f"layer norm, {model}, {tokens}",
        {
            "torch": lambda: layer_norm.reference(stream, weight, bias, 1e-12, shift),
            "fused": lambda: layer_norm.layer_norm(stream, weight, bias, 1e-12, shift),
        },
        layer_norm.reference(*(x.double() for x in (stream, weight, bias)), 1e-12, shift.double()),
        6 * per_token,
    )  # fmt: skip
    expand = draw(4 * hidden, hidden) / hidden**0.5
    late = draw(4 * hidden)
    ways: dict[str, Operation] = {
        "torch": lambda: functional.gelu(
            functional.linear(branch, expand, late), approximate="tanh"
        ),
        "product, then fused": lambda: bias_gelu.bias_gelu(
            functional.linear(branch, expand), late, "tanh"
        ),
        "product alone": lambda: functional.linear(branch, expand),
    }
    if not session.rehearse:
        ways["in the product"] = lambda: linear._product_bent(branch, expand, late)
    exact = functional.gelu(
        functional.linear(branch.double(), expand.double(), late.double()), approximate="tanh"
    )
    gelu = report(session, f"linear + GELU, {model}, {tokens}", ways, exact, 0)
    del exact
    if "in the product" in gelu:
        gain = gelu["product, then fused"] / gelu["in the product"]
        decisions.append(
            f"GELU in the product, {model}, {tokens} tokens: {gain:.2f}x: "
            f"{'take' if gain >= GAIN else 'leave'}"
        )
    for block, inputs in (("dense", hidden), ("contract", 4 * hidden)):
        x, down = draw(tokens, inputs), draw(hidden, inputs) / inputs**0.5

        def then_norm(x: Tensor = x, down: Tensor = down) -> Tensor:
            added = functional.linear(x, down, bias)
            return add_norm.add_layer_norm(stream, added, weight, bias, 1e-12)[1]

        def within(x: Tensor = x, down: Tensor = down) -> Tensor:
            total = linear.linear_onto(stream, x, down, None)
            return layer_norm.layer_norm(total, weight, bias, 1e-12, shift)

        both = {"product, then add + norm": then_norm}
        if not session.rehearse:
            both["product adds, then norm"] = within
        # Adding again and again to one stream: what comes out is checked by the tests.
        taken = report(session, f"{block} + sum + norm, {model}, {tokens}", both, None, 0)
        if len(taken) == 2:
            gain = taken["product, then add + norm"] / taken["product adds, then norm"]
            decisions.append(
                f"sum in the product, {block}, {model}, {tokens} tokens: {gain:.2f}x: "
                f"{'take' if gain >= GAIN else 'leave'}"
            )
        stream.normal_()
    offsets = torch.arange(0, tokens + 1, 128, dtype=torch.int32, device=session.device)
    report(
        session, f"segment mean, {model}, {tokens}",
        {"fused": lambda: segment_mean.segment_mean(stream, offsets, 1, 1)},
        None, 4 * per_token,
    )  # fmt: skip


def gathering(session: Session, tokens: int, model: str) -> dict[int | str, dict[str, float]]:
    """Time attention at one length after another, and at TAPE's lengths mixed."""
    draw = Draw(session)
    hidden, head = MODELS[model]
    heads = 2 if session.rehearse else hidden // head
    cases: dict[int | str, list[int]] = {n: [n] * (tokens // n) for n in LENGTHS if n <= tokens}
    mixed = np.array(synthetic.lengths(tokens // 80))
    cases["mixed"] = [int(n) for n in mixed[np.cumsum(mixed) <= tokens]]
    found = {}
    for name, lengths in cases.items():
        total, longest = sum(lengths), max(lengths)
        query, key, value = draw(total, heads, 3, head).unbind(-2)
        offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=session.device)
        if session.rehearse:
            ways = {"torch": partial(attention.reference, query, key, value, offsets)}
        else:
            ways = {
                "ours": partial(attention._fused, query, key, value, offsets, longest),
                "flash": partial(attention._flash, query, key, value, offsets, longest),
            }
        exact = attention.reference(query.double(), key.double(), value.double(), offsets)
        title = f"attention, {model}, {name} tokens"
        found[name] = report(session, title, ways, exact, 8 * total * heads * head / 1e9)
        del exact
    return found


def flash_from(times: Sequence[dict[int | str, dict[str, float]]]) -> str:
    """Say from which length on torch's flash attention is to be taken."""
    lengths = [n for n in LENGTHS if all(n in one and len(one[n]) == 2 for one in times)]
    chosen = None
    for length in reversed(lengths):
        if any(one[length]["flash"] > 1.02 * one[length]["ours"] for one in times):
            break
        chosen = length
    return f"FLASH_FROM: {chosen} (now {attention.FLASH_FROM})"


@click.command()
@click.option("--rehearse", is_flag=True, help="The same on a CPU, at tiny shapes.")
@click.option("--budget", type=float, default=240, show_default=True, help="Seconds.")
def main(rehearse: bool, budget: float) -> None:
    """Time kernels, and decide."""
    session = Session("Fused operations beside others", rehearse, budget)
    session.begin()
    torch.manual_seed(0)
    decisions: list[str] = []
    header = (
        "| operation | by | ms | ms with the host | TB/s | error |\n|---|---|---:|---:|---:|---:|"
    )
    print(header, flush=True)
    with torch.inference_mode():
        counts = (128,) if rehearse else (16_384, 16_371)
        for tokens in counts:
            for model in ("3B", "200M"):
                with session.part(f"operations, {model}, {tokens}"):
                    session.need(20)
                    operations(session, tokens, model, decisions)
        times = []
        for model in ("3B", "200M"):
            with session.part(f"attention, {model}"):
                session.need(20)
                times.append(gathering(session, 128 if rehearse else 16_384, model))
        if len(times) == 2 and not rehearse:
            decisions.append(flash_from(times))
        with session.part("attention, heads of 80"):
            session.need(20)
            gathering(session, 128 if rehearse else 16_384, "3B, heads of 80")
    print("", *(f"- {line}" for line in decisions), sep="\n", flush=True)
    session.end()


if __name__ == "__main__":
    main()
