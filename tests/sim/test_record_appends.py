"""Eight clients append to one file, while servers die and messages are lost: the paper's contract holds (GFS 3.3)."""

import asyncio
import random
from dataclasses import dataclass

import pytest

from cluster.swarm.insight import Insight
from gfs.client import Client
from runtime.errors import TabletopError
from runtime.faults.links import Kind
from runtime.simulated.messages import Drop, Message
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play, wait

PATH = "/log"
CLIENTS = 8
RECORDS = 24


@dataclass(frozen=True)
class Record:
    """What a client appended, and what it was told: the offset, or None."""

    data: bytes
    offset: int | None


def made(client: int, number: int, chance: random.Random) -> bytes:
    """A record that says whose it is, without a zero in it."""
    size = chance.choice([20, 300, 5_000, 30_000, 60_000])
    return (f"<{client}.{number}>".encode() * size)[:size]


async def append_all(client: Client, number: int, chance: random.Random) -> list[Record]:
    found = []
    for record in range(RECORDS):
        data = made(number, record, chance)
        try:
            found.append(Record(data, await client.record_append(PATH, data)))
        except TabletopError as error:
            assert not error.definite, error.message
            found.append(Record(data, None))
        await asyncio.sleep(chance.uniform(0.0, 0.4))
    return found


async def kill_and_restart(cluster: SmallCluster, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.5, 4.0))
        node = chance.choice([*cluster.chunkservers(), "master"])
        await cluster.kill(node)
        await asyncio.sleep(chance.uniform(0.1, 3.0))
        await cluster.start_node(node)


def check(records: list[Record], content: bytes) -> None:
    """Every acknowledged record is at its offset, none overlaps another, and nothing else is there than padding and
    what was attempted."""
    told = sorted((record.offset, record.data) for record in records if record.offset is not None)
    end = 0
    for offset, data in told:
        assert offset >= end, f"the record at {offset} overlaps the one before it"
        assert offset // CHUNK_BYTES == (offset + len(data) - 1) // CHUNK_BYTES, "a record crosses chunks"
        assert content[offset : offset + len(data)] == data, f"the record at {offset} is not whole"
        end = offset + len(data)
    rest = bytearray(content)
    for offset, data in told:
        rest[offset : offset + len(data)] = bytes(len(data))
    attempted = {record.data for record in records}
    for piece in bytes(rest).split(b"\0"):
        if piece:
            assert any(piece in data for data in attempted) or _is_made_of(piece, attempted), piece[:40]


def _is_made_of(piece: bytes, attempted: set[bytes]) -> bool:
    """Whether remains lie one after the other, each a beginning of an attempted record."""
    while piece:
        whole = [data for data in attempted if piece.startswith(data[: min(len(data), len(piece))])]
        if not whole:
            return False
        piece = piece[max(map(len, whole)) :]
    return True


@pytest.mark.parametrize("seed", range(6))
def test_eight_appenders_under_kills(seed: int):
    async def story(cluster: SmallCluster) -> None:
        chance = random.Random(seed)
        await cluster.client(1).create(PATH)
        trouble = asyncio.ensure_future(kill_and_restart(cluster, chance))
        clients = [cluster.client(number) for number in range(1, CLIENTS + 1)]
        found = await asyncio.gather(
            *(append_all(client, number, random.Random(100 * seed + number)) for number, client in enumerate(clients))
        )
        trouble.cancel()
        await asyncio.wait([trouble])
        for node in (*cluster.chunkservers(), "master"):
            if not cluster.is_running(node):
                await cluster.start_node(node)
        await wait(40)
        records = [record for some in found for record in some]
        assert sum(record.offset is not None for record in records) > CLIENTS * RECORDS * 0.8
        content = await cluster.client(1).read_file(PATH)
        check(records, content)
        assert len(content) == (await cluster.client(2).stat(PATH)).length > 3 * CHUNK_BYTES
        await check_replicas(cluster, records)

    play(seed, story, clients=CLIENTS, chunkservers=5, lease_seconds=4.0)


async def check_replicas(cluster: SmallCluster, records: list[Record]) -> None:
    """Every replica that readers are told of has every acknowledged record at the same place."""
    insight = Insight(cluster)
    chunks = await cluster.client(1).locations(PATH)
    for chunk in chunks:
        assert len(chunk.replicas) == 3
        for replica in chunk.replicas:
            data = insight.replicas_on(replica.server)[chunk.handle].data
            for record in records:
                if record.offset is not None and record.offset // CHUNK_BYTES == chunk.index:
                    begin = record.offset % CHUNK_BYTES
                    assert data[begin : begin + len(record.data)] == record.data, (replica.server, record.offset)


@pytest.mark.parametrize("method", ["AppendRecord", "Apply"])
@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.REPLY])
def test_lost_messages_cost_a_repetition_and_no_record(method: str, kind: Kind):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).create(PATH)
        seen = 0

        def each_fifth(message: Message) -> Drop | None:
            nonlocal seen
            if message.method.endswith("/" + method) and message.kind is kind:
                seen += 1
                return Drop() if seen % 5 == 0 else None
            return None

        cluster.simulation.on_message(each_fifth)
        found = await asyncio.gather(
            *(append_all(cluster.client(number), number, random.Random(number)) for number in range(1, CLIENTS + 1))
        )
        records = [record for some in found for record in some]
        in_doubt = [record for record in records if record.offset is None]  # Not found out in two minutes.
        assert len(in_doubt) <= 1 and seen > 5
        check(records, await cluster.client(1).read_file(PATH))

    play(3, story, clients=CLIENTS, lease_seconds=4.0)
