"""Who computes: the fused kernel, or the plain torch reference beside it.

`TAPE_BENCH_KERNELS=reference` always takes the reference and `fused` insists on the kernels; left
unset, kernels run on NVIDIA GPUs that can run them. Whatever the setting, the reference computes
float64, which kernels do not know, and everything that needs a gradient.
"""

from __future__ import annotations

import functools
import os
import shutil

import torch
from torch import Tensor

from tape_bench.errors import UsageError, unknown_name
from tape_bench.kernels import language

VARIABLE = "TAPE_BENCH_KERNELS"
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32)


def fused(*tensors: Tensor) -> bool:
    """Tell whether the fused kernel is to compute these inputs of one operation.

    Raises:
        UsageError: the setting is unknown, or insists on kernels that cannot run here.
    """
    return (
        choice(tensors[0].device)[0]
        and all(tensor.dtype in PRECISIONS for tensor in tensors)
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
    )


def choice(device: torch.device) -> tuple[bool, str]:
    """Tell whether kernels run on a device, and why or why not.

    Raises:
        UsageError: the setting is unknown, or insists on kernels that cannot run here.
    """
    setting = os.environ.get(VARIABLE) or None
    if setting not in (None, "reference", "fused"):
        raise unknown_name(f"value of {VARIABLE}", setting, ["reference", "fused"])
    if setting == "reference":
        return False, f"{VARIABLE}=reference"
    obstacle = _obstacle(device)
    if setting == "fused":
        if obstacle and not _interpreted():
            raise UsageError(
                f"the fused kernels cannot run: {obstacle}",
                where=f"{VARIABLE}=fused",
                fix=f"unset {VARIABLE}, or set it to 'reference'",
            )
        return True, f"{VARIABLE}=fused"
    return (False, obstacle) if obstacle else (True, "a GPU and Triton are here")


@functools.cache
def _obstacle(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "no CUDA device computes here"
    if not language.installed:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    if not any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return "Triton needs a C compiler (gcc or clang) to start kernels, and finds none"
    return None


def _interpreted() -> bool:
    # Triton reads this when kernels are defined, and then runs them on the CPU, very slowly.
    return language.installed and os.environ.get("TRITON_INTERPRET") == "1"
