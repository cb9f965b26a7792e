"""Logs of the dead: none is removed that a tablet needs, and none stays that nobody needs (BT 6)."""

import asyncio

from cluster.interface import wait_until
from tablet.engine.model.operations import SetCell
from tablet.location.places import GfsPaths
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(10)]
PATHS = GfsPaths()


def test_a_master_that_was_replaced_removes_no_log_of_a_server_that_died_after_it_had_looked():
    """Its list of needed logs is from before the server died, and so must its list of the dead be."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [place] = await tables.tablets("users")
        [node] = cluster.who_serves(place.tablet)
        old = cluster.tenure().old_logs
        dead = await old.of_the_dead()
        await cluster.kill(node)
        for _ in range(100):
            await old.remove(dead, set())
            if await cluster.client().exists(f"{PATHS.sorted}/{place.server}"):
                break
            await asyncio.sleep(0.1)
        assert [key async for key, _ in tables.scan("users")] == ROWS

    play(1, story)


def test_nothing_stays_of_a_life_that_never_served_nor_of_a_sort_that_was_cut_short():
    async def story(cluster: TableCluster) -> None:
        client, left = cluster.client(), [f"{PATHS.logs}/ts9-400", f"{PATHS.sorting}/ts9-300.ts2-3.0badcafe"]
        for folder in left:
            await client.make_directory(folder, parents=True)
            await client.create(f"{folder}/000001.log")

        async def are_gone() -> bool:
            return not any([await client.exists(folder) for folder in left])

        await wait_until(are_gone, what="they are gone", timeout_seconds=30.0)
        mine = {life.name for life in cluster.lives().values()}
        assert {status.path.rpartition("/")[2] for status in await client.list(PATHS.logs)} == mine

    play(1, story)
