"""What launchers say of a process is read rightly, and it waits for the others and names them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import distributed

from tape_bench.errors import PeerLostError, UsageError
from tape_bench.parallel import meeting
from tape_bench.parallel.launchers import Place
from tape_bench.parallel.processes import World, _name_master


def torchrun(rank: int, size: int, local: int, per_node: int) -> dict[str, str]:
    values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": per_node}
    return {name: str(value) for name, value in values.items()}


def test_without_a_launcher_there_is_no_world():
    assert World.of({}) is None
    assert World.of(torchrun(0, 1, 0, 1)) is None


def test_groups_of_two_under_torchrun():
    worlds = [World.of(torchrun(rank, 8, rank % 4, 4), 2) for rank in range(8)]
    assert [world.data_rank for world in worlds] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [world.writes for world in worlds] == [True, False] * 4
    assert {world.data_size for world in worlds} == {4}
    assert [world.place.local_rank for world in worlds] == [0, 1, 2, 3] * 2


def test_srun_is_known_by_its_step():
    step = {
        "SLURM_PROCID": "5",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    }
    world = World.of(step)
    assert world.place[:4] == (5, 8, 1, 4)
    # Each process sees one GPU then, which is number 0 to it.
    world = World.of({**step, "SLURM_GPUS_PER_TASK": "1"})
    assert world.place[:4] == (5, 8, 0, 1)


def test_a_batch_script_is_one_process_whatever_it_was_allotted():
    assert World.of({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}) is None


def test_processes_that_make_no_whole_groups_are_refused():
    with pytest.raises(UsageError, match="8 processes cannot be grouped by 3"):
        World.of(torchrun(0, 8, 0, 8), 3)


def test_half_of_the_variables_are_refused():
    with pytest.raises(UsageError, match="make no sense") as caught:
        World.of({"WORLD_SIZE": "4", "RANK": "one"})
    assert "RANK=one" in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node[07-09,12],other", "node07"),
        ("node3", "node3"),
        ("a1,a2", "a1"),
        ("gpu-[1,5]", "gpu-1"),
        ("rack[2-3]-n[01-04]", "rack2-n01"),
    ],
)
def test_slurms_first_node_is_where_processes_meet(nodes: str, first: str):
    environment = {"SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "123456"}
    _name_master(environment)
    assert environment["MASTER_ADDR"] == first
    assert 20_000 <= int(environment["MASTER_PORT"]) < 40_000


def test_what_is_said_of_the_meeting_place_stands():
    environment = {"MASTER_ADDR": "head", "MASTER_PORT": "1234", "SLURM_STEP_NODELIST": "n1"}
    _name_master(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("head", "1234")


def test_the_first_says_for_whom_it_waits_and_learns_what_all_bring(
    monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(meeting, "FIRST_WORD", 0.0)
    store, come = distributed.HashStore(), threading.Event()
    monkeypatch.setattr(distributed, "monitored_barrier", lambda *_, **__: come.wait())
    worlds = [World(Place(rank, 2, rank, 2, True), store=store) for rank in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(worlds[0].collect, "a")
        while "waiting for process 1 of 2" not in capsys.readouterr().err:
            time.sleep(0.01)
        second = pool.submit(worlds[1].collect, "b")
        while not store.check(["brought/1"]):
            time.sleep(0.01)
        come.set()
        assert (first.result(), second.result()) == (["a", "b"], None)


@pytest.mark.parametrize(
    ("torch_says", "we_say"),
    [
        ("[Rank 0]: Rank 3 failed to pass monitoredBarrier in 100 ms", "process 3 of 4"),
        ("Rank 1 successfully reached monitoredBarrier, but received errors", "a process of"),
    ],
)
def test_the_one_that_was_lost_is_named(monkeypatch: pytest.MonkeyPatch, torch_says, we_say):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(torch_says)

    monkeypatch.setattr(distributed, "monitored_barrier", fail)
    world = World(Place(0, 4, 0, 4, True), store=distributed.HashStore())
    with pytest.raises(PeerLostError, match=f"{we_say}.* has died"):
        world.collect("")
