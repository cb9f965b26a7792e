"""The client of tables, with the servers of a simulated cluster: scans in both directions, changes of values, filters,
batches, and what is too large."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from runtime.errors import InvalidRequest, NotFound, TimedOut
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Message, Verdict
from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings
from tablet.engine.model.checks import MUTATION_LIMIT_BYTES
from tablet.engine.model.filter_tree import ApplyLabel, CellsPerColumn, Chain, Interleave, QualifierRegex, ValueRegex
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import SetCell
from tablet.location import messages
from tablet.location.messages import FoundRow
from tablet.location.places import METADATA
from tests.sim.small_tables import SCHEMA, TableCluster, play

ROWS = [b"row%02d" % number for number in range(30)]
BOUNDS = [b"row05", b"row10", b"row15", b"row20", b"row25"]
PAGES = TableClientSettings(scan_rows=3)


async def made(cluster: TableCluster, settings: TableClientSettings | None = None) -> TableClient:
    tables = cluster.table_client(1, settings)
    await tables.create_table("users", SCHEMA, BOUNDS)
    assert await tables.mutate_many("users", [(row, [SetCell(b"f:x", row)]) for row in ROWS]) == [None] * len(ROWS)
    return tables


async def keys(rows: AsyncIterator[FoundRow]) -> list[bytes]:
    return [key async for key, _ in rows]


@pytest.mark.parametrize(
    ("start", "end"),
    [(b"", b""), (b"row07", b"row21"), (b"row05", b"row10"), (b"row10", b""), (b"x", b""), (b"", b"a")],
)
def test_a_scan_in_reverse_gives_the_rows_of_a_scan_in_reverse(start: bytes, end: bytes):
    async def story(cluster: TableCluster) -> None:
        await made(cluster)
        for settings in (None, PAGES):
            tables = cluster.table_client(2, settings)
            backwards = await keys(tables.scan("users", start, end, reverse=True))
            assert backwards == [row for row in reversed(ROWS) if row >= start and (not end or row < end)]
            assert await keys(tables.scan("users", start, end, reverse=True, limit=4)) == backwards[:4]
            assert await keys(tables.scan("users", start, end)) == backwards[::-1]

    play(1, story)


def test_a_scan_in_reverse_goes_on_through_a_split_and_the_death_of_a_server():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster, PAGES)
        found = []
        async for key, _ in tables.scan("users", reverse=True):
            found.append(key)
            if key == b"row27":
                await tables.split((await tables.locator.place_of("users", b"row22")).tablet, b"row22")
            if key == b"row16":
                place = await tables.locator.place_of("users", b"row12")
                await cluster.kill(place.server.partition("-")[0])
        assert found == ROWS[::-1]

    play(2, story)


def test_rows_of_metadata_are_scanned_in_reverse_too():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        forwards = await keys(tables.scan(METADATA))
        assert len(forwards) == 7
        assert await keys(cluster.table_client(2).scan(METADATA, reverse=True)) == forwards[::-1]

    play(3, story)


def test_increments_and_appends_of_many_clients_count_once_each():
    async def story(cluster: TableCluster) -> None:
        await made(cluster)

        async def work(number: int) -> list[int]:
            client = cluster.table_client(number)
            for _ in range(5):
                await client.append("users", b"row12", b"f:text", b"%d" % number)
            return [await client.increment("users", b"row12", b"f:count", number) for _ in range(10)]

        answers = await asyncio.gather(work(1), work(2))
        assert max(map(max, answers)) == 30 and len({*answers[0], *answers[1]}) == 20
        tables = cluster.table_client(2)
        assert await tables.increment("users", b"row12", b"f:count", -31) == -1
        assert sorted(await tables.append("users", b"row12", b"f:text", b"")) == sorted(b"1111122222")
        with pytest.raises(InvalidRequest, match="a counter has 8"):
            await tables.increment("users", b"row12", b"f:x")
        with pytest.raises(InvalidRequest):
            await tables.increment("users", b"row12", b"f:count", 2**63)
        with pytest.raises(NotFound):
            await tables.append("users", b"row12", b"g:x", b"")

    play(4, story)


def test_an_increment_whose_answer_is_lost_is_in_doubt_and_not_repeated():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)

        def lose(message: Message) -> Verdict | None:
            return DROP if message.kind is Kind.REPLY and message.method.endswith("ChangeValue") else None

        losing = cluster.simulation.on_message(lose)
        with pytest.raises(TimedOut) as caught:
            await tables.increment("users", b"row12", b"f:count")
        assert not caught.value.definite
        losing()
        assert await tables.increment("users", b"row12", b"f:count") == 2

    play(5, story)


def test_filters_that_are_put_together_from_parts_work_at_the_server():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        await tables.put("users", b"row03", b"f:other", b"1")
        wanted = Chain(QualifierRegex("x"), ValueRegex("row0[3-5]"), CellsPerColumn(1))
        assert await keys(tables.scan("users", wanted=wanted)) == [b"row03", b"row04", b"row05"]
        both = await tables.read("users", b"row03", Interleave(QualifierRegex("x"), QualifierRegex("o.*")))
        assert both is not None and [cell.column for cell in both[1]] == [b"f:other", b"f:x"]
        assert await tables.check_and_mutate("users", b"row03", ValueRegex("1"), [SetCell("f:x", "2")])
        with pytest.raises(InvalidRequest, match="without labels"):
            await tables.read("users", b"row03", ApplyLabel("one"))
        with pytest.raises(NotFound):
            await tables.read("users", b"row03", ReadFilter(families=["g"]))

    play(6, story)


def test_a_batch_goes_in_calls_of_limited_size_several_at_a_time():
    async def story(cluster: TableCluster) -> None:
        settings = TableClientSettings(mutations_a_call=2, calls_in_flight=3)
        tables = await made(cluster, settings)
        under_way, most, calls = dict.fromkeys(cluster.settings.tablet_node_names(), 0), 0, 0

        def watch(message: Message) -> None:
            nonlocal most, calls
            if message.method.endswith("MutateRows"):
                node = message.target if message.kind is Kind.REQUEST else message.source
                under_way[node] += 1 if message.kind is Kind.REQUEST else -1
                most, calls = max(most, under_way[node]), calls + (message.kind is Kind.REQUEST)

        cluster.simulation.on_message(watch)
        mutations = [(row, [SetCell(b"f:x", b"2")]) for row in ROWS]
        mutations[7] = (b"", [SetCell(b"f:x", b"2")])
        mutations[9] = (b"row09", [SetCell(b"f:x", b"2", 2**64)])
        failures = await tables.mutate_many("users", mutations)
        assert [number for number, failure in enumerate(failures) if failure is not None] == [7, 9]
        assert all(isinstance(failure, InvalidRequest) for failure in failures if failure is not None)
        assert most == 3 and calls >= 14

    play(7, story)


def test_what_is_too_large_is_refused_for_certain_and_alone(monkeypatch: pytest.MonkeyPatch):
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        large = b"x" * (MUTATION_LIMIT_BYTES + 1)
        failures = await tables.mutate_many("users", [(b"a", [SetCell(b"f:x", large)]), (b"b", [SetCell(b"f:x", b"")])])
        assert isinstance(failures[0], InvalidRequest) and failures[0].definite and failures[1] is None
        for part in range(5):
            await tables.put("users", b"row17", b"f:%d" % part, b"x" * 300)
        monkeypatch.setattr(messages, "ROW_ANSWER_LIMIT_BYTES", 1000)
        with pytest.raises(InvalidRequest, match="fewer versions"):
            await tables.read("users", b"row17")
        found = await tables.read("users", b"row17", ReadFilter(column_pattern="f:[0-2]"))
        assert found is not None and len(found[1]) == 3
        for reverse, before in ((False, ROWS[15:17]), (True, ROWS[:17:-1])):
            seen = []
            with pytest.raises(InvalidRequest):
                async for key, _ in tables.scan("users", b"row15", reverse=reverse):
                    seen.append(key)
            assert seen == before, "the rows before it are given"

    play(8, story)
