"""Time every fused kernel against its plain torch reference on this GPU.

    python benchmarks/kernels.py > benchmarks/kernels.md

Shapes are those of one batch of 16384 tokens in ProteinLM 200M (hidden 1024, heads of 64) and 3B
(hidden 2560, heads of 80). Each pair is timed in one run, as medians over repetitions; errors are
relative to the same operation in float64, over the whole tensor.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench import kernels
from tape_bench.kernels import attention, dispatch, language

TOKENS = 16384
MODELS = {"200M": (1024, 64), "3B": (2560, 80)}
LENGTHS = [16, 47, 64, 128, 256, 512, 1024, 2048]
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}

Operation = Callable[[], Tensor]
Case = tuple[str, dict[str, Operation], Operation]
"""What is timed, by which implementations, and what it is in float64."""


def main() -> None:
    if not torch.cuda.is_available() or not language.installed:
        print("benchmarks/kernels.py needs a CUDA device and Triton", file=sys.stderr)
        sys.exit(2)
    torch.manual_seed(0)
    torch.set_default_device("cuda")
    print(f"# Fused kernels against torch\n\n{machine()}\n")
    print("| operation | implementation | ms | reference / this | error |\n|---|---|---|---|---|")
    with torch.inference_mode():
        for precision, dtype in PRECISIONS.items():
            for name, implementations, exact in cases(dtype):
                report(f"{name}, {precision}", implementations, exact)


def machine() -> str:
    import triton

    return (
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}, "
        f"Python {platform.python_version()}"
    )


def report(name: str, implementations: dict[str, Operation], exact: Operation) -> None:
    from triton.testing import do_bench

    expected = exact().double()
    reference = None
    for who, run in implementations.items():
        error = (run().double() - expected).norm() / expected.norm()
        time = do_bench(run, return_mode="median")
        reference = reference or time
        print(f"| {name} | {who} | {time:.4f} | {reference / time:.2f} | {error:.1e} |", flush=True)


def cases(dtype: torch.dtype) -> Iterator[Case]:
    for model, (hidden, head) in MODELS.items():
        yield from perceptron(f"{model}", hidden, dtype)
        yield stream(f"{model}", hidden, dtype)
        for length in LENGTHS:
            yield gathering(f"{model}", hidden // head, head, length, dtype)
        yield pooling(f"{model}", hidden, dtype)
    yield from pairs(dtype)


def perceptron(model: str, hidden: int, dtype: torch.dtype) -> Iterator[Case]:
    x, weight = draw(TOKENS, hidden, dtype=dtype), draw(4 * hidden, hidden, dtype=dtype)
    weight /= hidden**0.5
    wide, bias = draw(TOKENS, 4 * hidden, dtype=dtype), draw(4 * hidden, dtype=dtype)
    for form in ("tanh", "erf"):
        yield (
            f"bias + GELU ({form}), {model}",
            by_setting(lambda form=form: kernels.bias_gelu(wide, bias, form)),
            lambda form=form: gelu(wide.double() + bias.double(), form),
        )
        implementations = by_setting(lambda form=form: kernels.linear_gelu(x, weight, bias, form))
        if form == "tanh":
            # cuBLASLt can bend in the matrix product itself; torch has it under a private name.
            implementations["torch._addmm_activation"] = lambda: torch._addmm_activation(
                bias, x, weight.T, use_gelu=True
            )
        yield (
            f"linear + GELU ({form}), {model}",
            implementations,
            lambda form=form: gelu(
                functional.linear(x.float(), weight.float(), bias.float()).double(), form
            ),
        )


def stream(model: str, hidden: int, dtype: torch.dtype) -> Case:
    residual, branch = draw(TOKENS, hidden), draw(TOKENS, hidden, dtype=dtype)
    weight, bias = draw(hidden, dtype=dtype), draw(hidden, dtype=dtype)
    exact = (residual.double(), branch.double(), weight.double(), bias.double())
    return (
        f"add + layer norm, {model}",
        by_setting(lambda: kernels.add_layer_norm(residual, branch, weight, bias, 1e-12)[1]),
        lambda: kernels.add_layer_norm(*exact, 1e-12)[1],
    )


def gathering(model: str, heads: int, head: int, length: int, dtype: torch.dtype) -> Case:
    sequences = TOKENS // length
    parts = draw(sequences * length, heads, 3, head, dtype=dtype).unbind(-2)
    offsets = torch.arange(sequences + 1, dtype=torch.int32) * length

    def attend(flash_from: int) -> Tensor:
        attention.FLASH_FROM = flash_from
        return kernels.varlen_attention(*parts, offsets, length)

    implementations = by_setting(lambda: attend(flash_from=length + 1))
    if attention.flash_attention():
        implementations["torch flash"] = under("fused", lambda: attend(flash_from=length))

    def exact() -> Tensor:
        by_head = (p.double().unflatten(0, (-1, length)).transpose(1, 2) for p in parts)
        return functional.scaled_dot_product_attention(*by_head).transpose(1, 2).flatten(0, 1)

    return f"attention, {heads} x {head}, {length} tokens, {model}", implementations, exact


def pooling(model: str, hidden: int, dtype: torch.dtype) -> Case:
    tokens = draw(TOKENS, hidden, dtype=dtype)
    offsets = torch.arange(0, TOKENS + 1, 128, dtype=torch.int32)
    return (
        f"segment mean, {model}",
        by_setting(lambda: kernels.segment_mean(tokens, offsets, 1, 1)),
        lambda: kernels.segment_mean(tokens.double(), offsets, 1, 1),
    )


def pairs(dtype: torch.dtype) -> Iterator[Case]:
    hidden = 2560
    for residues, channels in [(512, 1), (1024, 1), (512, 64)]:
        x, product = draw(residues, hidden, dtype=dtype), draw(channels, hidden)
        difference, bias = draw(channels, hidden), draw(channels)
        arguments = (x, product, difference, bias)
        yield (
            f"pair scores, {residues} residues, {channels} channels",
            by_setting(lambda arguments=arguments: kernels.pair_scores(*arguments)),
            lambda arguments=arguments: kernels.pair_scores(*(t.double() for t in arguments)),
        )


def by_setting(run: Operation) -> dict[str, Operation]:
    """Run an operation by its reference and by its kernel."""
    return {setting: under(setting, run) for setting in ("reference", "fused")}


def under(setting: str, run: Operation) -> Operation:
    def run_under() -> Tensor:
        os.environ[dispatch.VARIABLE] = setting
        return run()

    return run_under


def gelu(x: Tensor, form: str) -> Tensor:
    return functional.gelu(x, approximate="tanh" if form == "tanh" else "none")


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype)


if __name__ == "__main__":
    main()
