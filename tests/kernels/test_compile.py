"""Each kernel, as it is launched, becomes machine code for two generations of GPUs."""

from __future__ import annotations

import importlib
import os

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets and does not compile"
)

POINTERS = {
    torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int32: "*i32",
}  # fmt: skip
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(params=[(80, "mma.sync"), (90, "wgmma")], ids=["sm_80", "sm_90"])
def compiled(request, monkeypatch, tmp_path):
    """Compile what an operation launches, and look at what comes out."""
    capability, matrix_instruction = request.param
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compiled(operation, *arguments, multiplies=False):
        module = importlib.import_module(f"tape_bench.kernels.{operation}")
        launches = []
        monkeypatch.setattr(
            module, "launch", lambda *launch, **options: launches.append((launch, options))
        )
        module._fused(*arguments)
        [((program, _, *values), options)] = launches
        done = compile_for(capability, program, values, options)
        assert len(done.asm["cubin"]) > 1000
        assert f"sm_{capability}" in done.asm["ptx"]
        assert (matrix_instruction in done.asm["ptx"]) == multiplies

    return compiled


def compile_for(capability, program, values, options):
    """Compile a kernel for the arguments of a launch, specialised as Triton would."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    named = dict(zip(program.arg_names, values, strict=False))
    signature, attributes = {}, {}
    for place, name in enumerate(program.arg_names):
        value = named.get(name)
        if isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
        else:
            signature[name] = {int: "i32", float: "fp32"}.get(type(value), "constexpr")
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(place,)] = [["tt.divisibility", 16]]
    constants = {name: options.get(name) for name, kind in signature.items() if kind == "constexpr"}
    source = ASTSource(program, signature, constants, attributes)
    machine = {name: value for name, value in options.items() if name.startswith("num_")}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=machine)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_bias_gelu(compiled, dtype, form):
    compiled("bias_gelu", torch.empty(5, 4096, dtype=dtype), torch.empty(4096, dtype=dtype), form)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("hidden", [1024, 2560])
@pytest.mark.parametrize("late", [True, False])
def test_add_layer_norm(compiled, dtype, hidden, late):
    channels = torch.empty(hidden, dtype=dtype)
    branch_bias = channels if late else None
    rows = torch.empty(5, hidden), torch.empty(5, hidden, dtype=dtype)
    compiled("add_layer_norm", *rows, channels, channels, 1e-12, branch_bias)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("hidden", [1024, 2560])
@pytest.mark.parametrize("shifted", [True, False])
def test_layer_norm(compiled, dtype, hidden, shifted):
    channels, shift = torch.empty(hidden, dtype=dtype), torch.empty(hidden)
    rows = torch.empty(5, hidden)
    compiled("layer_norm", rows, channels, channels, 1e-12, shift if shifted else None)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("head", [64, 80])
@pytest.mark.parametrize("longest", [47, 2049])
def test_attention(compiled, dtype, head, longest):
    query, key, value = torch.empty(longest, 2, 3, head, dtype=dtype).unbind(-2)
    offsets = torch.tensor([0, longest], dtype=torch.int32)
    compiled("attention", query, key, value, offsets, longest, multiplies=True)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_segment_mean(compiled, dtype):
    offsets = torch.tensor([0, 2, 5], dtype=torch.int32)
    compiled("segment_mean", torch.empty(5, 2560, dtype=dtype), offsets, 1, 0)


def test_pair_scores(compiled):
    x, product = torch.empty(65, 2560), torch.empty(3, 2560)
    lean, bias = torch.empty(65, 3), torch.empty(3)
    compiled("pair_scores", x, product, lean, bias, multiplies=True)
