"""Tablet location, assignment and serving (BT 5.1, 5.2, 5.3, 6), each claim with the servers of a simulated cluster."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from runtime.errors import AlreadyExists, InvalidRequest, NotFound, NotServed, TabletopError
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Message, Verdict
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2_grpc import TabletServerStub
from tablet.client.client import TableClient
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import SetCell
from tablet.engine.world.events import LogSorted
from tablet.location.places import METADATA, ROOT_TABLET
from tablet.master.events import TabletAssigned, TabletServerBuried
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(30)]
BOUNDS = [b"row05", b"row10", b"row15", b"row20", b"row25"]


async def made(cluster: TableCluster, bounds: list[bytes] | None = None) -> TableClient:
    """A table of six tablets with thirty rows."""
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, BOUNDS if bounds is None else bounds)
    failures = await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS])
    assert failures == [None] * len(ROWS)
    return tables


async def keys(rows: AsyncIterator[tuple[bytes, object]]) -> list[bytes]:
    return [key async for key, _ in rows]


async def whole(tables: TableClient) -> None:
    """METADATA covers the key space of the table without a gap or an overlap."""
    places = await tables.tablets("users")
    assert [place.start_row for place in places] == [b"", *(place.end_row for place in places[:-1])]
    assert places[-1].end_row == b""


def test_a_cold_client_asks_three_times_and_a_warm_one_not_at_all():
    async def story(cluster: TableCluster) -> None:
        await made(cluster)
        cold = cluster.table_client(2)
        assert await cold.get("users", b"row07", b"f:x") == b"row07"
        assert cold.locator.round_trips == 3, "the lock service, the root tablet, a METADATA tablet (5.1)"
        assert await cold.get("users", b"row08", b"f:x") == b"row08"
        assert await cold.get("users", b"row29", b"f:x") == b"row29"
        assert cold.locator.round_trips == 3, "the places of the next tablets came with the answer"

    play(1, story)


def test_a_client_whose_cache_is_old_finds_the_tablet_again():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        other = cluster.table_client(2)
        assert await keys(other.scan("users")) == ROWS
        place = await other.locator.place_of("users", b"row07")
        await tables.split(place.tablet, b"row07")
        assert await other.get("users", b"row06", b"f:x") == b"row06"
        assert await other.get("users", b"row07", b"f:x") == b"row07"
        await whole(other)

    play(2, story)


def test_the_root_tablet_is_never_split():
    async def story(cluster: TableCluster) -> None:
        await made(cluster)
        [node] = cluster.who_serves(ROOT_TABLET)
        tenure = cluster.tenure()
        order = wire.SplitTabletRequest(
            master=tenure.lock.generation, sequencer=tenure.lock.to_bytes(), tablet=ROOT_TABLET, row=b"0x"
        )
        with pytest.raises(InvalidRequest):
            await TabletServerStub(cluster.client_world.network.channel(f"{node}:7000")).SplitTablet(order)

    play(3, story)


def test_metadata_tablets_are_split_like_others():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        [upper] = await tables.tablets(METADATA)
        await tables.split(upper.tablet, b"1users\0\x01row10\0")
        assert len(await tables.tablets(METADATA)) == 2
        assert len(await tables.tablets("users")) == 6
        assert await keys(cluster.table_client(2).scan("users")) == ROWS

    play(4, story)


@pytest.mark.parametrize("seed", range(4))
def test_the_tablets_of_a_dead_server_go_to_others_and_its_log_is_sorted_once(seed: int):
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        victim = f"ts{seed % 3 + 1}"
        life = cluster.lives()[victim].name
        had = [place.tablet for place in await tables.tablets("users") if place.server == life]
        assert len(had) >= 1
        await cluster.kill(victim)
        assert await keys(tables.scan("users")) == ROWS
        records = [record.event for record in cluster.simulation.sink.records]
        assert sum(isinstance(event, LogSorted) and event.owner == life for event in records) == 1
        assert TabletServerBuried(life) in records
        assert all(place.server != life for place in await tables.tablets("users"))
        await whole(tables)

    play(seed, story)


def test_a_paused_server_answers_nothing_for_tablets_that_others_have():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        place = await tables.locator.place_of("users", b"row07")
        [node] = cluster.who_serves(place.tablet)
        old = cluster.lives()[node]
        cluster.simulation.pause(node)
        other = cluster.table_client(2)
        assert await other.get("users", b"row07", b"f:x") == b"row07"
        await other.put("users", b"row07", b"f:x", b"new")
        stub = TabletServerStub(cluster.client_world.network.channel(place.address))
        asking = asyncio.ensure_future(stub.ReadRow(wire.ReadRowRequest(tablet=place.tablet, row=b"row07"), timeout=60))
        await asyncio.sleep(1)
        cluster.simulation.resume(node)
        with pytest.raises(NotServed):
            await asking
        await asyncio.sleep(5)
        assert cluster.lives()[node].name != old.name, "it lives on, under another name"

    play(5, story)


def test_the_master_is_needed_for_no_row():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        await cluster.kill("tm1")
        assert await keys(cluster.table_client(2).scan("users")) == ROWS
        await tables.put("users", b"row99", b"f:x", b"1")
        before = len(cluster.said(TabletAssigned))
        await cluster.restart("tm1")
        await asyncio.sleep(5)
        assert cluster.tenure().rounds > 1
        moved = cluster.said(TabletAssigned)[before:]
        assert not moved, "a new master finds out what is served, and leaves it where it is (5.2)"
        assert await tables.get("users", b"row99", b"f:x") == b"1"

    play(6, story)


def test_another_master_takes_over_when_the_one_that_acts_dies():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        acting = cluster.acting_tablet_master()
        await cluster.kill(acting)
        await cluster.kill("ts1")
        assert await keys(tables.scan("users")) == ROWS
        assert cluster.acting_tablet_master() not in (acting, "")
        await tables.create_table("more", SCHEMA)
        assert sorted(await tables.tables()) == ["more", "users"]

    play(7, story, tablet_masters=2)


def test_a_tablet_that_has_grown_is_split_by_its_server():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster, bounds=[])
        for number in range(300):
            await tables.put(
                "users", b"row%03d" % number, b"f:x", cluster.client_world.random.getrandbits(4000).to_bytes(500, "big")
            )
        await asyncio.sleep(5)
        places = await tables.tablets("users")
        assert len(places) >= 3
        await whole(tables)
        assert len(await keys(tables.scan("users"))) == 300 + len(ROWS)

    play(
        8, story, overrides={"tabletserver": {"memtable_bytes": 20_000, "memory_bytes": 20_000, "split_bytes": 60_000}}
    )


def test_a_batch_is_one_call_for_each_tablet_server():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        calls: list[str] = []

        def watch(message: Message) -> None:
            if message.kind is Kind.REQUEST and message.method.endswith("MutateRows"):
                calls.append(message.target)

        cluster.simulation.on_message(watch)
        failures = await tables.mutate_many("users", [(row, [SetCell(b"f:x", b"2")]) for row in ROWS])
        assert failures == [None] * len(ROWS)
        assert len(calls) == len(set(calls)) == len({place.address for place in await tables.tablets("users")})

    play(9, story)


def test_rows_change_atomically_under_conditions_and_errors_name_what_is_wrong():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        wanted = ReadFilter(columns=["f:x"], versions=1)
        new = [SetCell(b"f:x", b"changed")]
        assert not await tables.check_and_mutate("users", b"row01", wanted, new, value=b"other")
        assert await tables.check_and_mutate("users", b"row01", wanted, new, value=b"row01")
        assert await tables.get("users", b"row01", b"f:x") == b"changed"
        with pytest.raises(NotFound):
            await tables.get("nobody", b"row", b"f:x")
        with pytest.raises(NotFound):
            await tables.put("users", b"row", b"g:x", b"1")
        with pytest.raises(InvalidRequest):
            await tables.put("users", b"", b"f:x", b"1")
        with pytest.raises(AlreadyExists):
            await tables.create_table("users", SCHEMA)
        with pytest.raises(InvalidRequest):
            await tables.create_table(METADATA, SCHEMA)
        await tables.delete_table("users")
        with pytest.raises(NotFound):
            await cluster.table_client(2).get("users", b"row01", b"f:x")
        await tables.create_table("users", SCHEMA)
        assert await keys(tables.scan("users")) == []

    play(10, story)


def test_a_write_that_was_acknowledged_outlives_the_death_of_any_server():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        acknowledged: dict[bytes, bytes] = {}

        async def write(number: int) -> None:
            client = cluster.table_client(number)
            for count in range(120):
                row, value = b"row%02d" % ((7 * count + number) % 30), b"%d-%d" % (number, count)
                try:
                    await client.put("users", row + b"/%d" % number, b"f:x", value)
                    acknowledged[row + b"/%d" % number] = value
                except TabletopError as error:
                    acknowledged.pop(row + b"/%d" % number, None)
                    assert not error.definite
                await asyncio.sleep(0.05)

        writers = [asyncio.ensure_future(write(number)) for number in (1, 2)]
        for node in ("ts1", "cs1", "ts2", "tm1"):
            await asyncio.sleep(1.5)
            await cluster.kill(node)
            await asyncio.sleep(3)
            await cluster.restart(node)
        await asyncio.gather(*writers)
        for row, value in acknowledged.items():
            assert await tables.get("users", row, b"f:x") == value
        assert len(acknowledged) > 30

    play(11, story, chunkservers=4)


def test_a_cluster_that_was_stopped_and_started_again_has_all_its_rows():
    async def story(cluster: TableCluster) -> None:
        await made(cluster)
        await cluster.stop()
        for node in cluster.settings.node_names():
            await cluster.start_node(node)
        assert await keys(cluster.table_client(2).scan("users")) == ROWS
        await cluster.power_cut_all()
        for node in cluster.settings.node_names():
            await cluster.start_node(node)
        assert await keys(cluster.table_client(2).scan("users")) == ROWS

    play(12, story, durability="fsync")


@pytest.mark.parametrize("method", ["SortLog", "LoadTablet"])
def test_an_order_of_the_master_that_is_lost_is_given_again(method: str):
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        lost: list[str] = []

        def lose(message: Message) -> Verdict | None:
            if message.kind is Kind.REQUEST and message.method.endswith(method) and not lost:
                lost.append(message.target)
                return DROP
            return None

        cluster.simulation.on_message(lose)
        await cluster.kill("ts2")
        assert await keys(tables.scan("users")) == ROWS, "within the patience of a client"
        assert len(lost) == 1

    play(13, story)
