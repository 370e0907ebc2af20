"""Processes find each other, on a single machine unseen by others, or say who is missing."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psutil
import pytest
from torch import distributed

from tape_bench.errors import ModelError, PeerLostError
from tape_bench.parallel import meeting
from tape_bench.parallel.launchers import Place
from tape_bench.parallel.meeting import Waiting, assemble, interruptibly, meet


def places(size: int) -> list[Place]:
    return [Place(rank, size, rank, size, one_machine=True) for rank in range(size)]


@pytest.fixture
def environment() -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of a moment, and words as soon as somebody waits."""
    monkeypatch.setattr(meeting, "LIMIT", timedelta(seconds=0.3))
    monkeypatch.setattr(meeting, "FIRST_WORD", 0.0)


def test_all_come_and_share_a_store_that_listens_to_this_machine_alone(environment):
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda place: meet(place, environment), places(3))
        first.set("word", "heard")
        assert [other.get("word") for other in others] == [b"heard"] * 2
    port = int(environment["MASTER_PORT"])
    listening = {
        connection.laddr.ip
        for connection in psutil.Process().net_connections()
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.usefixtures("short")
def test_who_does_not_come_is_named(environment, capsys):
    with pytest.raises(PeerLostError, match="process 1 of 2") as lost:
        meet(places(2)[0], environment)
    assert f"MASTER_PORT={environment['MASTER_PORT']}" in str(lost.value)
    said = capsys.readouterr().err
    assert "waiting for process 1 of 2" in said
    assert "Ctrl-C" in said


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("rank", "speaks"), [(1, True), (2, False)])
def test_one_process_says_that_the_first_is_missing(environment, capsys, rank, speaks):
    with pytest.raises(PeerLostError, match="process 0 of 3"):
        meet(places(3)[rank], environment)
    assert ("waiting for process 0" in capsys.readouterr().err) == speaks


@pytest.mark.usefixtures("short")
def test_several_that_are_missing_are_listed():
    store = distributed.HashStore()
    store.set("here/1", "")
    with pytest.raises(PeerLostError, match=r"2 processes: ranks 2, 3 of 4"):
        assemble(store, places(4)[0], Waiting("here", speaks=False))


def test_a_taken_port_is_told(environment):
    with (
        socket.create_server(("127.0.0.1", int(environment["MASTER_PORT"]))),
        pytest.raises(ModelError, match="cannot meet"),
    ):
        meet(places(2)[0], environment)


def test_no_place_to_meet_is_told():
    with pytest.raises(ModelError, match="where the processes of this run meet"):
        meet(places(2)[0], {"MASTER_ADDR": "head"})


def test_what_waits_inside_torch_gives_its_result_or_its_error():
    assert interruptibly(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        interruptibly(lambda: 1 // 0)


def test_what_waits_inside_torch_can_be_interrupted(monkeypatch: pytest.MonkeyPatch):
    never = threading.Event()
    threading.Timer(0.2, lambda: __import__("_thread").interrupt_main()).start()
    with pytest.raises(KeyboardInterrupt):
        interruptibly(never.wait)
    never.set()


def test_connections_of_a_single_machine_go_over_its_loopback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {"NCCL_SOCKET_IFNAME": "eth7"})
    meeting.listen_to_this_machine_only()
    addresses = psutil.net_if_addrs()[os.environ["GLOO_SOCKET_IFNAME"]]
    assert "127.0.0.1" in [address.address for address in addresses]
    # What the user has said stands.
    assert os.environ["NCCL_SOCKET_IFNAME"] == "eth7"
