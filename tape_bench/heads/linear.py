"""The linear probe: what can be read off a representation without any further computing."""

from __future__ import annotations

from torch import Tensor, nn


class Linear(nn.Linear):
    """One linear map, for residues and for whole proteins alike.

    It starts at zero: the problem has one minimum, and a random start would only add noise.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        """Map `hidden` channels to `outputs` scores."""
        super().__init__(hidden, outputs)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score `[..., hidden]` as `[..., outputs]`; each residue by itself, so no mask is read."""
        return super().forward(x)
