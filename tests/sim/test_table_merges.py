"""Merges of neighbours: what they leave, and what a death at any step leaves (BT 5.2)."""

import asyncio

import pytest

from cluster.interface import wait_until
from cluster.swarm.bug_tools import nothing
from cluster.swarm.tables.judging import judge_cover
from runtime.errors import Conflict, InvalidRequest
from runtime.faults.links import Kind as MessageKind
from runtime.simulated.messages import Delay, Message
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.client.metadata import MetadataRows
from tablet.engine.model.operations import SetCell
from tablet.hosting.events import TabletMergeCommitted
from tablet.location.places import FIRST_METADATA_TABLET, METADATA, ROOT_TABLET
from tablet.master.events import OutdatedRowRemoved
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, cut_short, play

ROWS = [b"row%02d" % number for number in range(10)]


async def two_tablets(cluster: TableCluster, *, are_together: bool = True) -> tuple[TableClient, list[str], str]:
    """Two tablets with ten rows that are in memory only, and who has them."""
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, [b"row05"])
    places = await tables.tablets("users")
    target = next(node for node in sorted(cluster.lives()) if cluster.who_serves(places[0].tablet) != [node])
    for place in places if are_together else places[:1]:
        await tables.move(place.tablet, target)
    assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
    return tables, [place.tablet for place in places], target


async def keys(tables: TableClient) -> list[bytes]:
    return [key async for key, _ in tables.scan("users")]


async def is_right(cluster: TableCluster, tables: TableClient) -> list[str]:
    """Wait until each row is in one tablet that one server has, and no row of METADATA is left over."""
    found: list[TabletPlace] = []

    async def is_settled() -> bool:
        nonlocal found
        found, outdated = await tables.layout("users")
        serving = [[cluster.lives()[node].name for node in cluster.who_serves(place.tablet)] for place in found]
        are_served = serving == [[place.server] for place in found]
        return are_served and not outdated and not any(place.HasField("lower_half") for place in found)

    await wait_until(is_settled, what="every tablet has a row and a server", timeout_seconds=60.0)
    assert judge_cover("users", found) == []
    assert await keys(tables) == ROWS
    await tables.put("users", ROWS[3], b"f:x", b"written after it")
    assert await cluster.table_client(2).get("users", ROWS[3], b"f:x") == b"written after it"
    return [place.tablet for place in found]


@pytest.mark.parametrize("are_together", [True, False])
def test_two_neighbours_become_one_tablet_with_all_their_rows(are_together: bool):
    async def story(cluster: TableCluster) -> None:
        tables, names, _ = await two_tablets(cluster, are_together=are_together)
        made = await tables.merge(names[1], names[0])
        [event] = cluster.said(TabletMergeCommitted)
        assert (event.lower, event.upper, event.tablet) == (*names, made.tablet)
        assert await is_right(cluster, tables) == [made.tablet]
        assert (made.start_row, made.end_row) == (b"", b"")
        await cluster.kill(cluster.who_serves(made.tablet)[0])
        assert await keys(tables) == ROWS
        assert await tables.get("users", ROWS[3], b"f:x") == b"written after it"

    play(1, story)


def test_what_was_split_and_merged_is_split_and_merged_again():
    async def story(cluster: TableCluster) -> None:
        tables, names, _ = await two_tablets(cluster)
        for row in (ROWS[3], ROWS[5], ROWS[5]):
            made = await tables.merge(*names)
            names = [place.tablet for place in await tables.split(made.tablet, row)]
        assert await is_right(cluster, tables) == names

    play(2, story)


def test_metadata_tablets_are_merged_too_and_the_root_tablet_never():
    async def story(cluster: TableCluster) -> None:
        tables, _, _ = await two_tablets(cluster)
        [whole] = await tables.tablets(METADATA)
        halves = await tables.split(whole.tablet, b"1users\0\x01row04")
        assert len(await tables.tablets(METADATA)) == 2
        await tables.merge(*(place.tablet for place in halves))
        [again] = await tables.tablets(METADATA)
        assert isinstance(await outcome(tables.merge(ROOT_TABLET, again.tablet)), InvalidRequest)
        assert len(await is_right(cluster, cluster.table_client(2))) == 2

    play(3, story)


def test_tablets_that_are_no_neighbours_are_not_merged():
    async def story(cluster: TableCluster) -> None:
        tables, names, _ = await two_tablets(cluster)
        lower, _ = await tables.split(names[0], ROWS[2])
        for pair in ([lower.tablet, names[1]], [lower.tablet, lower.tablet]):
            assert isinstance(await outcome(tables.merge(*pair)), InvalidRequest)
        assert len(await is_right(cluster, tables)) == 3

    play(4, story)


