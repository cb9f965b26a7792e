"""Moves of tablets, when it is not known whether METADATA was told (BT 5.2)."""

from cluster.interface import wait_until
from runtime.errors import StaleVersion
from tablet.client.metadata import MetadataRows
from tablet.engine.model.operations import SetCell
from tablet.location.places import changed
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(10)]


def test_a_tablet_that_was_to_move_is_served_again_only_under_a_higher_token():
    """The master has a tablet unloaded, and its change of METADATA is late: nobody waits for it any more. If the tablet
    were loaded again under the same token, the row would be as that change expects it, and two would serve it."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [moving] = await tables.tablets("users")
        [node] = cluster.who_serves(moving.tablet)
        life = cluster.lives()[node]
        await life.unload(moving.tablet)
        assert isinstance(await outcome(life.load(moving)), StaleVersion)

        async def is_served() -> bool:
            return bool(cluster.who_serves(moving.tablet))

        await wait_until(is_served, what="it is served again", timeout_seconds=30.0)
        [now] = await tables.tablets("users")
        assert now.token > moving.token
        free = changed(moving, server="", address="", logs=[])
        assert not await MetadataRows(tables).replace(moving, free), "the late change finds another row"
        assert [key async for key, _ in tables.scan("users")] == ROWS

    play(2, story)
