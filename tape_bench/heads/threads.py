"""One thread where a step is small: several would mostly spin, waiting for each other.

On a machine that others use too, a thread that waits for one without a processor burns its own
for as long; training small heads with two threads has taken seven times the processor time of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

WORTH_SHARING = 2e9
"""Multiplications in one step from which several threads pay: some ten milliseconds of one."""


@contextmanager
def enough_threads(multiplications: float) -> Iterator[None]:
    """Compute with one thread inside, unless a step has very many multiplications."""
    before = torch.get_num_threads()
    if multiplications >= WORTH_SHARING or before == 1:
        yield
        return
    with threadpool_limits(limits=1):  # type: ignore[no-untyped-call]
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
