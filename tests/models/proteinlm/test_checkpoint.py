"""A tensor-parallel rank reads its slices of a checkpoint, and copies what it cannot share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm.checkpoint import load_encoder, open_checkpoint, read_weights
from tape_bench.models.proteinlm.mapping import weights
from tape_bench.models.proteinlm.source import WeightSource
from tape_bench.parallel.tensor import TensorParallel


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def memory_of_the_file(opened: WeightSource) -> set[int]:
    return {memory(tensor) for tensor in read_weights(opened, share=True).values()}


class Reads(TorchDispatchMode):
    """Counts the bytes of a file that operations read."""

    def __init__(self, file: set[int]) -> None:
        super().__init__()
        self.file = file
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [] if func.is_view else [x for x in args if isinstance(x, Tensor)]
        self.bytes += sum(x.nbytes for x in tensors if memory(x) in self.file)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_rank_reads_no_more_than_its_slices(
    source: RandomWeights, write: Callable[..., Path], size: int
) -> None:
    opened = open_checkpoint(write(source))
    file = memory_of_the_file(opened)
    for rank in range(size):
        with Reads(file) as reads:
            kept = read_weights(opened, dtype=torch.float32, keep=(rank, size))
        for weight in weights(opened.config).values():
            cut = size if weight.partition in ("rows", "columns", "heads") else 1
            assert kept[weight.name].numel() == torch.Size(weight.shape).numel() // cut
        # Two bytes a value in the file.
        assert reads.bytes == 2 * sum(tensor.numel() for tensor in kept.values())


def test_contiguous_slices_stay_in_the_file(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    opened = open_checkpoint(write(source))
    file = memory_of_the_file(opened)
    rank = load_encoder(opened, opened.config, dtype=torch.float16, parallel=TensorParallel(1, 2))
    copied = {name for name, tensor in rank.named_parameters() if memory(tensor) not in file}
    by_columns = {name for name, w in weights(opened.config).items() if w.partition == "columns"}
    assert copied == by_columns
