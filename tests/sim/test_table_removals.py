"""Deleting tables, by a master that knows something old (BT 5.2)."""

import pytest

from runtime.errors import NotFound, StaleVersion
from runtime.wire.tables_pb2 import TableRecord, TabletPlace
from tablet.client.client import TableClient
from tablet.engine.model.operations import SetCell
from tablet.location.places import changed
from tablet.master.tables import DELETING
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(10)]


async def made(cluster: TableCluster) -> TableClient:
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, [])
    assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
    return tables


def test_a_table_that_was_made_anew_outlives_a_list_of_tables_from_before():
    """The master reads which tables are to be removed at the begin of a round, and removes them at its end."""

    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        await cluster.tenure().changes.remove_remains({"users": TableRecord(table="users", state=DELETING)})
        assert [key async for key, _ in tables.scan("users")] == ROWS

    play(1, story)


def test_a_master_that_wakes_up_in_the_middle_of_a_removal_touches_nothing_of_a_new_table(
    monkeypatch: pytest.MonkeyPatch,
):
    """Its session is over, but the file system and the tablet servers do not know that."""

    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        changes, read = cluster.tenure().changes, TableClient.tablets

        async def after_a_new_table_was_made(client: TableClient, table: str | None = None) -> list[TabletPlace]:
            monkeypatch.setattr(TableClient, "tablets", read)
            await tables.delete_table("users")
            await made(cluster)
            return []

        record = "/tablets/tables/users"
        contents, stat = await changes._session.read(record)
        was = TableRecord.FromString(contents)
        was.state = DELETING
        await changes._session.write(record, was.SerializeToString(), generation=stat.generation)
        changes.busy["users"] = None
        removing = changes._remove("users")
        monkeypatch.setattr(TableClient, "tablets", after_a_new_table_was_made)
        changes.busy.pop("users")
        await outcome(removing)
        assert [key async for key, _ in tables.scan("users")] == ROWS

    play(1, story)


def test_an_order_to_load_a_tablet_that_comes_after_the_one_to_unload_it_is_not_obeyed():
    """It was late, and the tablet belongs to nobody by then: it would be served for ever, and its folder is removed."""

    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        [place] = await tables.tablets("users")
        [node] = cluster.who_serves(place.tablet)
        life = next(life for name, life in cluster.lives().items() if name != node)
        late = changed(place, server=life.name, token=place.token + 1)
        assert isinstance(await outcome(life.unload(late.tablet, late.token)), NotFound)
        assert isinstance(await outcome(life.load(late)), StaleVersion)

    play(1, story)
