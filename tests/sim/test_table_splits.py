"""Splits of tablets by their server, while the tablet master looks on (BT 5.2)."""

import asyncio

import pytest

from cluster.interface import wait_until
from runtime.errors import StaleVersion
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.metadata import MetadataRows
from tablet.engine.engine import Engine
from tablet.engine.log.sorted_log import SortedLog
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.world.events import TabletOpened
from tablet.hosting.life import Life
from tablet.hosting.server import TabletServerNode
from tablet.hosting.splitting import split
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(10)]


def test_an_order_to_load_a_tablet_that_comes_after_its_split_is_refused():
    """The master has read METADATA before the split. A tablet that is served beside its halves compacts, and removes
    files that are theirs."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [place] = await tables.tablets("users")
        [node] = cluster.who_serves(place.tablet)
        await tables.split(place.tablet, ROWS[5])
        assert isinstance(await outcome(cluster.lives()[node].load(place)), StaleVersion)
        assert cluster.who_serves(place.tablet) == []

    play(1, story)


def test_a_split_comes_to_its_end_though_its_caller_has_gone(monkeypatch: pytest.MonkeyPatch):
    """The change of METADATA may take effect after the caller was told nothing."""
    replace, callers = MetadataRows.replace, list[asyncio.Task[object]]()

    async def replace_for_nobody(rows: MetadataRows, before: TabletPlace | None, after: TabletPlace | None) -> bool:
        if before is not None and after is not None and before.tablet != after.tablet:
            callers[0].cancel()
        return await replace(rows, before, after)

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [place] = await tables.tablets("users")
        [node] = cluster.who_serves(place.tablet)
        server = cluster.server(node)
        assert isinstance(server, TabletServerNode)
        monkeypatch.setattr(MetadataRows, "replace", replace_for_nobody)
        callers.append(
            asyncio.get_running_loop().create_task(
                split(server.life(), server._rows, server._new_numbers, place.tablet, ROWS[5])
            )
        )
        await asyncio.wait(callers)
        assert callers[0].cancelled()

        async def are_served() -> bool:
            return [cluster.who_serves(half.tablet) for half in await tables.tablets("users")] == [[node], [node]]

        await wait_until(are_served, what="both halves are served", timeout_seconds=30.0)
        assert cluster.who_serves(place.tablet) == []

    play(1, story)


def test_a_half_that_the_master_orders_loaded_while_its_server_opens_it_is_opened_once(monkeypatch: pytest.MonkeyPatch):
    """METADATA names the halves before their server serves them, so that the order may come in between. A half that was
    opened twice had two memories: what was acknowledged by the first was not seen in the second."""
    opened, orders = Life.opened, list[asyncio.Task[None]]()

    async def open_after_an_order(life: Life, place: TabletPlace, former: SortedLog | None = None) -> Engine:
        if place.tablet != "users-000003" and len(orders) < 2:
            orders.append(asyncio.get_running_loop().create_task(life.load(place)))
            await asyncio.sleep(0.001)
        return await opened(life, place, former)

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [place] = await tables.tablets("users")
        assert place.tablet == "users-000003"
        monkeypatch.setattr(Life, "opened", open_after_an_order)
        halves = await tables.split(place.tablet, ROWS[5])
        await tables.mutate("users", ROWS[1], [DeleteRow()])
        await asyncio.gather(*orders)
        assert len(orders) == 2
        names = [event.tablet for event in cluster.said(TabletOpened)]
        assert [names.count(half.tablet) for half in halves] == [1, 1]
        assert [key async for key, _ in tables.scan("users")] == [row for row in ROWS if row != ROWS[1]]

    play(1, story)
