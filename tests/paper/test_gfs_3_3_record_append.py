"""GFS 3.3: atomic record appends. One test for each claim of the section, in a whole simulated cluster."""

import asyncio
import random

import pytest

from cluster.swarm.insight import Insight
from gfs.client import Client
from runtime.errors import InvalidRequest
from runtime.faults.links import Kind
from runtime.settings import CHUNK_BYTES as PAPER_CHUNK_BYTES
from runtime.settings import MEBIBYTE, RECORD_SHARE
from runtime.simulated.messages import Drop, Message
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play, wait

PATH = "/log"
MOST = CHUNK_BYTES // 4


def calls(cluster: SmallCluster, method: str) -> list[Message]:
    """The requests of this method from now on."""
    seen: list[Message] = []

    def hook(message: Message) -> None:
        if message.method.endswith("/" + method) and message.kind is Kind.REQUEST:
            seen.append(message)

    cluster.simulation.on_message(hook)
    return seen


def replicas(cluster: SmallCluster, index: int = 0) -> dict[str, bytes]:
    """What the disks hold of one chunk of the file, by server."""
    insight = Insight(cluster)
    handle = insight.handle_at(PATH, index)
    held = {name: insight.replicas_on(name).get(handle) for name in cluster.chunkservers()}
    return {name: replica.data for name, replica in held.items() if replica is not None}


async def append_each(client: Client, records: list[bytes]) -> list[int]:
    return [await client.record_append(PATH, record) for record in records]


def test_the_client_names_only_the_data_and_is_told_the_offset_that_gfs_chose():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create(PATH)
        records = [b"first", b"second", b"third"]
        assert await append_each(client, records) == [0, 5, 11]
        assert await client.read_file(PATH) == b"firstsecondthird"

    play(1, story)


def test_many_clients_append_to_one_file_at_once_with_no_lock_and_no_race():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).create(PATH)
        asked = calls(cluster, "FindLeaseHolder")
        records = {number: [b"%d.%d " % (number, turn) * 50 for turn in range(20)] for number in range(1, 9)}
        offsets = await asyncio.gather(*(append_each(cluster.client(number), records[number]) for number in records))
        content = await cluster.client(1).read_file(PATH)
        for number, told in zip(records, offsets, strict=True):
            assert told == sorted(told)
            for offset, record in zip(told, records[number], strict=True):
                assert content[offset : offset + len(record)] == record
        assert len(content) == sum(len(record) for some in records.values() for record in some)
        assert len(asked) == 8, "the master is asked once by each client, for the one chunk"

    play(1, story, clients=8)


def test_the_primary_alone_orders_an_append_and_the_secondaries_write_at_exactly_its_offset():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create(PATH)
        await client.record_append(PATH, b"first")
        ordered, applied = calls(cluster, "AppendRecord"), calls(cluster, "Apply")
        assert await client.record_append(PATH, b"second") == 5
        assert [message.target for message in ordered] == [cluster.primary(PATH)]
        assert len(applied) == 2 and cluster.primary(PATH) not in {message.target for message in applied}
        assert set(replicas(cluster).values()) == {b"firstsecond"}

    play(1, story)


def test_a_record_has_at_most_a_quarter_of_the_largest_chunk():
    assert PAPER_CHUNK_BYTES // RECORD_SHARE == 16 * MEBIBYTE

    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create(PATH)
        with pytest.raises(InvalidRequest):
            await client.record_append(PATH, b"x" * (MOST + 1))
        assert await client.record_append(PATH, b"x" * MOST) == 0

    play(1, story)


def test_a_chunk_that_would_overflow_is_padded_on_all_replicas_and_the_record_goes_to_the_next_chunk():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create(PATH)
        record = b"r" * (MOST - 100)
        offsets = await append_each(client, [record] * 5)
        assert offsets == [0, len(record), 2 * len(record), 3 * len(record), CHUNK_BYTES]
        assert set(replicas(cluster, 0).values()) == {record * 4 + bytes(400)}
        assert set(replicas(cluster, 1).values()) == {record}
        content = await cluster.client(2).read_file(PATH)
        assert content == record * 4 + bytes(400) + record
        assert (await cluster.client(2).stat(PATH)).length == len(content)
        async with await cluster.client(2).open(PATH) as file:
            assert await file.pread(CHUNK_BYTES - 401, 402) == b"r" + bytes(400) + b"r"

    play(1, story)


def test_a_client_that_remembers_an_earlier_chunk_is_sent_on_to_the_last_one_of_the_file():
    async def story(cluster: SmallCluster) -> None:
        one, other = cluster.client(1), cluster.client(2)
        await one.create(PATH)
        assert await one.record_append(PATH, b"first") == 0
        async with await other.open(PATH, "r+b") as file:
            await file.pwrite(CHUNK_BYTES, b"beyond the end of the first chunk")
        assert await one.record_append(PATH, b"second") == CHUNK_BYTES + 33
        assert set(replicas(cluster, 0).values()) == {b"first".ljust(CHUNK_BYTES, b"\0")}

    play(1, story)


def losing_to(server: str, method: str, times: int):
    """Requests of this method to a server are lost, so many times."""
    left = [times]

    def hook(message: Message) -> Drop | None:
        if message.method.endswith("/" + method) and message.target == server and message.kind is Kind.REQUEST:
            left[0] -= 1
            return Drop() if left[0] >= 0 else None
        return None

    return hook


def test_a_failed_append_is_retried_and_replicas_may_differ_but_not_where_the_record_was_acknowledged():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create(PATH)
        await client.record_append(PATH, b"first ")
        secondary = next(name for name in cluster.holders(PATH) if name != cluster.primary(PATH))
        cluster.simulation.on_message(losing_to(secondary, "Apply", 1))
        offset = await client.record_append(PATH, b"record")
        assert offset == 12, "the first try has left something at 6, and is not written over"
        held = replicas(cluster)
        assert held.pop(secondary) == b"first " + bytes(6) + b"record"
        assert set(held.values()) == {b"first recordrecord"}, "the record is there twice: at least once was promised"

    play(1, story)


def test_after_a_success_every_replica_is_at_least_as_long_and_later_records_get_a_higher_offset_from_any_primary():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create(PATH)
        chance, ends, primaries = random.Random(1), [0], []
        for _ in range(6):
            record = chance.randbytes(chance.randint(1, 30_000))
            offset = await client.record_append(PATH, record)
            assert offset >= ends[-1]
            ends.append(offset + len(record))
            held = replicas(cluster, offset // CHUNK_BYTES)
            alive = [data for name, data in held.items() if cluster.is_running(name)]
            assert all(len(data) >= (ends[-1] - 1) % CHUNK_BYTES + 1 for data in alive)
            primaries.append(cluster.primary(PATH))
            await cluster.kill(primaries[-1])  # Another replica becomes the primary.
            await wait(15)
            await cluster.start_node(primaries[-1])
            await wait(5)
        assert len(set(primaries)) > 1

    play(2, story, chunkservers=4, lease_seconds=6.0)


def test_appends_and_writes_at_offsets_are_applied_in_one_order():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).create(PATH)
        await cluster.client(1).record_append(PATH, b"-" * 1000)

        async def write_all() -> None:
            async with await cluster.client(2).open(PATH, "r+b") as file:
                for number in range(30):
                    await file.pwrite(10 * number, b"%02d" % number * 5)

        await asyncio.gather(write_all(), append_each(cluster.client(1), [b"%02d" % n * 5 for n in range(30)]))
        [content] = set(replicas(cluster).values())
        assert content[:300] == b"".join(b"%02d" % n * 5 for n in range(30)) == content[1000:]

    play(1, story)
