"""Faults aimed at tables: one story, told to processes and to a simulation."""

import asyncio
from pathlib import Path

import pytest

from cluster.faultplan import (
    BusiestTabletServer,
    Kill,
    LogOf,
    LogTrouble,
    Node,
    Partition,
    ServerOfRow,
    ServerOfTablet,
    TheTabletMaster,
)
from cluster.interface import Cluster, NodeState, wait_until
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from cluster.tablet_targets import figures_of, node_of
from runtime.errors import NotFound, TabletopError
from runtime.faults.disk import WriteError
from runtime.simulated.world import Simulation
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.model.schema import Family, Schema

pytestmark = pytest.mark.cluster
SETTINGS = ClusterSettings(
    chunkservers=3,
    chunk_bytes=1024 * 1024,
    lease_seconds=4.0,
    heartbeat_seconds=0.5,
    tablet_servers=2,
    experiments=True,
)


async def told(cluster: Cluster) -> None:
    tables = cluster.table_client()
    try:
        await tables.create_table("users", Schema().with_family(Family("f")), [b"m"])
        await tables.put("users", b"a", b"f:x", b"1")
        await of_rows_and_tablets(cluster, tables)
        await of_the_log(cluster, tables)
        await of_a_session(cluster, tables)
        await of_the_busiest_and_the_master(cluster, tables)
    finally:
        await tables.close()


async def first(tables: TableClient) -> TabletPlace:
    return (await tables.tablets("users"))[0]


async def of_rows_and_tablets(cluster: Cluster, tables: TableClient) -> None:
    place = await first(tables)
    fault = await cluster.impose(Kill(), ServerOfRow("users", "a"))
    assert fault.nodes == (node_of(place.server),)
    assert await tables.get("users", b"a", b"f:x") == b"1", "another one serves it"
    await cluster.heal(fault.number)
    after = await first(tables)
    assert after.server != place.server
    fault = await cluster.impose(Partition(Node("cs1")), ServerOfTablet(after.tablet))
    assert fault.nodes == (node_of(after.server),)
    await cluster.heal(fault.number)
    with pytest.raises(NotFound):
        await cluster.impose(Kill(), ServerOfTablet("users-000999"))


async def of_the_log(cluster: Cluster, tables: TableClient) -> None:
    """Where one replica of the log cannot be written, GFS does without it."""
    await tables.put("users", b"a", b"f:x", b"2")
    server = node_of((await first(tables)).server)
    fault = await cluster.impose(LogTrouble(WriteError(), server), LogOf(server))
    assert len(fault.nodes) == 1 and fault.nodes[0].startswith("cs")
    assert f"/tablets/logs/{server}-" in fault.words and "fail with EIO" in fault.words

    assert await wait_until(lambda: put(tables, b"3"), what="a row is written in spite of it", timeout_seconds=60.0)
    await cluster.heal(fault.number)
    assert await tables.get("users", b"a", b"f:x") == b"3"


async def put(tables: TableClient, value: bytes) -> bool:
    try:
        await tables.put("users", b"a", b"f:x", value)
    except TabletopError:
        return False
    return True


async def of_a_session(cluster: Cluster, tables: TableClient) -> None:
    """Cut off from the lock service for long enough, a server begins another life."""
    before = (await first(tables)).server
    fault = await cluster.impose(Partition(Node("lock")), ServerOfRow("users", "a"), seconds=4.0)
    assert fault.nodes == (node_of(before),)

    async def moved() -> bool:
        return (await first(tables)).server not in ("", before)

    await wait_until(moved, what="another life serves the row", timeout_seconds=60.0)
    assert await tables.get("users", b"a", b"f:x") == b"3"
    await cluster.heal()


async def of_the_busiest_and_the_master(cluster: Cluster, tables: TableClient) -> None:
    await wait_until(lambda: is_quiet(tables), what="every tablet is served", timeout_seconds=60.0)

    async def is_busy() -> bool:
        for _ in range(20):
            await tables.get("users", b"a", b"f:x")
        found = [
            await figures_of(cluster.client_world, report)
            for report in await cluster.nodes()
            if report.node.startswith("ts")
        ]
        return any(figures is not None and figures.rows_per_second > 0 for figures in found)

    await wait_until(is_busy, what="some tablet server says that it is read", timeout_seconds=30.0)
    fault = await cluster.impose(Kill(), BusiestTabletServer())
    assert len(fault.nodes) == 1 and fault.nodes[0].startswith("ts")
    fault = await cluster.impose(Kill(), TheTabletMaster())
    assert fault.nodes == ("tm1",)
    down = {report.node for report in await cluster.nodes() if report.state is NodeState.DEAD}
    assert "tm1" in down and len(down) == 2
    await cluster.heal()
    assert await tables.get("users", b"a", b"f:x") == b"3"


async def is_quiet(tables: TableClient) -> bool:
    status = await tables.status()
    return bool(status.tablets) and not status.waiting


def test_the_story_in_the_simulated_world():
    with Simulation(6) as simulation:
        cluster = SimulatedCluster(simulation, SETTINGS)

        async def whole() -> None:
            await cluster.start()
            await told(cluster)

        simulation.run(whole(), processor_seconds=120)


def test_the_story_in_the_real_world(tmp_path: Path):
    async def whole() -> None:
        cluster = RealCluster("faulty", home=tmp_path, owned=True)
        await cluster.start(SETTINGS)
        try:
            await told(cluster)
        finally:
            await cluster.stop()

    asyncio.run(whole())
