"""Splits of tablets by their server, while the tablet master looks on (BT 5.2)."""

import asyncio

import pytest

from runtime.wire.tables_pb2 import TabletPlace
from tablet.engine.engine import Engine
from tablet.engine.log.sorted_log import SortedLog
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.world.events import TabletOpened
from tablet.hosting.life import Life
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(10)]


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
