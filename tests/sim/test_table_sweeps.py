"""Mark and sweep of the files of tablets that are no more (BT 6)."""

import asyncio

from cluster.interface import wait_until
from cluster.swarm.tables.files import compact_all, leaked_files, missing_files
from runtime.faults.links import Kind as MessageKind
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.location.places import METADATA, ROOT_TABLET, GfsPaths
from tablet.master.events import TabletFilesSwept
from tablet.storage.folders import GfsFolders
from tests.sim.small_tables import SCHEMA, TableCluster, cut_short, play

ROWS = [b"row%02d" % number for number in range(10)]
OFTEN = {"tabletmaster": {"sweep_seconds": 1.0}}


async def halves_of_one(cluster: TableCluster) -> tuple[TableClient, str, list[str]]:
    """A tablet of ten rows that was split: the client, the tablet's name, and those of the halves."""
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, [])
    assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * 10
    [whole] = await tables.tablets("users")
    return tables, whole.tablet, [half.tablet for half in await tables.split(whole.tablet, ROWS[5])]


def files_of(cluster: TableCluster) -> GfsFolders:
    return GfsFolders(cluster.client(), GfsPaths().data)


async def files_in(cluster: TableCluster, tablet: str) -> list[str] | None:
    """None: there is no folder."""
    folders = files_of(cluster)
    return await folders.storage(tablet).list() if tablet in await folders.list() else None


async def everything(tables: TableClient) -> list[TabletPlace]:
    root = await tables.locator.place_of(METADATA, b"0")
    return [root, *await tables.tablets(METADATA), *await tables.tablets()]


async def keys(tables: TableClient) -> list[bytes]:
    return [key async for key, _ in tables.scan("users")]


def engine_of(cluster: TableCluster, tablet: str) -> Engine:
    [node] = cluster.who_serves(tablet)
    return cluster.lives()[node].engines[tablet]


def test_the_files_of_a_split_tablet_stay_while_a_half_refers_to_them_and_go_then():
    async def story(cluster: TableCluster) -> None:
        tables, whole, (lower, upper) = await halves_of_one(cluster)
        await tables.compact(lower)
        await asyncio.sleep(5.0)
        left = await files_in(cluster, whole)
        assert left is not None and [name.startswith("manifest") for name in left] == [False, True], (
            "the newest manifest stays as long as anything does: it keeps a former owner from changing the folder"
        )
        assert await missing_files(cluster.client(), lambda: everything(tables)) == []
        await tables.merge(lower, upper)
        await asyncio.sleep(5.0)
        assert await keys(cluster.table_client(2)) == ROWS
        assert await files_in(cluster, whole) == left and await files_in(cluster, lower) is not None
        await compact_all(tables, "users")

        async def is_nothing_left() -> bool:
            return not await leaked_files(cluster.client(), lambda: everything(tables))

        await wait_until(is_nothing_left, what="only living tablets have folders", timeout_seconds=30.0)
        assert {whole, lower, upper} <= {event.tablet for event in cluster.said(TabletFilesSwept)}
        assert await keys(cluster.table_client(2)) == ROWS

    play(1, story, overrides=OFTEN)


def test_a_file_that_somebody_still_reads_is_left_alone():
    async def story(cluster: TableCluster) -> None:
        tables, whole, (lower, _) = await halves_of_one(cluster)
        view = engine_of(cluster, lower).state.view
        view.pins += 1  # As a scan does.
        await tables.compact("users")
        await asyncio.sleep(5.0)
        left = await files_in(cluster, whole)
        assert left is not None and len(left) == 2
        view.pins -= 1
        await tables.put("users", ROWS[0], b"f:x", b"new")
        await tables.compact("users")

        async def is_gone() -> bool:
            return await files_in(cluster, whole) is None

        await wait_until(is_gone, what="the folder is gone", timeout_seconds=30.0)

    play(2, story, overrides=OFTEN)


def test_folders_that_a_split_or_a_merge_has_prepared_in_vain_are_swept():
    async def story(cluster: TableCluster) -> None:
        tables, _, (lower, upper) = await halves_of_one(cluster)
        [node] = cluster.who_serves(lower)
        before = await files_of(cluster).list()
        assert await cut_short(cluster, "CheckAndMutateRow", MessageKind.REQUEST, node, tables.split(lower, ROWS[2]))
        assert await keys(cluster.table_client(2)) == ROWS
        for tablet in (lower, upper):
            await tables.move(tablet, node)
        assert await cut_short(cluster, "CheckAndMutateRow", MessageKind.REQUEST, node, tables.merge(lower, upper))

        async def is_as_before() -> bool:
            return await files_of(cluster).list() == before

        await wait_until(is_as_before, what="nothing else is left", timeout_seconds=30.0)
        assert await keys(cluster.table_client(2)) == ROWS

    play(3, story, overrides=OFTEN)


def test_nothing_is_swept_while_a_tablet_is_not_served():
    """Whoever served it last may be about to commit a split."""

    async def story(cluster: TableCluster) -> None:
        tables, whole, (lower, _) = await halves_of_one(cluster)
        await tables.compact("users")
        [node] = cluster.who_serves(lower)
        await cluster.lives()[node].unload(lower)
        await cluster.tenure().sweeping.sweep()
        assert await files_in(cluster, whole) is not None

    play(4, story, overrides={"tabletmaster": {"sweep_seconds": 1000.0}})


def test_the_files_of_a_table_that_was_dropped_go_and_a_new_one_of_its_name_has_others():
    async def story(cluster: TableCluster) -> None:
        tables, _, _ = await halves_of_one(cluster)
        await tables.delete_table("users")
        await tables.create_table("users", SCHEMA, [])
        await tables.put("users", ROWS[0], b"f:x", b"new")

        async def is_gone() -> bool:
            return len(await files_of(cluster).list()) == 3

        await wait_until(is_gone, what="the old files are gone", timeout_seconds=30.0)
        assert await keys(cluster.table_client(2)) == ROWS[:1]
        assert ROOT_TABLET in await files_of(cluster).list()

    play(5, story)
