"""What the tests of operations share: a device, precisions, and how far off a result may be.

By themselves these tests look at the references. `test_fused.py` runs them again for the kernels:
in Triton's interpreter on the CPU, and on a GPU where there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

FUSED = os.environ.get("TAPE_BENCH_KERNELS") == "fused"
INTERPRETED = FUSED and os.environ.get("TRITON_INTERPRET") == "1"

# Rounding a result to 11 bits, as float16 does, is off by 2**-12 at most and about half of that
# on the average; bfloat16 with its 8 bits by eight times as much. The tolerance on the average is
# three roundings in a row: a sum, the attention weights, the result.
TOLERANCE = {
    torch.float16: 6e-4,
    torch.bfloat16: 4.8e-3,
    torch.float32: 1e-6,
    torch.float64: 1e-14,
}
if FUSED and not INTERPRETED:
    # Tensor cores multiply float32 as three products of TF32, whose sums they cut off.
    TOLERANCE[torch.float32] = 3e-6
PRECISIONS = [dtype for dtype in TOLERANCE if not (FUSED and dtype == torch.float64)]


@pytest.fixture(params=PRECISIONS, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """Draw numbers from a normal distribution, the same for every run of a test."""
    generator = torch.Generator().manual_seed(0)
    device = "cuda" if FUSED and not INTERPRETED else "cpu"

    def draw(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return numbers.to(device, dtype)

    return draw


@pytest.fixture
def near(dtype: torch.dtype) -> Callable[..., None]:
    """Assert that a result is as near to what float64 gives as its precision allows."""

    def near(result: Tensor, expected: Tensor, precision: torch.dtype = dtype) -> None:
        assert result.dtype == precision
        assert result.shape == expected.shape
        assert result.isfinite().all()
        error = (result.double() - expected).norm()
        assert error <= TOLERANCE[precision] * expected.norm()

    return near


if INTERPRETED:

    @pytest.fixture(autouse=True, scope="session")
    def _interpreter_as_gpus_compute():
        _mend_interpreter()


def _mend_interpreter() -> None:
    """Let the interpreter compute as GPUs do where it does not.

    It holds bfloat16 as bare 16-bit integers: it cuts float32 off where it should round, and
    multiplies matrices of the integers; float16 it multiplies without BLAS. And numpy 2.4 no
    longer takes an array of one number, which is its scalar, for the end of a loop.
    """
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    cast, dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot
    patch_tensor = interpreter._patch_lang_tensor

    def widened(handle):
        if handle.dtype.scalar == tl.bfloat16:
            bits = handle.data.astype(np.uint32) << 16
            return TensorHandle(bits.view(np.float32), tl.float32)
        return TensorHandle(handle.data.astype(np.float32), tl.float32)

    def cast_impl(self, handle, kind):
        if handle.dtype.scalar == tl.float32 and kind.scalar == tl.bfloat16:
            rounded = torch.from_numpy(np.ascontiguousarray(handle.data)).to(torch.bfloat16)
            return TensorHandle(rounded.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)
        return cast(self, handle, kind)

    def create_dot(self, a, b, *rest):
        return dot(self, widened(a), widened(b), *rest)

    def patch_lang_tensor(tensor, *scope):
        patch_tensor(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot = cast_impl, create_dot
    interpreter._patch_lang_tensor = patch_lang_tensor
