"""Low-rank adaptation: a product of two thin matrices added to a linear map that is kept as it is.

Source: Hu et al. 2021, LoRA. Files are those of the library `peft`, which reads them: matrices `A`
`[rank, inputs]` and `B` `[outputs, rank]`, and the product counts `alpha / rank` times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tape_bench.errors import CheckpointError
from tape_bench.models.trainable import LinearMap, TrainableNetwork
from tape_bench.models.transformer import blocks

PREFIX = "base_model.model."
"""What peft puts before the name of a module."""


@dataclass(frozen=True)
class Rank:
    """How much is added, and to which maps."""

    rank: int
    alpha: float
    maps: tuple[str, ...]
    """Of `LORA_MAPS`, or as peft has it the last word of a map's published name, e.g. `dense`."""
    dropout: float = 0.0
    """Share of a map's inputs that the product does not see in training."""

    def parts_of(self, linear: LinearMap) -> list[str]:
        """Return which parts of a map are added to."""
        return [
            part
            for part, published in linear.parts.items()
            if part in self.maps or published.rpartition(".")[2] in self.maps
        ]


class LowRank(nn.Module):
    """What is added to one linear map, or to some of three that are kept in one weight."""

    def __init__(self, inputs: int, outputs: int, linear: LinearMap, rank: Rank) -> None:
        """Begin with nothing: `B` is zero, and `A` as `nn.Linear` draws its weights."""
        super().__init__()
        self.parts = tuple(linear.parts)
        self.heads, self.scale, self.dropout = linear.heads, rank.alpha / rank.rank, rank.dropout
        own = outputs // len(self.parts)
        chosen = rank.parts_of(linear)
        self.down = nn.ParameterDict(
            {part: nn.Parameter(torch.empty(rank.rank, inputs)) for part in chosen}
        )
        self.up = nn.ParameterDict(
            {part: nn.Parameter(torch.zeros(own, rank.rank)) for part in chosen}
        )
        self.own = own
        for part in chosen:
            nn.init.kaiming_uniform_(self.down[part], a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added for `x` `[..., inputs]`: `[..., outputs]`."""
        x = functional.dropout(x, self.dropout, self.training)
        added = [
            functional.linear(functional.linear(x, self.down[part]), self.up[part])
            if part in self.down
            else x.new_zeros(*x.shape[:-1], self.own)
            for part in self.parts
        ]
        if len(added) == 1:
            return added[0] * self.scale
        by_head = [one.unflatten(-1, (self.heads, -1)) for one in added]
        return torch.stack(by_head, dim=-2).flatten(-3) * self.scale

    @torch.no_grad()
    def product(self) -> Tensor:
        """Return what is added to the weight, `[outputs, inputs]`."""
        down = next(iter(self.down.values()))
        training, self.training = self.training, False
        every = torch.eye(down.shape[1], dtype=down.dtype, device=down.device)
        product: Tensor = self(every).t()
        self.training = training
        return product


def attach(network: TrainableNetwork, rank: Rank) -> None:
    """Add low ranks to the chosen maps of every block; they alone are trained then."""
    for linear in _chosen(network, rank):
        weight: Tensor = linear.module.weight  # type: ignore[assignment]
        added = LowRank(weight.shape[1], weight.shape[0], linear, rank).to(weight.device)
        linear.module.lora = added
        if not isinstance(linear.module, blocks.Linear | blocks.RowParallelLinear):
            linear.module.register_forward_hook(_adds)


def merged(network: TrainableNetwork) -> dict[str, Tensor]:
    """Return the weights that low ranks were added to, with what they add."""
    named = {id(module): name for name, module in network.weights.named_modules()}
    found = {}
    for linear in network.linear_maps():
        if isinstance(added := getattr(linear.module, "lora", None), LowRank):
            weight: Tensor = linear.module.weight  # type: ignore[assignment]
            found[f"{named[id(linear.module)]}.weight"] = weight.detach() + added.product()
    return found


def to_peft(network: TrainableNetwork) -> dict[str, Tensor]:
    """Return the low ranks of a network under the names that peft gives them."""
    return {
        name: matrix.detach()
        for linear in network.linear_maps()
        for name, matrix in _named(linear).items()
    }


def load_peft(network: TrainableNetwork, tensors: Mapping[str, Tensor]) -> None:
    """Fill low ranks that were attached from matrices under peft's names.

    Raises:
        CheckpointError: some are missing, left over or of another shape.
    """
    wanted = {
        name: matrix for linear in network.linear_maps() for name, matrix in _named(linear).items()
    }
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise CheckpointError(f"the LoRA matrices are not those of this network: {odd[0]}")
    for name, matrix in wanted.items():
        if matrix.shape != tensors[name].shape:
            raise CheckpointError(
                f"{name} has the shape {list(tensors[name].shape)}, not {list(matrix.shape)}"
            )
        with torch.no_grad():
            matrix.copy_(tensors[name])


def peft_config(rank: Rank, network: TrainableNetwork, base: str) -> dict[str, Any]:
    """Return what peft's `adapter_config.json` says."""
    modules = sorted(
        {published for linear in _chosen(network, rank) for published in _published(linear, rank)}
    )
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": rank.rank,
        "lora_alpha": rank.alpha,
        "lora_dropout": rank.dropout,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def _chosen(network: TrainableNetwork, rank: Rank) -> Iterator[LinearMap]:
    return (one for one in network.linear_maps() if rank.parts_of(one))


def _published(linear: LinearMap, rank: Rank) -> list[str]:
    return [linear.parts[part] for part in rank.parts_of(linear)]


def _named(linear: LinearMap) -> dict[str, Tensor]:
    added = getattr(linear.module, "lora", None)
    if not isinstance(added, LowRank):
        return {}
    found: dict[str, Tensor] = {}
    for part in added.down:
        place = f"{PREFIX}{linear.parts[part]}"
        found[f"{place}.lora_A.weight"] = added.down[part]
        found[f"{place}.lora_B.weight"] = added.up[part]
    return found


def _adds(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    added: Tensor = module.lora(inputs[0])  # type: ignore[operator]
    return output + added
