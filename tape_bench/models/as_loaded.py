"""Whether a network in memory is still the one that its checkpoint's digest speaks of."""

from __future__ import annotations

from torch import nn

State = tuple[tuple[str, int, int], ...]


def state_of(network: nn.Module) -> State:
    """Return what training, loading and wrapping change, without a look at any weight.

    torch counts the changes of each tensor in place; a weight that was put in the place of another
    is another object. Going to another precision and back is no change.
    """
    weights = network.state_dict(keep_vars=True)
    return tuple((name, id(weight), weight._version) for name, weight in weights.items())
