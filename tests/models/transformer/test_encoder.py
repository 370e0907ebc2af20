"""The network computes what Megatron-LM computes, padded or packed, in any precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tape_bench import kernels
from tape_bench.models.proteinlm.checkpoint import build_encoder
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.mapping import VOCABULARY, weights
from tape_bench.models.proteinlm.megatron.partition import by_head, merge
from tape_bench.models.transformer.encoder import Encoder


class Goldens:
    """Megatron's own numbers for a tiny network."""

    def __init__(self, folder: Path) -> None:
        said = json.loads((folder / "megatron_tiny_config.json").read_text())
        self.sizes = {
            "layers": said["num_layers"],
            "hidden": said["hidden_size"],
            "heads": said["num_attention_heads"],
            "positions": said["max_position_embeddings"],
            "layernorm_eps": said["layernorm_epsilon"],
        }
        self.shards = np.load(folder / "megatron_tiny_shards.npz")
        self.expected = np.load(folder / "megatron_tiny_expected.npz")

    def encoder(self, gelu: Any, ranks: int, dtype: torch.dtype, **options: Any) -> Encoder:
        config = ProteinLMConfig(**self.sizes, gelu=gelu)
        state = {}
        for weight in weights(config).values():
            path = weight.megatron.format(weight.layer)
            parts = [self._tensor(ranks, rank, path) for rank in range(ranks)]
            if weight.partition == "heads":
                parts = [by_head(part, "v2", config.head_size) for part in parts]
            merged = merge(parts, weight.partition, name=weight.name, dtype=dtype)
            state[weight.name] = merged.view(weight.shape)
        encoder = build_encoder(config, vocabulary=VOCABULARY, **options)
        encoder.load_state_dict(state, assign=True)
        return encoder.eval().requires_grad_(False)

    def _tensor(self, ranks: int, rank: int, path: str) -> Tensor:
        folder = f"tp{ranks}/rank{rank}/"
        (name,) = (
            name
            for name in self.shards.files
            if name.startswith(folder) and name.removeprefix(folder).replace("/", ".") == path
        )
        return torch.from_numpy(self.shards[name])

    def batch(self, name: str) -> tuple[Tensor, Tensor]:
        """Token ids and mask, `[batch, tokens]`."""
        ids, mask = self.expected[f"{name}/megatron_ids"], self.expected[f"{name}/mask"]
        return torch.from_numpy(ids), torch.from_numpy(mask).bool()

    def values(self, name: str) -> Tensor:
        return torch.from_numpy(self.expected[name])


@pytest.fixture(scope="module")
def goldens(shared: Path) -> Goldens:
    return Goldens(shared / "reference" / "goldens")


READINGS = [
    pytest.param("tanh", True, "megatron_hidden_tanh", id="megatron"),
    pytest.param("erf", True, "megatron_hidden_erf", id="megatron with erf"),
    pytest.param("erf", True, "fork_hidden_final_ln", id="fork, layer norm put back"),
    pytest.param("erf", False, "fork_hidden_asis", id="fork"),
]
PRECISIONS = [pytest.param(torch.float64, 1e-10, id="float64"),
              pytest.param(torch.float32, 1e-5, id="float32")]  # fmt: skip


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("batch", ["nopad", "pad"])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("gelu", "final_norm", "name"), READINGS)
def test_hidden_states_are_those_of_megatron(
    goldens: Goldens,
    gelu: str,
    final_norm: bool,
    name: str,
    dtype: torch.dtype,
    tolerance: float,
    batch: str,
    ranks: int,
) -> None:
    encoder = goldens.encoder(gelu, ranks, dtype, normalise_output=final_norm)
    ids, mask = goldens.batch(batch)
    expected = goldens.values(f"{batch}/{name}")[mask]
    # The tolerance is of the values' size, which is 1 where the final layer norm is applied.
    close = {"rtol": tolerance, "atol": tolerance * max(1.0, float(expected.std()))}
    torch.testing.assert_close(encoder(ids, mask)[mask].double(), expected, **close)
    packed = encoder.forward_packed(ids[mask], mask.sum(1).tolist())
    torch.testing.assert_close(packed.double(), expected, **close)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("gelu", ["tanh", "erf"])