STEPS = [("MergeTablets", 1), ("CheckAndMutateRow", 1), ("CheckAndMutateRow", 2), ("CheckAndMutateRow", 3)]
DEATHS = [(method, nth, kind, "server") for method, nth in STEPS for kind in (MessageKind.REQUEST, MessageKind.REPLY)]
DEATHS += [(method, nth, MessageKind.REPLY, "metadata") for method, nth in STEPS]
DEATHS += [(method, nth, MessageKind.REQUEST, "master") for method, nth in STEPS[1:3]]


@pytest.mark.parametrize(("method", "nth", "kind", "victim"), DEATHS)
def test_a_death_at_any_step_leaves_two_tablets_or_one(method: str, nth: int, kind: MessageKind, victim: str):
    async def story(cluster: TableCluster) -> None:
        tables, names, node = await two_tablets(cluster)
        [beside] = cluster.who_serves(FIRST_METADATA_TABLET)
        dying = {"server": node, "master": cluster.acting_tablet_master(), "metadata": beside}[victim]
        assert await cut_short(cluster, method, kind, dying, tables.merge(*names), nth=nth)
        found = await is_right(cluster, tables)
        assert found == names or (len(found) == 1 and found[0] not in names)
        if len(found) == 2:
            await tables.merge(*found)
            assert len(await is_right(cluster, tables)) == 1

    play(5, story)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_change_that_arrives_after_its_server_was_given_up_changes_nothing(nth: int):
    """The server is paused while a change of METADATA is on its way. The master gives the merge up before that arrives;
    the tablets are elsewhere by then, and have taken writes."""

    async def story(cluster: TableCluster) -> None:
        tables, names, node = await two_tablets(cluster)
        if cluster.who_serves(FIRST_METADATA_TABLET) == [node]:
            await tables.move(FIRST_METADATA_TABLET, next(name for name in sorted(cluster.lives()) if name != node))
        loop, seen = asyncio.get_running_loop(), 0

        def delay(message: Message) -> Delay | None:
            nonlocal seen
            is_change = message.kind is MessageKind.REQUEST and message.method.endswith("CheckAndMutateRow")
            if not is_change or message.source != node:
                return None
            seen += 1
            if seen != nth:
                return None
            loop.call_soon(cluster.simulation.pause, node)
            return Delay(20.0)

        undo = cluster.simulation.on_message(delay)
        merging = asyncio.ensure_future(outcome(tables.merge(*names)))

        async def are_elsewhere() -> bool:
            return [cluster.who_serves(name) not in ([], [node]) for name in names] == [True, True]

        await wait_until(are_elsewhere, what="both are served by others", timeout_seconds=15.0)
        undo()
        for number, row in enumerate(ROWS):
            await cluster.table_client(2).put("users", row, b"f:x", b"new %d" % number)
        await asyncio.sleep(20.0)
        cluster.simulation.resume(node)
        await asyncio.sleep(5.0)
        assert await is_right(cluster, tables) == names
        assert await tables.get("users", ROWS[7], b"f:x") == b"new 7"
        merging.cancel()

    play(6, story)


def test_the_row_of_a_lower_half_that_arrives_after_a_merge_is_removed():
    """Whoever gave the lower half its row is late: a row that is missing says nothing of what it was."""

    async def story(cluster: TableCluster) -> None:
        tables, names, _ = await two_tablets(cluster)
        lower, _ = await tables.tablets("users")
        made = await tables.merge(*names)
        assert await MetadataRows(tables).replace(None, lower)
        assert [place.tablet for place in await tables.tablets("users")] == [made.tablet]
        assert await keys(cluster.table_client(2)) == ROWS
        assert await is_right(cluster, tables) == [made.tablet]
        assert [event.tablet for event in cluster.said(OutdatedRowRemoved)] == [lower.tablet]
        assert await MetadataRows(tables).replace(None, lower)
        halves = await tables.split(made.tablet, ROWS[5])
        assert await is_right(cluster, tables) == [half.tablet for half in halves]

    play(7, story)


def test_a_tablet_whose_row_tells_of_another_one_too_is_not_split_again(monkeypatch: pytest.MonkeyPatch):
    """The row of the upper half names the lower one until that has a row of its own; what replaced it would lose it."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
        [whole] = await tables.tablets("users")
        with monkeypatch.context() as patch:
            patch.setattr(MetadataRows, "settle", nothing)
            _, upper = await tables.split(whole.tablet, ROWS[5])
            assert isinstance(await outcome(tables.split(upper.tablet, ROWS[7])), Conflict)
        assert len(await is_right(cluster, tables)) == 2

    play(8, story)


def test_small_neighbours_are_merged_by_the_master_if_it_is_told_to():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [b"row03", b"row06"])
        assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10

        async def is_one() -> bool:
            return len(await tables.tablets("users")) == 1

        await wait_until(is_one, what="there is one tablet", timeout_seconds=60.0)
        assert len(await is_right(cluster, tables)) == 1

    play(9, story, overrides={"tabletmaster": {"merge_bytes": 100_000, "rest_seconds": 2.0}})
