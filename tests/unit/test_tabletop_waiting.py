"""What a command says while it tries again."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.interface import NodeReport
from gfs.events import MasterAskedAgain, ReplicaSkipped
from runtime.errors import NotFound, Unavailable
from runtime.events import Event, NodeStarted, Record
from runtime.simulated.world import Simulation
from tabletop.waiting import LastTry, attended


def record(event: Event, seconds: float) -> Record:
    return Record(1, int(seconds * 1e6), "client", "", event)


def test_only_the_last_failed_try_is_kept_and_only_for_a_moment():
    tries = LastTry()
    assert tries.reason(now=10.0) == ""
    tries.write(record(MasterAskedAgain("no answer in time"), 10.0))
    tries.write(record(NodeStarted("client"), 11.0))
    assert tries.reason(now=11.0) == "no answer in time"
    tries.write(record(ReplicaSkipped("/a", 0, 1, "cs1", "the connection broke"), 12.0))
    assert tries.reason(now=13.0) == "the connection broke"
    assert tries.reason(now=60.0) == ""


def test_a_temporary_name_is_not_shown():
    tries = LastTry()
    reason = "no space for a chunk of '/d/.writing-424f6ff4b50736a5'; delete something"
    tries.write(record(MasterAskedAgain(reason), 1.0))
    assert tries.reason(now=1.0) == "no space for a chunk of the file; delete something"
    reason = "no space for a chunk of '/.writing-424f6ff4b50736a5/sub/.writing-0123456789abcdef'; delete something"
    tries.write(record(MasterAskedAgain(reason), 1.0))
    assert tries.reason(now=1.0) == "no space for a chunk of the file; delete something"


class Gone:
    """As much of a cluster as a command that waits looks at; its master may be gone, or all of it."""

    def __init__(self) -> None:
        self.client_world = SimpleNamespace(clock=SimpleNamespace(wall_microseconds=lambda: 10_000_000))
        self.problem = ""
        self.down = False

    def require_master(self) -> None:
        if self.problem:
            raise Unavailable(self.problem, definite=True)

    def is_down(self) -> bool:
        return self.down

    async def nodes(self) -> list[NodeReport]:
        return []


def attended_on(cluster: Gone, work: Coroutine[Any, Any, Any], *, gives_up: bool = True) -> Any:
    tries = LastTry()
    tries.write(record(MasterAskedAgain("the master does not answer"), 10.0))
    return in_virtual_time(attended(cluster, tries, work, gives_up=gives_up))  # type: ignore[arg-type]


def in_virtual_time(work: Coroutine[Any, Any, Any]) -> Any:
    simulation = Simulation(1)
    try:
        return simulation.run(work)
    finally:
        simulation.close()


async def waits(seconds: float, cleaned: list[float]) -> str:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await asyncio.sleep(2.0)
        cleaned.append(asyncio.get_running_loop().time())
        raise
    return "done"


def test_a_master_that_is_gone_is_waited_for_until_nobody_seems_to_start_it_again():
    cluster, cleaned = Gone(), list[float]()
    cluster.problem = "the master is not running"
    assert attended_on(cluster, waits(9.0, cleaned)) == "done"
    with pytest.raises(Unavailable, match="the master is not running") as caught:
        attended_on(cluster, waits(100.0, cleaned))
    assert not caught.value.definite  # What was under way when it died may have been done.
    assert len(cleaned) == 1 and 10.0 < cleaned[0] < 13.5


def test_work_that_waits_for_a_master_however_long_it_takes_is_not_given_up():
    cluster = Gone()
    cluster.problem, cluster.down = "the master is not running", True
    assert attended_on(cluster, waits(100.0, []), gives_up=False) == "done"


def test_a_cluster_that_was_taken_down_is_waited_for_a_moment_only():
    cluster, cleaned = Gone(), list[float]()
    cluster.problem, cluster.down = "it is down", True
    with pytest.raises(Unavailable, match="it is down"):
        attended_on(cluster, waits(100.0, cleaned))
    assert 3.0 < cleaned[0] < 6.5


def test_a_master_that_is_there_is_waited_for_as_long_as_the_client_does():
    assert attended_on(Gone(), waits(100.0, [])) == "done"


def test_what_the_work_raises_is_raised_and_work_that_is_interrupted_cleans_up_first():
    async def fails() -> None:
        raise NotFound("no such file")

    with pytest.raises(NotFound, match="no such file"):
        attended_on(Gone(), fails())

    cleaned: list[float] = []

    async def interrupted() -> None:
        task = asyncio.get_running_loop().create_task(attended(Gone(), LastTry(), waits(100.0, cleaned)))  # type: ignore[arg-type]
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [3.0]

    in_virtual_time(interrupted())