def test_token_scores_are_those_of_megatron(
    goldens: Goldens, gelu: str, dtype: torch.dtype, tolerance: float, ranks: int
) -> None:
    encoder = goldens.encoder(gelu, ranks, dtype)
    ids, mask = goldens.batch("pad")
    expected = goldens.values(f"pad/megatron_lm_logits_{gelu}")[mask][:, :VOCABULARY]
    close = {"rtol": tolerance, "atol": tolerance * float(expected.std())}
    torch.testing.assert_close(encoder.token_logits(ids, mask)[mask].double(), expected, **close)
    packed = encoder.token_logits_packed(ids[mask], mask.sum(1).tolist())
    torch.testing.assert_close(packed.double(), expected, **close)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_no_further_off_than_megatrons(
    goldens: Goldens, dtype: torch.dtype
) -> None:
    ids, mask = goldens.batch("pad")
    truth = goldens.values("pad/megatron_hidden_tanh")[mask]
    name = str(dtype).removeprefix("torch.")
    megatrons = goldens.values(f"pad/megatron_hidden_tanh_{name}")[mask].double()
    ours = goldens.encoder("tanh", 1, dtype)(ids, mask)[mask].double()
    assert (ours - truth).abs().mean() <= 1.1 * (megatrons - truth).abs().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_padding_changes_nothing_in_any_precision(goldens: Goldens, dtype: torch.dtype) -> None:
    encoder = goldens.encoder("tanh", 1, dtype)
    ids, mask = goldens.batch("pad")
    short = int(mask.sum(1).min())
    row = int(mask.sum(1).argmin())
    padded = encoder(ids, mask)[row, :short]
    alone = encoder(ids[row : row + 1, :short])[0]
    unmasked = encoder(ids)[row, :short]
    off = (padded - alone).abs().max()
    assert off <= {torch.float32: 1e-5}.get(dtype, 0.1)
    assert (unmasked - alone).abs().max() > 1, "the mask would not be missed here"
    assert padded.isfinite().all()


def test_depth_stops_the_stream_early(goldens: Goldens) -> None:
    encoder = goldens.encoder("tanh", 1, torch.float64)
    ids, mask = goldens.batch("pad")
    shallow = encoder(ids, mask, depth=1)
    encoder.layers = encoder.layers[:1]
    encoder.normalise_output = False
    torch.testing.assert_close(shallow, encoder(ids, mask))
    embedded = encoder(ids, mask, depth=0)
    tables = encoder.word.weight[ids] + encoder.position.weight[: ids.shape[1]]
    torch.testing.assert_close(embedded, tables)


def test_residual_after_norm_takes_the_normalised_stream() -> None:
    """With blocks that add nothing, the stream is normalised twice a layer and nothing else."""
    sizes = {"layers": 1, "hidden": 8, "heads": 2, "positions": 4, "vocabulary": 31}
    encoder = Encoder(**sizes, layernorm_eps=0.0, gelu="erf", residual_after_norm=True).double()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in encoder.named_parameters():
        parameter.data.normal_(generator=generator)
        if "norm" in name:
            parameter.data.fill_(float(name.endswith("weight")))
        if "dense" in name or "contract" in name:
            parameter.data.zero_()
    ids = torch.tensor([[2, 7, 9]])
    stream = encoder(ids, depth=1)
    torch.testing.assert_close(stream.mean(-1), torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(stream.var(-1, correction=0), torch.ones(1, 3).double())
    assert encoder.half()(ids, depth=1).dtype == torch.float32, "the stream lost precision"


def test_token_types_add_the_first_row_everywhere() -> None:
    sizes = {"layers": 1, "hidden": 8, "heads": 2, "positions": 4, "vocabulary": 31}
    encoder = Encoder(**sizes, layernorm_eps=1e-5, gelu="erf", token_types=2)
    assert encoder.token_type is not None
    torch.nn.init.normal_(encoder.word.weight)
    torch.nn.init.normal_(encoder.position.weight)
    encoder.token_type.weight.data = torch.arange(16.0).view(2, 8)
    with_types = encoder(torch.tensor([[2, 7]]), depth=0)
    encoder.token_type = None
    added = with_types - encoder(torch.tensor([[2, 7]]), depth=0)
    torch.testing.assert_close(added, torch.arange(8.0).expand(1, 2, 8))


@pytest.mark.parametrize("depth", [None, 0, 1, 2])
@pytest.mark.parametrize("after_norm", [False, True])
def test_products_that_add_to_the_stream_give_the_same_values(
    monkeypatch: pytest.MonkeyPatch, depth: int | None, after_norm: bool
) -> None:
    torch.manual_seed(0)
    sizes = {"layers": 2, "hidden": 8, "heads": 2, "positions": 8, "vocabulary": 31}
    network = Encoder(**sizes, layernorm_eps=1e-5, gelu="tanh", residual_after_norm=after_norm)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    network.double().eval().requires_grad_(False)
    ids, lengths = torch.randint(6, 31, (12,)), [5, 4, 3]
    with torch.no_grad():
        expected = network.forward_packed(ids, lengths, depth)
        scores = network.token_logits_packed(ids, lengths)
        # What only a GPU does, in products that a CPU has as well.
        monkeypatch.setattr(kernels, "sums_on_gpu", lambda stream, weight: True)
        torch.testing.assert_close(network.forward_packed(ids, lengths, depth), expected)
        torch.testing.assert_close(network.token_logits_packed(ids, lengths), scores)
