"""Snapshots of tables over many tablet servers: what they hold, what they hold still against, and what is left."""

import asyncio

from cluster.interface import wait_until
from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from tablet.engine.model.filters import LATEST
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.hosting.events import TabletAcquired
from tablet.hosting.snapshotting import acquire
from tablet.location.places import GfsPaths
from tablet.master.events import TableSnapshotAborted
from tests.sim.small_clusters import outcome
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(12)]


async def written(cluster: TableCluster, table: str, value: bytes) -> None:
    """Every row of a table gets this value."""
    failures = await cluster.table_client().mutate_many(table, [(row, [SetCell(b"f:x", value)]) for row in ROWS])
    assert failures == [None] * len(ROWS)


async def content(cluster: TableCluster, table: str) -> dict[bytes, bytes]:
    """The newest value of each row."""
    return {key: cells[0].value async for key, cells in cluster.table_client().scan(table, wanted=LATEST)}


async def leavings(cluster: TableCluster) -> list[str]:
    """What lies in GFS for snapshots, when the files of tables that are no more were swept."""
    client, tables = cluster.client(), {*await cluster.table_client().tables(), "METADATA"}

    async def is_swept() -> bool:
        folders = [status.path.rpartition("/")[2] for status in await client.list(GfsPaths().data)]
        return {folder.rpartition("-")[0] for folder in folders} <= tables

    await wait_until(is_swept, what="the files of dropped tables are gone", timeout_seconds=60.0)
    return [status.path for status in await client.list(GfsPaths().snapshots)]


def test_a_snapshot_holds_still_and_its_table_is_one_like_any_other():
    """Later writes, deletions, compactions, a split and the drop of the table change nothing of it. Source and clone
    may be dropped in either order."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [ROWS[4], ROWS[8]])
        await written(cluster, "users", b"old")
        taken = await tables.snapshot("users", "monday")
        assert (taken.name, taken.table, taken.tablets) == ("monday", "users", 3)
        old = dict.fromkeys(ROWS, b"old")

        await written(cluster, "users", b"new")
        await tables.mutate("users", ROWS[0], [DeleteRow()])
        for place in await tables.tablets("users"):
            [node] = cluster.who_serves(place.tablet)
            await cluster.lives()[node].engines[place.tablet].compact()
        await tables.split((await tables.tablets("users"))[0].tablet, ROWS[2])
        assert await tables.restore("monday", "clone") == "clone"
        assert await content(cluster, "clone") == old
        assert [place.start_row for place in await tables.tablets("clone")] == [b"", ROWS[4], ROWS[8]]

        await written(cluster, "clone", b"own")
        await tables.split((await tables.tablets("clone"))[0].tablet, ROWS[1])
        assert len(await content(cluster, "users")) == len(ROWS) - 1
        await tables.delete_table("users")
        assert await content(cluster, "clone") == dict.fromkeys(ROWS, b"own")
        assert await tables.restore("monday") == "users", "under the name that it had"
        assert await content(cluster, "users") == old
        await tables.delete_table("clone")
        await tables.delete_snapshot("monday")
        assert await content(cluster, "users") == old
        await tables.delete_table("users")
        assert await tables.snapshots() == []
        assert await leavings(cluster) == []

    play(1, story, overrides={"tabletserver": {"memtable_bytes": 1024, "memory_bytes": 4096}})


def test_a_snapshot_of_split_tablets_has_the_rows_that_lie_in_the_folder_of_another_tablet():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA)
        await written(cluster, "users", b"old")
        [whole] = await tables.tablets("users")
        lower, _ = await tables.split(whole.tablet, ROWS[6])
        await tables.split(lower.tablet, ROWS[3])
        await tables.put("users", ROWS[4], b"f:x", b"new")
        await tables.snapshot("users", "monday")
        await tables.delete_table("users")
        await tables.restore("monday", "clone")
        assert await content(cluster, "clone") == dict.fromkeys(ROWS, b"old") | {ROWS[4]: b"new"}
        assert len(await tables.tablets("clone")) == 3

    play(2, story)


def test_what_cannot_be_done_is_refused_in_words():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA)
        await tables.snapshot("users", "monday")
        for refused, kind in (
            (tables.snapshot("users", "monday"), AlreadyExists),
            (tables.snapshot("nobody", "tuesday"), NotFound),
            (tables.snapshot("METADATA", "tuesday"), InvalidRequest),
            (tables.snapshot("users", "../x"), InvalidRequest),
            (tables.restore("monday"), AlreadyExists),
            (tables.restore("monday", "a/b"), InvalidRequest),
            (tables.restore("monday", "METADATA"), InvalidRequest),
            (tables.restore("tuesday", "clone"), NotFound),
            (tables.delete_snapshot("tuesday"), NotFound),
        ):
            error = await outcome(refused)
            assert isinstance(error, kind) and error.definite, error
        assert [record.name for record in await tables.snapshots("users")] == ["monday"]
        assert await tables.snapshots("others") == []

    play(3, story)


def test_a_server_that_is_asked_too_late_finds_no_folder_and_leaves_nothing():
    """The order to acquire tablets arrives after the time limit. The snapshot was aborted, and taken once more."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA, [ROWS[4], ROWS[8]])
        await written(cluster, "users", b"old")
        late = cluster.delay_one("AcquireSnapshot", 40.0)
        taken = await tables.snapshot("users", "monday")
        late()
        assert [event.name for event in cluster.said(TableSnapshotAborted)] == ["monday"]
        await asyncio.sleep(30.0)
        assert len(cluster.said(TabletAcquired)) == 5, "two of the first attempt, three of the second"
        assert await leavings(cluster) == [f"/tablets/snapshots/{taken.folder}"]
        await tables.restore("monday", "clone")
        assert await content(cluster, "clone") == dict.fromkeys(ROWS, b"old")

    play(5, story)


def test_a_server_that_is_asked_twice_for_one_snapshot_acquires_all_its_tablets():
    """METADATA may give a tablet to an earlier life of the same server: then the master asks it twice."""

    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA)
        [whole] = await tables.tablets("users")
        halves = await tables.split(whole.tablet, ROWS[6])
        [node] = cluster.who_serves(halves[0].tablet)
        life, folder = cluster.lives()[node], f"{GfsPaths().snapshots}/monday"
        await cluster.client().make_directory(folder)
        await asyncio.gather(*(acquire(life, "monday", [half.tablet]) for half in halves))
        names = [status.path.rpartition("/")[2] for status in await cluster.client().list(folder)]
        assert names == [half.tablet for half in halves]

    play(6, story)


def test_a_table_is_not_dropped_while_it_is_snapshotted():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await tables.create_table("users", SCHEMA)
        with cluster.tenure().changes.held("users"):
            assert isinstance(await outcome(tables.delete_table("users")), Conflict)
            assert isinstance(await outcome(tables.snapshot("users", "monday")), Conflict)
        await tables.snapshot("users", "monday")

    play(4, story)
