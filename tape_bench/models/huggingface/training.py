"""A model of the hub while it is trained, as transformers computes it: padded and masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import torch
from torch import Tensor, nn

from tape_bench.errors import ModelError
from tape_bench.models.trainable import LinearMap, States, TrainableNetwork

_CALLED = {
    "query": ("query", "q", "q_proj"),
    "key": ("key", "k", "k_proj"),
    "value": ("value", "v", "v_proj"),
    "output": ("attention.output.dense", "SelfAttention.o", "o_proj", "out_proj"),
    "expand": ("intermediate.dense", "wi", "wi_0", "wi_1", "gate_proj", "up_proj"),
    "contract": ("output.dense", "wo", "down_proj"),
}
"""What linear maps are called in the library's classes; the first that fits counts."""


class PaddedNetwork(TrainableNetwork):
    """The library's network, without its masked-language-model head."""

    pads = True

    def __init__(
        self,
        encoder: nn.Module,
        padded: Callable[[Sequence[str]], tuple[Tensor, Tensor]],
        *,
        layers: int,
        hidden: int,
        depth: int | None,
        before: int,
        after: int,
        spec: str,
    ) -> None:
        """Make a network trainable.

        Args:
            encoder: on its device, in float32.
            padded: token ids and mask of sequences, special tokens included.
            layers: blocks that it has.
            hidden: width of a state.
            depth: blocks to go through; None for all.
            before: special tokens before the residues.
            after: special tokens after them.
            spec: what the user typed.
        """
        super().__init__()
        self.encoder = encoder.requires_grad_(True)
        self.hidden, self.special_tokens = hidden, before + after
        self._padded, self._before = padded, before
        self._depth = None if depth == layers else depth
        stacks = [m for m in encoder.modules() if isinstance(m, nn.ModuleList)]
        whole = [stack for stack in stacks if len(stack) == layers]
        if not whole:
            raise ModelError(
                "the blocks of this network are not found, so it cannot be trained",
                where=spec,
                fix="use the protocol probe",
            )
        self._blocks = list(whole[0])[: self._depth]
        for unread in list(whole[0])[len(self._blocks) :]:
            unread.requires_grad_(False)

    def forward(self, sequences: Sequence[str]) -> States:
        """Represent sequences; see `TrainableNetwork`."""
        rows, _ = self._states(sequences)
        lengths = torch.tensor([len(sequence) for sequence in sequences], device=rows.device)
        places = torch.arange(rows.shape[1], device=rows.device) - self._before
        inside = (places >= 0) & (places < lengths[:, None])
        return States(rows[inside].float(), rows[:, 0].float() if self._before else None)

    def tokens(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the states of all tokens; see `TrainableNetwork`."""
        rows, mask = self._states(sequences)
        return [row[: int(real.sum())].float() for row, real in zip(rows, mask, strict=True)]

    def _states(self, sequences: Sequence[str]) -> tuple[Tensor, Tensor]:
        ids, mask = self._padded(sequences)
        every = self._depth is None
        found = self.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=not every)
        return (found.last_hidden_state if every else found.hidden_states[self._depth]), mask

    @property
    def weights(self) -> nn.Module:
        """The library's network."""
        return self.encoder

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks that are gone through."""
        return self._blocks

    @property
    def below(self) -> Sequence[nn.Parameter]:
        """What the library's classes make before their blocks."""
        first = next(iter(self._blocks[0].parameters()))
        every = iter(self.encoder.parameters())
        return list(takewhile(lambda weight: weight is not first, every))

    def linear_maps(self) -> Iterator[LinearMap]:
        """Yield the linear maps of the blocks, in order."""
        named = {id(module): name for name, module in self.encoder.named_modules()}
        for block in self._blocks:
            for name, module in block.named_modules():
                part = _part_of(name) if isinstance(module, nn.Linear) else None
                if part is not None:
                    yield LinearMap(module, {part: named[id(module)]})


def _part_of(name: str) -> str | None:
    """Tell which map of a block a module is, from its name."""
    for part, called in _CALLED.items():
        if any(name == one or name.endswith("." + one) for one in called):
            return part
    return None
