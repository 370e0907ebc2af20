"""TAPE's head for residues: two weight-normalised convolutions along the chain."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tape_bench.heads.mlp import WIDTH, one_length


class TokenConv(nn.Module):
    """TAPE's secondary structure head: batch norm, convolution over 5, ReLU, over 3.

    Without a mask it is TAPE's, which lets padding into the batch statistics and, by way of
    the convolutions, into the last residues. With a mask, padding is zero before each
    convolution, exactly as beyond a chain's end, and batch norm keeps to its stored statistics,
    mean 0 and variance 1: channels come standardised over the whole training split, while those
    of a batch say nothing about a letter that the batch happens to lack. So a protein's scores
    never depend on the batch it is in, not even in training.

    Parameters keep TAPE's names and numbers below `main`; its dropout of 0 is left out.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        """Map `hidden` channels by way of 512 to `outputs` scores a residue."""
        super().__init__()
        self.main = nn.ModuleDict(
            {
                "0": nn.BatchNorm1d(hidden),
                "1": one_length(nn.Conv1d(hidden, WIDTH, 5, padding=2)),
                "4": one_length(nn.Conv1d(WIDTH, outputs, 3, padding=1)),
            }
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score residues.

        Args:
            x: representations, `[proteins, residues, hidden]`.
            mask: True at real residues, `[proteins, residues]`; None where all are.

        Returns:
            Scores, `[proteins, residues, outputs]`; those of padding mean nothing.
        """
        norm, first, second = self._layers
        if mask is None:
            normed = norm(x.transpose(1, 2)).transpose(1, 2)
            return _convolve_wide(_convolve_narrow(normed, first).relu(), second)
        real = mask.unsqueeze(-1)
        normed = _by_stored_statistics(norm, x) * real
        return _convolve_wide(_convolve_narrow(normed, first).relu() * real, second)

    @property
    def _layers(self) -> tuple[nn.BatchNorm1d, nn.Conv1d, nn.Conv1d]:
        norm, first, second = self.main.values()
        assert isinstance(norm, nn.BatchNorm1d)
        assert isinstance(first, nn.Conv1d)
        assert isinstance(second, nn.Conv1d)
        return norm, first, second


def _by_stored_statistics(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    flat = functional.batch_norm(
        x.flatten(0, 1), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )
    return flat.view_as(x)


# The convolutions are written as matrix products. As such they plan nothing for each new length
# of a batch, as oneDNN does for a convolution, and take a third less time on a CPU.


def _convolve_narrow(x: Tensor, convolution: nn.Conv1d) -> Tensor:
    """Convolve few channels into many: neighbours laid side by side, then one product."""
    width = convolution.weight.shape[2]
    padded = functional.pad(x, (0, 0, width // 2, width // 2))
    neighbours = padded.unfold(1, width, 1).flatten(2)
    return functional.linear(neighbours, convolution.weight.flatten(1), convolution.bias)


def _convolve_wide(x: Tensor, convolution: nn.Conv1d) -> Tensor:
    """Convolve many channels into few: one product, then its parts moved to where they count."""
    weight, bias = convolution.weight, convolution.bias
    assert bias is not None
    width, length = weight.shape[2], x.shape[1]
    parts = functional.linear(x, weight.permute(2, 0, 1).flatten(0, 1))
    padded = functional.pad(parts, (0, 0, width // 2, width // 2)).unflatten(2, (width, -1))
    moved = [padded[:, shift : shift + length, shift] for shift in range(width)]
    return torch.stack(moved).sum(dim=0) + bias
