"""Records that are told from padding, remains and copies: as bytes, in any stream, and in files (GFS 2.7.2, 3.3)."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs.records import Record, RecordReader, RecordWriter, Scanner, encode_record
from gfs.records.duplicates import WINDOW, Duplicates
from gfs.records.frames import HEADER_BYTES, MAGIC, decode_record
from runtime.errors import Conflict, InvalidRequest, MutationFailed, TimedOut
from tests.unit.gfs_fakes import CHUNK_BYTES, QUICK, FakeCluster

CHUNK = 4096
MOST = CHUNK // 4 - HEADER_BYTES

PAYLOADS = st.binary(max_size=200) | st.integers(0, MOST).map(lambda size: b"p" * size)
IDS = st.integers(0, 2**64 - 1)


@given(PAYLOADS, IDS, IDS, st.binary(max_size=20))
def test_a_record_is_read_back_wherever_it_stands(payload: bytes, writer: int, sequence: int, before: bytes):
    frame = encode_record(payload, writer=writer, sequence=sequence)
    assert decode_record(before + frame + b"after", len(before)) == (writer, sequence, payload)


@given(PAYLOADS, IDS, IDS, st.data())
def test_a_record_in_which_one_bit_is_wrong_is_none(payload: bytes, writer: int, sequence: int, data: st.DataObject):
    frame = bytearray(encode_record(payload, writer=writer, sequence=sequence))
    place = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[place // 8] ^= 1 << place % 8
    assert decode_record(frame, 0) is None


@st.composite
def appended_files(draw: st.DrawFn) -> tuple[bytes, list[Record]]:
    """A file as record append leaves it, and the records that stand in it whole."""
    content, found = bytearray(), []
    for number in range(draw(st.integers(0, 25))):
        # What a record ends with is not zero: otherwise a part of it, and padding after that, may be all of it.
        payload, sequence = draw(PAYLOADS)[: MOST - 1] + b"!", (number + 1) * 0x0101010101010101
        frame = encode_record(payload, writer=draw(st.integers(0, 2)), sequence=sequence)
        for _ in range(draw(st.integers(0, 2))):  # Tries that failed: zeros, beginnings, ends, rot.
            remains = draw(st.sampled_from([bytes(len(frame)), frame[: len(frame) // 2], frame[5:], b"\xf5re"]))
            _put(content, remains.ljust(len(frame), b"\0"))
        copies = draw(st.sampled_from([1, 1, 1, 2]))
        for _ in range(copies):
            begin = _put(content, frame)
            found.append(Record(begin, *decode_record(frame, 0)))  # type: ignore[misc]
    return bytes(content), found


def _put(content: bytearray, data: bytes) -> int:
    """Append as a primary does: what does not fit into the chunk goes to the next one."""
    room = CHUNK - len(content) % CHUNK
    if room < len(data):
        content += bytes(room)
    begin = len(content)
    content += data
    return begin


@given(appended_files(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_scanner_finds_exactly_the_whole_records_however_the_stream_is_cut(
    appended: tuple[bytes, list[Record]], data: st.DataObject
):
    content, expected = appended
    scanner, found, at = Scanner(chunk_bytes=CHUNK), [], 0
    while at < len(content):
        count = data.draw(st.integers(1, 3000))
        found += scanner.feed(content[at : at + count])
        at += count
    found += scanner.finish()
    assert found == expected
    assert scanner.position == len(content)
    assert scanner.skipped_bytes == len(content) - sum(record.end - record.offset for record in expected)


@given(st.binary(max_size=3 * CHUNK))
def test_a_scanner_takes_any_bytes(noise: bytes):
    scanner = Scanner(chunk_bytes=CHUNK)
    found = scanner.feed(noise.replace(b"x", MAGIC)) + scanner.finish()
    assert found == []


@given(appended_files(), st.integers(0, 2000))
def test_a_scanner_may_begin_anywhere(appended: tuple[bytes, list[Record]], position: int):
    content, expected = appended
    scanner = Scanner(chunk_bytes=CHUNK, position=position)
    found = scanner.feed(content[position:]) + scanner.finish()
    assert found == [record for record in expected if record.offset >= position]


def test_a_header_that_claims_more_than_its_chunk_has_is_not_waited_for():
    frame = encode_record(b"p" * 500, writer=1, sequence=1)
    small = encode_record(b"small", writer=1, sequence=2)
    scanner = Scanner(chunk_bytes=CHUNK, position=CHUNK - 400)
    assert [record.payload for record in scanner.feed(frame[:40] + small)] == [b"small"]


def test_a_header_that_claims_more_than_a_record_may_have_is_not_waited_for():
    frame = encode_record(b"p" * (MOST + 1), writer=1, sequence=1)
    small = encode_record(b"small", writer=1, sequence=2)
    assert [record.payload for record in Scanner(chunk_bytes=CHUNK).feed(frame[:40] + small)] == [b"small"]


@given(st.lists(st.integers(1, 60), max_size=200))
def test_the_first_copy_of_each_number_is_new(numbers: list[int]):
    seen = Duplicates()
    assert [number for number in numbers if seen.is_new(7, number)] == list(dict.fromkeys(numbers))
    assert seen.duplicates == len(numbers) - len(set(numbers))


def test_little_is_remembered_of_a_writer_and_a_number_far_below_is_a_copy():
    seen = Duplicates()
    for number in range(1, 10 * WINDOW):
        assert seen.is_new(7, number)
        seen.check_invariants()
    assert not seen.is_new(7, 5) and not seen.is_new(7, 10 * WINDOW - 5)
    assert seen.is_new(8, 5)


async def test_records_of_several_writers_are_read_once_each_in_the_order_of_their_writer(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        writers = [RecordWriter(cluster.new_client(), "/log") for _ in range(4)]
        payloads = [b"%d-" % number * 3_000 for number in range(30)]

        async def append_all(writer: RecordWriter) -> None:
            for payload in payloads:
                await writer.append(payload)

        cluster.to_happen("afterwards", "AppendRecord", [None, TimedOut("lost"), None, TimedOut("lost")])
        await asyncio.gather(*map(append_all, writers))
        reader = RecordReader(client, "/log")
        found = [record async for record in reader.records()]
        for writer in writers:
            assert [record.payload for record in found if record.writer == writer.writer] == payloads
        assert len(found) == 120 and reader.duplicates == 2 and reader.skipped_bytes > 0
        assert (await client.stat("/log")).length > CHUNK_BYTES
        later = RecordReader(client, "/log", position=found[-2].end)
        assert [record async for record in later.records()] == found[-1:]


async def test_a_follower_gets_what_is_appended_later(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        writer = RecordWriter(client, "/log")
        await writer.append(b"0")
        following = RecordReader(cluster.new_client(), "/log").follow(poll_seconds=0.001)
        for number in range(30):
            assert (await anext(following)).payload == b"%d" % number * (1 + 1000 * number)
            number += 1
            await writer.append(b"%d" % number * (1 + 1000 * number))
        cluster.master.replace("/log", b"another")
        with pytest.raises(Conflict):
            await anext(following)
            await anext(following)


async def test_a_follower_passes_over_half_a_record_that_a_dead_server_has_left(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        await client.record_append("/log", encode_record(b"p" * 500, writer=1, sequence=1)[:40])
        await RecordWriter(client, "/log").append(b"small")
        reader = RecordReader(cluster.new_client(), "/log")
        following = reader.follow(poll_seconds=0.001, remains_seconds=0.01)
        async with asyncio.timeout(10):
            assert (await anext(following)).payload == b"small"
        assert reader.skipped_bytes == 40
        await following.aclose()


@given(st.integers(0, 530), st.booleans())
def test_a_record_that_is_still_coming_is_waited_for_unless_another_one_stands_after_it(cut: int, is_remains: bool):
    frame, small = (encode_record(body, writer=1, sequence=n) for n, body in enumerate([b"p" * 500, b"small"]))
    cut = min(cut, len(frame) - 1)
    scanner = Scanner(chunk_bytes=CHUNK)
    found = scanner.feed(frame[:cut] + (small if is_remains else b"")) + scanner.pass_over_remains()
    found += scanner.feed(small if is_remains else frame[cut:])
    assert [record.payload for record in found] == ([b"small"] * 2 if is_remains else [b"p" * 500])
    assert scanner.skipped_bytes == (cut if is_remains else 0)


async def test_an_append_that_failed_has_used_its_number_up(tmp_path: Path):
    values = {name: getattr(QUICK, name) for name in QUICK.__slots__}
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(type(QUICK)(**{**values, "write_patience_seconds": 0.05}))
        await client.create("/log")
        writer = RecordWriter(client, "/log")
        cluster.to_happen("afterwards", "AppendRecord", [MutationFailed("cs3 did not apply it")] * 200)
        with pytest.raises(MutationFailed):
            await writer.append(b"in doubt")
        for server in cluster.servers.values():
            server.afterwards.clear()
        assert (await writer.append(b"sure")).sequence == 2
        reader = RecordReader(client, "/log")
        assert [record.payload async for record in reader.records()] == [b"in doubt", b"sure"]


async def test_a_record_may_be_empty_and_not_too_large(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        writer = RecordWriter(client, "/log")
        most = CHUNK_BYTES // 4 - HEADER_BYTES
        with pytest.raises(InvalidRequest):
            await writer.append(bytes(most + 1))
        await writer.append(b"")
        await writer.append(b"m" * most)
        assert [len(record.payload) async for record in RecordReader(client, "/log").records()] == [0, most]


async def test_a_writer_waits_with_a_number_that_is_too_far_from_one_under_way(tmp_path: Path):
    class Held:
        """A client whose first append lasts until it is told."""

        def __init__(self) -> None:
            self.go = asyncio.Event()
            self.appended = 0
            self.world = cluster.new_client().world

        async def record_append(self, path: str, data: bytes) -> int:
            self.appended += 1
            if self.appended == 1:
                await self.go.wait()
            return 0

    async with FakeCluster(tmp_path) as cluster:
        client = Held()
        writer = RecordWriter(client, "/log")  # type: ignore[arg-type]
        tasks = [asyncio.create_task(writer.append(b"x")) for _ in range(WINDOW + 10)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert client.appended == WINDOW
        client.go.set()
        await asyncio.gather(*tasks)
        assert client.appended == WINDOW + 10
