from __future__ import annotations

import itertools

import pytest
import torch

from tape_bench.kernels import segment_mean


def written_out(tokens, bounds, leading=0, trailing=0):
    means = []
    for start, end in itertools.pairwise(bounds):
        part = tokens[start + leading : max(start + leading, end - trailing)].double()
        means.append(part.sum(0) / max(1, len(part)))
    return torch.stack(means)


@pytest.mark.parametrize(("leading", "trailing"), [(0, 0), (1, 0), (1, 1)])
def test_the_mean_of_every_sequence(draw, near, dtype, leading, trailing):
    lengths = [1, 2, 63, 0, 64, 65, 3, 127, 0, 257]
    bounds = [0, *itertools.accumulate(lengths)]
    tokens = draw(bounds[-1], 80, dtype=dtype)
    offsets = torch.tensor(bounds, dtype=torch.int32, device=tokens.device)
    expected = written_out(tokens, bounds, leading, trailing)
    means = segment_mean(tokens, offsets, leading, trailing)
    near(means, expected, torch.promote_types(dtype, torch.float32))
    assert not means[[3, 8]].any()


@pytest.mark.parametrize("hidden", [1, 127, 257])
def test_any_width_and_long_sequences(draw, near, dtype, hidden):
    bounds = [0, 2049, 3072]
    tokens = 5 + draw(3072, hidden, dtype=dtype)
    offsets = torch.tensor(bounds, device=tokens.device)
    means = segment_mean(tokens, offsets)
    near(means, written_out(tokens, bounds), torch.promote_types(dtype, torch.float32))


def test_no_sequences(draw, dtype):
    tokens = draw(0, 8, dtype=dtype)
    offsets = torch.zeros(1, dtype=torch.int32, device=tokens.device)
    assert segment_mean(tokens, offsets).shape == (0, 8)
