"""A request to change a row that comes twice, or late, is carried out once (BT 3: each row has one history)."""

import asyncio

from cluster.fault_runner import FaultRunner
from cluster.faultplan import Fault, MessageDoubled, OnMessage
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import SetCell
from tests.sim.small_tables import SCHEMA, TableCluster, play


def test_a_mutation_that_comes_again_does_not_write_over_what_was_written_since():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        faults = FaultRunner(cluster, (Fault(OnMessage("*/MutateRows"), MessageDoubled(2.0)),), revive_seconds=0.5)
        faults.begin()
        await asyncio.sleep(0.01)
        for value in (b"1", b"2"):
            await tables.put("users", b"ada", b"f:x", value)
        await asyncio.sleep(4.0)
        assert await tables.get("users", b"ada", b"f:x") == b"2"
        await faults.heal_all()

    play(1, story)


def test_a_conditional_mutation_that_comes_again_changes_nothing():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        faults = FaultRunner(
            cluster, (Fault(OnMessage("*/CheckAndMutateRow"), MessageDoubled(2.0)),), revive_seconds=0.5
        )
        await tables.put("users", b"ada", b"f:count", b"0")
        faults.begin()
        await asyncio.sleep(0.01)
        wanted = ReadFilter(columns=[b"f:count"])
        assert await tables.check_and_mutate("users", b"ada", wanted, [SetCell(b"f:count", b"1")])
        await tables.put("users", b"ada", b"f:count", b"2")
        await asyncio.sleep(4.0)
        assert await tables.get("users", b"ada", b"f:count") == b"2"
        await faults.heal_all()

    play(1, story)


def test_a_deletion_of_a_table_that_comes_again_does_not_hit_a_new_table_of_that_name():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        faults = FaultRunner(cluster, (Fault(OnMessage("*/DeleteTable"), MessageDoubled(2.0)),), revive_seconds=0.5)
        faults.begin()
        await asyncio.sleep(0.01)
        await tables.delete_table("users")
        await tables.create_table("users", SCHEMA, [])
        await tables.put("users", b"ada", b"f:x", b"1")
        await asyncio.sleep(4.0)
        assert await tables.get("users", b"ada", b"f:x") == b"1"
        await faults.heal_all()

    play(1, story)
