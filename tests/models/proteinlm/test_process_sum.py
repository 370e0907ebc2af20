"""Sums over processes: right, the same to the bit everywhere, and no memory left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from tape_bench.models.proteinlm import process_sum
from tape_bench.models.proteinlm.process_sum import ProcessSum

SIZE = 3
# Growing and shrinking, on either side of what is worthwhile; and what must not be overwritten.
SHAPES = [(5,), (100, 200), (400, 200), (3, 7, 1000), (400, 200), (1, 1 << 16), (100, 200)]
KINDS = [torch.float32, torch.float64, torch.int64]


def parts(rank: int) -> list[Tensor]:
    """Return what a rank brings, in turn."""
    generator = torch.Generator().manual_seed(rank)
    drawn = (torch.randn(shape, generator=generator) * 1000 for shape in SHAPES)
    return [part.to(kind) for part in drawn for kind in KINDS]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files without names")
@pytest.mark.parametrize("machines", ["one", "several"])
def test_the_sum(tmp_path: Path, machines: str) -> None:
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path), machines])
        for rank in range(SIZE)
    ]
    try:
        assert [rank.wait(120) for rank in ranks] == [0] * SIZE
    finally:
        for rank in ranks:
            rank.kill()
    expected = [sum(each[1:], each[0]) for each in zip(*map(parts, range(SIZE)), strict=True)]
    first, *others = (torch.load(tmp_path / f"{rank}.pt") for rank in range(SIZE))
    for found, sums in zip(first, expected, strict=True):
        torch.testing.assert_close(found, sums, rtol=1e-6, atol=1e-3)
        assert found.shape == sums.shape
    for other in others:
        assert all(map(torch.equal, other, first))


def be_rank(rank: int, folder: str, machines: str) -> None:
    """Sum in turn what all bring; without a common machine, as a process elsewhere would find."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=SIZE)
    if machines == "several" and rank == 1:
        process_sum._name = lambda name: "somebody else's"
    adds = ProcessSum()
    torch.save([adds(part) for part in parts(rank)], f"{folder}/{rank}.pt")
    assert adds._on_one_machine == (machines == "one")
    assert (adds._memory is None) == (machines == "several")
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    # What was too small is given back.
    assert sum("tape-bench" in file for file in held) == (machines == "one")
    distributed.destroy_process_group()


if __name__ == "__main__":
    be_rank(int(sys.argv[1]), *sys.argv[2:])
