"""Moves of tablets: by order and to make servers even, cut short at each step, and compactions (BT 5.2, 5.4, 6)."""

import asyncio

import pytest

from cluster.interface import wait_until
from runtime.errors import NotFound, StaleVersion
from runtime.faults.links import Kind as MessageKind
from tablet.client.client import TableClient
from tablet.client.metadata import MetadataRows
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.events import LogSorted
from tablet.hosting.events import TabletLoaded
from tablet.location.places import FIRST_METADATA_TABLET, ROOT_TABLET, changed
from tablet.master.events import TabletMoved
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, cut_short, play

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


async def a_table(cluster: TableCluster, bounds: list[bytes]) -> TableClient:
    """A table with ten rows that are in memory only."""
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, bounds)
    assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
    return tables


async def keys(tables: TableClient) -> list[bytes]:
    return [key async for key, _ in tables.scan("users")]


def other_than(cluster: TableCluster, node: str) -> str:
    return next(name for name in sorted(cluster.lives()) if name != node)


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_move_makes_two_minor_compactions_and_the_new_owner_reads_no_log(is_busy: bool):
    async def story(cluster: TableCluster) -> None:
        tables = await a_table(cluster, [])
        [before] = await tables.tablets("users")
        [node] = cluster.who_serves(before.tablet)
        target = other_than(cluster, node)
        engine = cluster.lives()[node].engines[before.tablet]
        flush_all, flushes = engine._flush_all, list[str]()

        async def watched() -> None:
            flushes.append((engine._writer.refusal and "refuses writes") or "serves")
            await flush_all()
            if is_busy and len(flushes) == 1:  # Between the two.
                await engine.write(b"row99", [SetCell(b"f:x", b"late")])

        engine._flush_all = watched  # type: ignore[method-assign]
        now = await tables.move(before.tablet, target)
        assert flushes[:2] == ["serves", "refuses writes"]
        assert cluster.who_serves(before.tablet) == [target] and now.server == cluster.lives()[target].name
        assert (list(now.logs), now.token > before.token) == ([now.server], True)
        loaded = [event for event in cluster.said(TabletLoaded) if event.tablet == before.tablet]
        assert [event.logs for event in loaded] == [0, 0] and not cluster.said(LogSorted)
        assert await keys(tables) == [*ROWS, *([b"row99"] if is_busy else [])]

    play(3, story)


@pytest.mark.parametrize("tablet", [ROOT_TABLET, FIRST_METADATA_TABLET])
def test_the_tablets_of_metadata_move_too(tablet: str):
    async def story(cluster: TableCluster) -> None:
        tables = await a_table(cluster, [b"row05"])
        [node] = cluster.who_serves(tablet)
        await tables.move(tablet, other_than(cluster, node))
        assert cluster.who_serves(tablet) == [other_than(cluster, node)]
        assert await keys(cluster.table_client(2)) == ROWS

    play(4, story)


@pytest.mark.parametrize(
    ("method", "kind", "victim"),
    [
        ("UnloadTablet", MessageKind.REQUEST, "source"),
        ("UnloadTablet", MessageKind.REPLY, "source"),
        ("UnloadTablet", MessageKind.REPLY, "master"),
        ("CheckAndMutateRow", MessageKind.REQUEST, "master"),
        ("CheckAndMutateRow", MessageKind.REPLY, "master"),
        ("LoadTablet", MessageKind.REQUEST, "target"),
        ("LoadTablet", MessageKind.REPLY, "target"),
        ("LoadTablet", MessageKind.REPLY, "source"),
    ],
)
def test_a_death_in_the_middle_of_a_move_leaves_one_owner_and_every_row(method: str, kind: MessageKind, victim: str):
    async def story(cluster: TableCluster) -> None:
        tables = await a_table(cluster, [])
        [before] = await tables.tablets("users")
        [node] = cluster.who_serves(before.tablet)
        target = other_than(cluster, node)
        dying = {"source": node, "target": target, "master": cluster.acting_tablet_master()}[victim]
        assert await cut_short(cluster, method, kind, dying, tables.move(before.tablet, target))
        assert await keys(tables) == ROWS

        async def is_served_once() -> bool:
            [now] = await tables.tablets("users")
            return [cluster.lives()[name].name for name in cluster.who_serves(now.tablet)] == [now.server]

        await wait_until(is_served_once, what="it is served by who has it", timeout_seconds=60.0)
        assert await keys(tables) == ROWS

    play(5, story)


def test_a_server_that_comes_is_given_tablets_few_at_once_and_each_moves_once():
    async def story(cluster: TableCluster) -> None:
        await cluster.kill("ts3")
        tables = await a_table(cluster, [b"row%02d" % number for number in range(1, 9)])
        most = 0

        async def is_even() -> bool:
            nonlocal most
            assigning = cluster.tenure().assigning
            most = max(most, len(assigning.tasks))
            counts = [len(life.engines) for life in cluster.lives().values()]
            return len(counts) == 3 and max(counts) - min(counts) <= 1 and not assigning.tasks

        await cluster.restart("ts3")
        await wait_until(is_even, what="all have as many", timeout_seconds=60.0)
        moved = [event.tablet for event in cluster.said(TabletMoved)]
        assert len(moved) == len(set(moved)) == 3 and most <= 2
        await asyncio.sleep(30.0)
        assert len(cluster.said(TabletMoved)) == 3, "what is even stays as it is"
        assert await keys(tables) == ROWS

    play(6, story)


def test_a_tablet_that_has_just_moved_is_left_where_it_is():
    async def story(cluster: TableCluster) -> None:
        tables = await a_table(cluster, [b"row03", b"row06"])
        begun = asyncio.get_running_loop().time()
        for place in await tables.tablets("users"):
            await tables.move(place.tablet, "ts1")
        assert len({place.server for place in await tables.tablets("users")}) == 1
        took = asyncio.get_running_loop().time() - begun
        await asyncio.sleep(9.0 - took)
        assert len({place.server for place in await tables.tablets("users")}) == 1

    play(7, story)


def test_a_move_to_a_server_that_is_not_there_is_refused():
    async def story(cluster: TableCluster) -> None:
        tables = await a_table(cluster, [])
        [place] = await tables.tablets("users")
        assert isinstance(await outcome(tables.move(place.tablet, "ts9")), NotFound)
        assert isinstance(await outcome(tables.move("users-000099", "ts1")), NotFound)

    play(8, story)


def test_compactions_by_order():
    async def story(cluster: TableCluster) -> None:
        tables = await a_table(cluster, [b"row05"])
        names = [place.tablet for place in await tables.tablets("users")]
        assert await tables.compact(names[0], major=False) == [names[0]]
        files = [len(engine_of(cluster, name).state.manifest.references()) for name in names]
        assert files == [1, 0]
        await tables.put("users", ROWS[0], b"f:x", b"new")
        assert sorted(await tables.compact("users")) == names
        for name in names:
            [reference] = engine_of(cluster, name).state.manifest.references()
            assert reference.properties.rows == 5 and not engine_of(cluster, name).state.memory_bytes()
        assert isinstance(await outcome(tables.compact("nothing")), NotFound)

    play(9, story)


def engine_of(cluster: TableCluster, tablet: str) -> Engine:
    [node] = cluster.who_serves(tablet)
    return cluster.lives()[node].engines[tablet]
