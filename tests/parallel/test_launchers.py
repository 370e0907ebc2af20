"""Lists of nodes are written out as `scontrol show hostnames` writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.errors import UsageError
from tape_bench.parallel.launchers import host_names, leads, name_master, place_of

STEP = {
    "SLURM_PROCID": "8",
    "SLURM_STEP_NUM_TASKS": "11",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2),3",
}


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("node3", "node3"),
        ("a1,a2", "a1 a2"),
        ("node[07-09,12],other", "node07 node08 node09 node12 other"),
        ("gpu-[1,5]", "gpu-1 gpu-5"),
        ("n[098-101]", "n098 n099 n100 n101"),
        ("n[8-11]", "n8 n9 n10 n11"),
        ("r[1-2]c[3-4]", "r1c3 r1c4 r2c3 r2c4"),
        ("n[1-2]-ib0,n[3]-ib0", "n1-ib0 n2-ib0 n3-ib0"),
        ("rack[2-3]-n[01,03]x,login", "rack2-n01x rack2-n03x rack3-n01x rack3-n03x login"),
        ("[1-2]a", "1a 2a"),
    ],
)
def test_lists_are_written_out(nodes: str, names: str) -> None:
    assert host_names(nodes) == names.split()


@given(
    prefix=st.from_regex(r"[a-z][a-z0-9-]{0,5}[a-z]", fullmatch=True),
    numbers=st.lists(st.integers(0, 999), min_size=1, max_size=5, unique=True),
    width=st.integers(1, 4),
)
def test_single_names_come_back_from_a_bracket(prefix: str, numbers: list[int], width: int) -> None:
    written = [str(number).zfill(width) for number in numbers]
    assert host_names(f"{prefix}[{','.join(written)}]") == [prefix + each for each in written]
    assert host_names(",".join(prefix + each for each in written)) == [
        prefix + each for each in written
    ]


@pytest.mark.parametrize("nodes", ["n[1-2", "n1]", "n[2-1]", "n[a-b]", "n[]", "n[1-]", "n[[1]]"])
def test_what_is_no_list_is_refused(nodes: str) -> None:
    with pytest.raises(UsageError, match="is no list of nodes"):
        host_names(nodes)


@pytest.mark.parametrize(("node", "tasks"), [("0", 4), ("1", 4), ("2", 3)])
def test_nodes_may_have_different_numbers_of_processes(node: str, tasks: int) -> None:
    place = place_of({**STEP, "SLURM_NODEID": node})
    assert (place.local_size, place.one_machine) == (tasks, False)


def test_a_gpu_of_ones_own_is_no_machine_of_ones_own() -> None:
    step = {**STEP, "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "4"}
    place = place_of({**step, "SLURM_PROCID": "1", "SLURM_GPUS_PER_TASK": "1"})
    assert (place.local_size, place.one_machine) == (1, True)


def test_two_steps_of_a_job_meet_at_two_ports() -> None:
    ports = []
    for step in ("0", "1", ""):
        environment = {"SLURM_STEP_NODELIST": "n1", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": step}
        name_master(environment)
        ports.append(environment["MASTER_PORT"])
    assert ports[0] == ports[2] != ports[1]


def test_the_first_process_speaks_for_all() -> None:
    assert leads({})
    assert leads({"RANK": "3"})
    assert [leads({"WORLD_SIZE": "2", "RANK": rank}) for rank in "01"] == [True, False]
    assert not leads(STEP)
    assert leads({"WORLD_SIZE": "2", "RANK": "one"})
