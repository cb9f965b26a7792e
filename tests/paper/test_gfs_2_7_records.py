"""GFS 2.7.1 and 2.7.2: what a file region is after an append, and how an application lives with it: by records."""

import asyncio

from cluster.swarm.insight import Insight
from gfs.records import RecordReader, RecordWriter
from runtime.faults.links import Kind
from runtime.simulated.messages import Drop, Message
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play

PATH = "/log"


def lost(method: str, every: int):
    """Of the requests of this method one in so many is lost."""
    seen = [0]

    def hook(message: Message) -> Drop | None:
        if message.method.endswith("/" + method) and message.kind is Kind.REQUEST:
            seen[0] += 1
            return Drop() if seen[0] % every == 0 else None
        return None

    return hook


async def append_all(writer: RecordWriter, payloads: list[bytes]) -> list[int]:
    return [(await writer.append(payload)).offset for payload in payloads]


def test_regions_of_successful_appends_are_defined_interspersed_with_inconsistent_ones():
    """Table 1, record append."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).create(PATH)
        cluster.simulation.on_message(lost("Apply", 5))
        payloads = [b"%02d" % number * 40 for number in range(12)]
        offsets = [await cluster.client(1).record_append(PATH, payload) for payload in payloads]
        insight = Insight(cluster)
        handle = insight.handle_at(PATH, 0)
        held = [insight.replicas_on(name)[handle].data for name in cluster.holders(PATH)]
        for offset, payload in zip(offsets, payloads, strict=True):
            assert {data[offset : offset + 80] for data in held} == {payload}, "defined"
        assert len(set(held)) > 1, "and between them regions that differ"

    play(1, story)


def test_readers_drop_padding_and_remains_by_checksum_and_duplicates_by_the_numbers_of_records():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).create(PATH)
        undo = cluster.simulation.on_message(lost("Apply", 17))
        writers = [RecordWriter(cluster.client(number), PATH) for number in range(1, 5)]
        payloads = [b"%d" % number * (1 + 2500 * number) for number in range(12)]
        offsets = await asyncio.gather(*(append_all(writer, payloads) for writer in writers))
        undo()
        assert max(max(some) for some in offsets) > CHUNK_BYTES
        reader = RecordReader(cluster.client(2), PATH)
        found = [record async for record in reader.records()]
        for writer in writers:
            mine = [record for record in found if record.writer == writer.writer]
            assert [record.payload for record in mine] == payloads
            assert [record.sequence for record in mine] == list(range(1, 13))
        assert len(found) == 48 and reader.duplicates and reader.skipped_bytes

    play(1, story, clients=4)


def test_a_reader_that_follows_the_file_gets_each_record_soon_after_it_was_appended():
    """Many producers and one consumer: the file is a queue (3.3)."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).create(PATH)
        writers = [RecordWriter(cluster.client(number), PATH) for number in (1, 2)]
        payloads = [b"%d" % number * 20_000 for number in range(10)]
        producing = asyncio.gather(*(append_all(writer, payloads) for writer in writers))
        found = []
        async with asyncio.timeout(60):
            async for record in RecordReader(cluster.client(3), PATH).follow():
                found.append(record)
                if len(found) == 20:
                    break
        await producing
        for writer in writers:
            assert [record.payload for record in found if record.writer == writer.writer] == payloads

    play(1, story, clients=3)
