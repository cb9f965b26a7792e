"""What tablet servers, the tablet master and the lock service tell of themselves."""

import asyncio

from cluster.roles import LOCK
from cluster.servers import LEVELS
from tablet.engine.model.operations import SetCell
from tests.sim.small_tables import SCHEMA, TableCluster, play


def test_a_tablet_server_tells_its_life_its_tablets_and_how_busy_it_is():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [b"m"])
        for _ in range(20):
            await tables.mutate_many("users", [(b"a%d" % row, [SetCell(b"f:x", b"value")]) for row in range(10)])
            await asyncio.sleep(0.5)
        [place, _] = await tables.tablets("users")
        node = place.server.partition("-")[0]
        figures = cluster.server(node).figures()  # type: ignore[union-attr]
        assert figures.life == place.server and figures.session == "safe"
        assert place.tablet in [tablet.tablet for tablet in figures.tablets]
        assert 15 < figures.rows_per_second < 25 and figures.memtable_bytes > 0 and figures.log_bytes > 0
        await cluster.kill(LOCK)
        await asyncio.sleep(10.0)
        after = cluster.server(node).figures()  # type: ignore[union-attr]
        assert (after.life, after.session, len(after.tablets)) == ("", "none", 0)

    play(300, story)


def test_the_tablet_master_says_for_how_long_nobody_serves_a_tablet():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [b"m"])
        await asyncio.sleep(2.0)  # It tells what it has found in its last round.
        status = await tables.status()
        assert (status.master, list(status.waiting)) == ("tm1", []) and status.generation > 0
        for node in ("ts1", "ts2", "ts3"):
            await cluster.kill(node)
        await asyncio.sleep(10.0)
        status = await tables.status()
        assert len(status.waiting) == 4 and set(status.servers) == set()
        assert all(3 < seconds < 10 for seconds in status.waiting_seconds)
        await cluster.start_node("ts1")
        await asyncio.sleep(10.0)
        assert list((await tables.status()).waiting) == []

    play(301, story)


def test_no_figure_is_told_twice():
    async def story(cluster: TableCluster) -> None:
        await cluster.table_client().create_table("users", SCHEMA)
        for node in cluster.settings.node_names():
            server = cluster.server(node)
            assert server is not None
            counted = [name if name in LEVELS else f"{name}_total" for name in server.counters()]
            measured = [measure.name for measure in server.measures()]
            assert len({*counted, *measured}) == len(counted) + len(measured), (node, counted, measured)

    play(302, story)
