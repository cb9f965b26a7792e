"""A node dies at each step of a snapshot, a restore and a deletion: it comes about as a whole, or nothing is left."""

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any

import pytest

from cluster.interface import wait_until
from runtime.errors import TabletopError
from runtime.simulated.messages import Message
from tablet.engine.model.operations import SetCell
from tablet.location.places import SNAPSHOTS_PATH, TABLES_PATH
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, play
from tests.sim.test_table_snapshots import ROWS, content, leavings, written

CHANGES = {
    "AcquireSnapshot",
    "CheckAndMutateRow",
    "CreateLockFile",
    "Delete",
    "DeleteLockFile",
    "MakeDirectory",
    "Rename",
    "Snapshot",
    "WriteLockFile",
}
OLD = dict.fromkeys(ROWS, b"old")


class Strike:
    """A node dies when it sends, or is sent, the message number `step` that changes something; a second later it is
    started again."""

    def __init__(self, cluster: TableCluster, victim: str, step: int) -> None:
        self.at = ""
        self._is_struck = asyncio.Event()
        self._cluster = cluster
        self._victim = victim
        self._step = step
        self._seen = 0

    def _hook(self, message: Message) -> None:
        method = message.method.rpartition("/")[2]
        if not self.at and self._victim in (message.source, message.target) and method in CHANGES:
            self._seen += 1
            if self._seen == self._step:
                self.at = f"{self._step}: the {message.kind.value} of {method}"
                self._is_struck.set()
                self._cluster.simulation.kill(self._victim)

    async def during(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What came of the work: an answer, or an error."""
        undo = self._cluster.simulation.on_message(self._hook)
        loop = asyncio.get_running_loop()
        task, strike = loop.create_task(outcome(work)), loop.create_task(self._is_struck.wait())
        await asyncio.wait([task, strike], return_when=asyncio.FIRST_COMPLETED)
        strike.cancel()
        undo()
        if self.at:
            await asyncio.sleep(1.0)
            await self._cluster.start_node(self._victim)
        return await task


async def settle(cluster: TableCluster) -> None:
    """Wait until every table serves, and until nothing is left of what did not come about."""

    async def is_settled() -> bool:
        if not cluster.acting_tablet_master():
            return False
        try:
            tables, tenure = cluster.table_client(), cluster.tenure()
            found = await tables.snapshots()
            names = await tenure.session.list(SNAPSHOTS_PATH)
            folders = [status.path.rpartition("/")[2] for status in await cluster.client().list("/tablets/snapshots")]
            status, records = await tables.status(), await tenure.session.list(TABLES_PATH)
            is_whole = sorted(await tables.tables()) == records and bool(status.tablets) and not status.waiting
        except TabletopError:
            return False
        held = [record.folder for record in found]
        return is_whole and [record.name for record in found] == names and sorted(held) == folders

    await wait_until(is_settled, what="everything is whole, and nothing is left", timeout_seconds=120.0)


async def begin(cluster: TableCluster) -> None:
    """A table of three tablets on three servers, a part of whose rows is in memory."""
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, [ROWS[4], ROWS[8]])
    await written(cluster, "users", b"old")


@pytest.mark.parametrize("victim", ["tm1", "ts2"])
def test_whoever_dies_at_a_step_of_a_snapshot_it_is_whole_or_nothing_is_left(victim: str):
    async def story(cluster: TableCluster) -> set[str]:
        await begin(cluster)
        tables, outcomes = cluster.table_client(), set[str]()
        for step in count(1):
            name, strike = f"s{step}", Strike(cluster, victim, step)
            answer = await strike.during(tables.snapshot("users", name))
            if not strike.at:
                assert not isinstance(answer, TabletopError)
                break
            await settle(cluster)
            is_there = name in [record.name for record in await tables.snapshots()]
            if not isinstance(answer, TabletopError) or answer.definite:
                assert is_there is not isinstance(answer, TabletopError), f"{strike.at}: {answer}"
            outcomes.add("taken" if is_there else "aborted")
            if is_there:
                await tables.restore(name, "clone")
                assert await content(cluster, "clone") == OLD, strike.at
                await tables.delete_table("clone")
                await tables.delete_snapshot(name)
                assert await leavings(cluster) == [], strike.at
            await tables.mutate_many("users", [(row, [SetCell(b"f:x", b"old")]) for row in ROWS])
        assert step > 6
        return outcomes

    assert play(20, story) >= {"taken" if victim == "ts2" else "aborted"}


def test_whenever_the_master_dies_in_a_restore_the_table_is_whole_or_nothing_is_left():
    async def story(cluster: TableCluster) -> set[str]:
        await begin(cluster)
        tables, outcomes = cluster.table_client(), set[str]()
        await tables.snapshot("users", "monday")
        for step in count(1):
            strike = Strike(cluster, "tm1", step)
            answer = await strike.during(tables.restore("monday", "clone"))
            await settle(cluster)
            is_there = "clone" in await tables.tables()
            if not isinstance(answer, TabletopError):
                assert is_there, strike.at
            outcomes.add("restored" if is_there else "given up")
            if is_there:
                assert await content(cluster, "clone") == OLD, strike.at
                await tables.delete_table("clone")
            assert [path.rpartition("/")[2][:7] for path in await leavings(cluster)] == ["monday."], strike.at
            if not strike.at:
                break
        assert step > 10
        return outcomes

    assert play(21, story) == {"restored", "given up"}


def test_whenever_the_master_dies_in_a_deletion_the_snapshot_is_whole_or_gone():
    async def story(cluster: TableCluster) -> None:
        await begin(cluster)
        tables = cluster.table_client()
        for step in count(1):
            if not await tables.snapshots():
                await tables.snapshot("users", "monday")
            strike = Strike(cluster, "tm1", step)
            answer = await strike.during(tables.delete_snapshot("monday"))
            await settle(cluster)
            if await tables.snapshots():
                assert isinstance(answer, TabletopError), strike.at
                await tables.restore("monday", "clone")
                assert await content(cluster, "clone") == OLD, strike.at
                await tables.delete_table("clone")
            if not strike.at:
                break
        assert step > 5

    play(22, story)
