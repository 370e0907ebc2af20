"""Attention weights out of a running network, one layer at a time.

The library hands all layers' maps over together: 1.4 GB for a protein of 500 residues in a network
of 3B. Here the network runs beside, and waits at each layer until its map is taken.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tape_bench.errors import ModelError


class _Enough(BaseException):
    """Nobody wants further layers."""


def maps_of(network: nn.Module, ids: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """Yield each layer's attention weights, `[sequences, heads, tokens, tokens]`.

    Args:
        network: an encoder of transformers.
        ids: token ids `[sequences, tokens]`.
        mask: 1 where there is a token, of the same shape.

    Raises:
        ModelError: the network does not show its attention.
    """
    taken: queue.Queue[Tensor | BaseException | None] = queue.Queue(maxsize=1)
    enough = threading.Event()

    def offer(thing: Tensor | BaseException | None) -> None:
        while not enough.is_set():
            try:
                return taken.put(thing, timeout=0.1)
            except queue.Full:
                continue
        raise _Enough

    def look(module: nn.Module, given: object, output: object) -> None:
        weights = _weights(output, ids.shape[1])
        if weights is not None:
            offer(weights)

    def run() -> None:
        try:
            with torch.inference_mode():
                network(input_ids=ids, attention_mask=mask)
            offer(None)
        except _Enough:
            pass
        except BaseException as error:
            with contextlib.suppress(_Enough):
                offer(error)

    before = network.config._attn_implementation  # type: ignore[union-attr]
    # Only the plain way computes the weights as such.
    network.set_attn_implementation("eager")  # type: ignore[operator]
    hooks = [
        module.register_forward_hook(look)
        for module in network.modules()
        if type(module).__name__.endswith(("SelfAttention", "Attention"))
        and not any(type(child).__name__.endswith("Attention") for child in module.children())
    ]
    beside = threading.Thread(target=run, daemon=True)
    beside.start()
    seen = 0
    try:
        while (thing := taken.get()) is not None:
            if isinstance(thing, BaseException):
                raise thing
            seen += 1
            yield thing
    finally:
        enough.set()
        beside.join()
        for hook in hooks:
            hook.remove()
        network.set_attn_implementation(before)  # type: ignore[operator]
    if not seen:
        raise ModelError(
            f"{type(network).__name__} does not show its attention",
            fix="use a model that does, e.g. of the ESM-2 family",
        )


def _weights(output: object, tokens: int) -> Tensor | None:
    """Find attention weights in what a module of the network gave."""
    # The last of the kind: T5 gives its position bias first, which is of the same shape.
    found = [
        part
        for part in (output if isinstance(output, tuple) else ())
        if isinstance(part, Tensor) and part.dim() == 4 and part.shape[-2:] == (tokens, tokens)
    ]
    return found[-1] if found else None
