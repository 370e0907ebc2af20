"""Ranks that each compute a part of every layer come to the values of one that computes it all.

Ranks are threads here that meet at a barrier, and processes over gloo where processes matter.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from tape_bench.errors import ModelError, PeerLostError
from tape_bench.models.controls.untrained import SHAPES, RandomWeights
from tape_bench.models.proteinlm.checkpoint import (
    build_encoder,
    load_encoder,
    open_checkpoint,
)
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.mapping import VOCABULARY, weights
from tape_bench.models.transformer.blocks import RowParallelLinear
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.parallel.tensor import ALONE, TensorParallel

LENGTHS = [9, 1, 5]
IDS = torch.tensor([2, 17, 15, 24, 6, 30, 15, 6, 8, 2, 2, 7, 9, 6, 30])
PADDED = torch.zeros(3, 9, dtype=torch.long)
MASK = torch.arange(9) < torch.tensor(LENGTHS)[:, None]
PADDED[MASK] = IDS
READINGS = [
    pytest.param("tanh", True, id="megatron"),
    pytest.param("erf", False, id="fork"),
]


def threads(size: int) -> list[TensorParallel]:
    """Ranks that add up in rank order, as soon as all of them have brought their part."""
    parts: list[Tensor] = [torch.empty(0)] * size
    barrier = threading.Barrier(size, timeout=60)

    def all_reduce(rank: int) -> Callable[[Tensor], Tensor]:
        def summed(part: Tensor) -> Tensor:
            parts[rank] = part
            barrier.wait()
            total = sum(parts[1:], parts[0])
            barrier.wait()
            return total

        return summed

    return [TensorParallel(rank, size, all_reduce(rank)) for rank in range(size)]


def together(encoders: Sequence[Encoder], run: Callable[[Encoder], Tensor]) -> Tensor:
    """Run what all ranks run, and return what each of them gets."""
    with ThreadPoolExecutor(len(encoders)) as pool:
        first, *others = pool.map(run, encoders)
    assert all(torch.equal(first, other) for other in others)
    return first


def outputs(encoder: Encoder) -> Tensor:
    """Hidden states and token scores, packed and padded, of all tokens: `[2, tokens, ...]`."""
    packed = (encoder.forward_packed(IDS, LENGTHS), encoder.token_logits_packed(IDS, LENGTHS))
    padded = (encoder(PADDED, MASK)[MASK], encoder.token_logits(PADDED, MASK)[MASK])
    return torch.stack([torch.cat(packed, -1), torch.cat(padded, -1)])


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("gelu", "normalised"), READINGS)
def test_ranks_compute_what_one_process_computes(
    source: RandomWeights, gelu: Any, normalised: bool, size: int
) -> None:
    config = dataclasses.replace(source.config, gelu=gelu)

    def load(parallel: TensorParallel = ALONE) -> Encoder:
        return load_encoder(
            source, config, dtype=torch.float32, normalise_output=normalised, parallel=parallel
        )

    whole = outputs(load())
    split = together([load(rank) for rank in threads(size)], outputs)
    # The fork's values are not normalised, and sums err by a share of what they run through.
    torch.testing.assert_close(split, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.parametrize(("on_disk", "size"), [(1, 2), (2, 4), (4, 2), (2, 8)])
def test_ranks_compute_what_megatrons_ranks_compute(
    source: RandomWeights,
    write: Callable[..., Path],
    slow_forward: Callable[..., Any],
    on_disk: int,
    size: int,
) -> None:
    root = write(source, on_disk)
    opened = open_checkpoint(root)
    encoders = [
        load_encoder(opened, opened.config, dtype=torch.float64, parallel=rank)
        for rank in threads(size)
    ]
    hidden, logits = slow_forward(root, IDS[:9].tolist())
    expected = torch.from_numpy(np.concatenate([hidden, logits], -1)).expand(2, -1, -1)
    split = together(encoders, outputs)[:, :9]
    torch.testing.assert_close(split, expected, rtol=1e-10, atol=1e-10)


def test_megatrons_own_shards_are_the_ranks_weights(shared: Path) -> None:
    folder = shared / "reference" / "goldens"
    said = json.loads((folder / "megatron_tiny_config.json").read_text())
    shards = np.load(folder / "megatron_tiny_shards.npz")
    expected = np.load(folder / "megatron_tiny_expected.npz")
    config = ProteinLMConfig(
        layers=said["num_layers"],
        hidden=said["hidden_size"],
        heads=said["num_attention_heads"],
        positions=said["max_position_embeddings"],
        layernorm_eps=said["layernorm_epsilon"],
        gelu="tanh",
    )
    tensors = {name.replace("/", "."): torch.from_numpy(shards[name]) for name in shards.files}

    def load(parallel: TensorParallel) -> Encoder:
        state = {}
        for weight in weights(config).values():
            path = weight.megatron.format(weight.layer)
            ours, *all_parts = (
                tensors[f"tp2.rank{rank}.{path}"].double() for rank in (parallel.rank, 0, 1)
            )
            shared_rows = weight.partition == "vocabulary"
            state[weight.name] = torch.cat(all_parts)[:VOCABULARY] if shared_rows else ours
        encoder = build_encoder(config, vocabulary=VOCABULARY, parallel=parallel)
        encoder.load_state_dict(state, assign=True)
        return encoder.requires_grad_(False)

    ids = torch.from_numpy(expected["pad/megatron_ids"])
    mask = torch.from_numpy(expected["pad/mask"]).bool()
    encoders = [load(rank) for rank in threads(2)]
    for run, name in (
        (lambda encoder: encoder(ids, mask), "pad/megatron_hidden_tanh"),
        (lambda encoder: encoder.token_logits(ids, mask), "pad/megatron_lm_logits_tanh"),
    ):
        truth = torch.from_numpy(expected[name])[mask]
        split = together(encoders, run)[mask]
        torch.testing.assert_close(split, truth[:, : split.shape[-1]], rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("half_precision_products")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_more_ranks_lose_no_more_precision(source: RandomWeights, dtype: torch.dtype) -> None:
    in_this = RandomWeights(source.config, 1, dtype)

    def load(dtype: torch.dtype, parallel: TensorParallel = ALONE) -> Encoder:
        return load_encoder(in_this, source.config, dtype=dtype, parallel=parallel)

    truth = outputs(load(torch.float64))
    whole = outputs(load(dtype)).double()
    split = together([load(dtype, rank) for rank in threads(8)], outputs).double()
    assert (split - truth).square().mean() < 1.2 * (whole - truth).square().mean()


def test_one_process_does_nothing_for_the_sake_of_others() -> None:
    part = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    assert ALONE.add_up(part) is part


def test_gradients_that_would_be_wrong_are_not_computed() -> None:
    with pytest.raises(AssertionError):
        TensorParallel(0, 2).add_up(torch.ones(3, requires_grad=True))


@pytest.mark.parametrize("stream", [torch.full((1, 3), 5.0), torch.full((1, 3), 5.0).double()])
def test_stream_and_bias_are_added_once(stream: Tensor) -> None:
    maps = [RowParallelLinear(2, 3, rank) for rank in threads(4)]
    for each in maps:
        each.requires_grad_(False)
        each.weight.zero_()
        each.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))

    def added(each: RowParallelLinear) -> Tensor:
        whole, branch = each.to(stream.dtype)(stream, None, torch.ones(1, 2))
        return whole if branch is None else whole + branch

    assert together(maps, added).tolist() == [[6.0, 7.0, 8.0]]


def test_ranks_agree_on_the_least_of_their_numbers() -> None:
    ranks, numbers = threads(4), [2048, 512, 4096, 700]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(TensorParallel.least, ranks, numbers)) == [512] * 4
    assert ALONE.least(2048) == 2048


def test_heads_that_cannot_be_shared_are_refused_before_anything_is_read() -> None:
    config = ProteinLMConfig(
        layers=1, hidden=32, heads=4, positions=8, layernorm_eps=1e-12, gelu="tanh"
    )
    with pytest.raises(ModelError, match="4 heads cannot be shared equally by 3") as refused:
        load_encoder(None, config, dtype=torch.float32, parallel=TensorParallel(0, 3))
    assert refused.value.fix.endswith(": 1, 2, 4")


def test_a_rank_has_its_share_of_the_parameters() -> None:
    """ProteinLM-200M by hand: what is shared is 12 h x h and 7 h of biases a layer."""
    h, layers = 1024, 16
    shared = layers * (12 * h * h + 7 * h)
    norms_and_biases = layers * 6 * h + 2 * h
    tables_and_head = (31 + 2176) * h + h * h + 3 * h + 31
    for size in (1, 2, 4, 8):
        with torch.device("meta"):
            rank = build_encoder(
                SHAPES["proteinlm-200m"], vocabulary=VOCABULARY, parallel=TensorParallel(0, size)
            )
        count = sum(parameter.numel() for parameter in rank.parameters())
        assert count == shared // size + norms_and_biases + tables_and_head


def test_processes_agree_and_notice_one_that_leaves(
    source: RandomWeights, write: Callable[..., Path], tmp_path: Path
) -> None:
    root = write(source)
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(root), str(tmp_path)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        ends = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    assert ends[0][0].split() == ["PeerLostError"], ends
    assert [process.returncode for process in started] == [0, 3], ends
    whole = outputs(load_encoder(source, source.config, dtype=torch.float32))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    torch.testing.assert_close(first, whole, rtol=1e-5, atol=1e-5)
    # Sums come to the same bits everywhere: whoever writes, it is one value.
    assert torch.equal(first, second)


def be_rank(rank: int, root: str, folder: str) -> None:
    """Keep what the first pass gives; then rank 1 is gone, and rank 0 tries again."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    opened = open_checkpoint(Path(root))
    encoder = load_encoder(opened, opened.config, dtype=torch.float32, parallel=TensorParallel.of())
    torch.save(outputs(encoder), f"{folder}/{rank}.pt")
    if rank == 1:
        os._exit(3)
    try:
        outputs(encoder)
    except PeerLostError as lost:
        print(type(lost).__name__, flush=True)
    finally:
        # Left to the interpreter's end, gloo's threads now and then abort the process.
        distributed.destroy_process_group()


if __name__ == "__main__":
    be_rank(int(sys.argv[1]), *sys.argv[2:])
