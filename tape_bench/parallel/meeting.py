"""How the processes that a launcher has started find each other, within minutes or not at all.

What they tell each other on the way goes through a store of torch's: torchrun's own where there is
one, else one that the first process holds. On a single machine it listens to that machine alone.
Whoever can reach it can disturb the run: across machines it belongs into a network of one's own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from torch import distributed

from tape_bench.errors import ModelError, PeerLostError
from tape_bench.parallel.launchers import Place

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Result = TypeVar("Result")

LIMIT = timedelta(minutes=5)
"""How long processes wait for one that has not come: all are started at once."""

FIRST_WORD = 10.0
"""Seconds after which a process says for whom it waits; later it does so every minute."""

_LOOPBACK = "127.0.0.1"


class Waiting:
    """The time spent waiting for others: says now and then for whom, and ends at a limit."""

    def __init__(self, where: str, *, speaks: bool) -> None:
        """Begin to wait at a place."""
        self._where = where
        self._speaks = speaks
        self._begun = time.monotonic()
        self._next_word = FIRST_WORD

    def go_on(self, missing: str) -> None:
        """Let a moment pass.

        Raises:
            PeerLostError: it has taken too long.
        """
        waited = time.monotonic() - self._begun
        if waited > LIMIT.total_seconds():
            raise PeerLostError(
                f"{missing} did not come within {LIMIT.total_seconds() / 60:.0f} minutes",
                where=self._where,
                fix="see that all processes were started, and that this address can be reached",
            )
        left = (LIMIT.total_seconds() - waited) / 60
        self.say(lambda: f"{missing} at {self._where}; gives up in {left:.0f} minutes")
        time.sleep(0.05)

    def say(self, for_whom: Callable[[], str]) -> None:
        """Say for whom this process waits, if it is time to."""
        if self._speaks and time.monotonic() - self._begun > self._next_word:
            self._next_word += 60
            if named := for_whom():
                print(f"waiting for {named}; Ctrl-C stops at once", file=sys.stderr, flush=True)


def meet(place: Place, environment: Mapping[str, str]) -> Store:
    """Wait until all processes are there, and return the store they share.

    Raises:
        ModelError: the meeting place cannot be had.
        PeerLostError: one of the processes does not come.
    """
    host, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "")
    if not host or not port.isdecimal():
        raise ModelError(
            "nobody says where the processes of this run meet",
            where=f"MASTER_ADDR={host}, MASTER_PORT={port}",
            fix="start with torchrun or srun, or set both",
        )
    where = f"MASTER_ADDR={host}, MASTER_PORT={port}"
    if holds_store(place, environment):
        store = _hold_store(host, int(port), place)
    else:
        waiting = Waiting(where, speaks=place.rank == 1)
        store = _join_store(host, int(port), place, waiting)
    # torchrun starts processes anew after a fault; these shall not take the old for each other.
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    shared = distributed.PrefixStore(f"tape-bench/{attempt}", store)  # type: ignore[attr-defined]
    assemble(shared, place, Waiting(where, speaks=place.rank == 0))
    return shared


def holds_store(place: Place, environment: Mapping[str, str]) -> bool:
    """Tell whether a process holds the store for all; torchrun does so itself."""
    return place.rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def assemble(store: Store, place: Place, waiting: Waiting) -> None:
    """Wait until all processes have come to the store.

    Raises:
        PeerLostError: one of them does not.
    """
    store.set(f"here/{place.rank}", "")
    while missing := who_lacks(store, "here", place):
        waiting.go_on(missing)


def who_lacks(store: Store, key: str, place: Place) -> str:
    """Name the processes that have not written a key to the store yet; empty if all have."""
    lacking = [rank for rank in range(place.size) if not store.check([f"{key}/{rank}"])]
    named = ", ".join(map(str, lacking[:8])) + (", …" if lacking[8:] else "")
    who = "process" if len(lacking) == 1 else f"{len(lacking)} processes: ranks"
    return f"{who} {named} of {place.size} (counted from 0)" if lacking else ""


def interruptibly(do: Callable[[], Result], meanwhile: Callable[[], None] = lambda: None) -> Result:
    """Do what waits inside torch, where no signal gets through, so that one does.

    Args:
        do: what waits.
        meanwhile: called again and again until it is done.

    Raises:
        Exception: whatever `do` raises.
    """
    import threading

    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(do())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        meanwhile()
    if errors:
        raise errors[0]
    return results[0]


def listen_to_this_machine_only() -> None:
    """Have the connections between processes of a single machine go over its loopback."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)


def _hold_store(host: str, port: int, place: Place) -> Store:
    """Open a store for all; on a single machine, for none but its own processes."""
    try:
        if place.one_machine:
            listener = socket.create_server((_LOOPBACK, port))
        elif socket.has_dualstack_ipv6():
            listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            listener = socket.create_server(("", port))
    except OSError as error:
        raise ModelError(
            f"the processes of this run cannot meet: {error}",
            where=f"MASTER_ADDR={host}, MASTER_PORT={port}",
            fix="choose another port: another run may have this one",
        ) from error
    return distributed.TCPStore(  # type: ignore[attr-defined]
        _LOOPBACK,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=LIMIT,
        master_listen_fd=listener.detach(),
    )


def _join_store(host: str, port: int, place: Place, waiting: Waiting) -> Store:
    """Go to the store that another process holds, as soon as it does."""
    # Only whether it is there: torch waits without a word, and complains at length.
    reachable = [_LOOPBACK, host] if place.one_machine else [host]
    while True:
        for address in reachable:
            with contextlib.suppress(OSError), socket.create_connection((address, port), 5):
                return distributed.TCPStore(  # type: ignore[attr-defined]
                    address, port, is_master=False, wait_for_workers=False, timeout=LIMIT
                )
        waiting.go_on(f"process 0 of {place.size} (counted from 0)")
