"""Where a torch model computes, and in which precision."""

from __future__ import annotations

import psutil
import torch

from tape_bench.errors import ModelError, unknown_name

_DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def check_placement(device: str | None, dtype: str | None) -> None:
    """Refuse a device this machine has not, and a precision there is not, for any model.

    Raises:
        ModelError: no such device.
        UsageError: no such precision.
    """
    if device is not None:
        choose_device(device)
    if dtype is not None:
        dtype_named(dtype)


def choose_device(name: str | None) -> torch.device:
    """Choose a device by name: `cpu`, `cuda` or `cuda:N`; None for a GPU where there is one."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(
            f"there is no device {name!r}", fix="choose cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"device {name!r} is not supported", fix="choose cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"this machine has no device {name!r}", fix="choose cpu")
    return device


def choose_dtype(name: str | None, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """Choose a precision by name; None for float32 on a CPU, on a GPU that of the checkpoint."""
    if name is None:
        return stored if device.type == "cuda" else torch.float32
    return dtype_named(name)


def tokens_that_fit(device: torch.device, wanted: int, bytes_per_token: int) -> int:
    """Return how many of the tokens wanted at once fit half of the memory that is free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps for later is free for us.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free = psutil.virtual_memory().available
    return max(1, min(wanted, free // 2 // bytes_per_token))


def dtype_named(name: str) -> torch.dtype:
    """Look a precision up by name. Raises UsageError where there is none such."""
    if name not in _DTYPES:
        raise unknown_name("dtype", name, _DTYPES)
    return _DTYPES[name]
