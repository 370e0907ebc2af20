"""What a network has to compute, as opposed to what it happens to compute.

Useful is the work of the blocks on residues alone. Each residue passes linear maps with
`4 * hidden * hidden` weights around attention and `2 * hidden * inner` in the perceptron (three
times where it is gated), at a multiplication and an addition a weight. A protein of L residues
compares all with all, and gathers from all, at `2 * L * L * hidden` each. Special tokens, padding,
norms, activations and embeddings count as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from tape_bench.models.embedder import Network


def useful_flops(network: Network, lengths: Iterable[int]) -> float:
    """Return the useful operations for proteins of these residues."""
    hidden, products = network.hidden, 3 if network.gated else 2
    linear = 4 * hidden**2 + products * hidden * network.inner
    return float(sum(network.layers * (2 * linear * n + 4 * hidden * n * n) for n in lengths))
