"""Pushes and reads over real sockets: what goes wrong on the way, and what stays usable afterwards."""

import asyncio
import random

import pytest

from runtime.bulk import PROTOCOL, checksums_of, encode_header, read_header
from runtime.errors import DataNotBuffered, Unavailable
from runtime.wire.bulk_pb2 import BulkRequest, Hello, PushReply, PushRequest, ReadReply
from runtime.wire.chunkserver_pb2 import DataId
from runtime.wire.common_pb2 import Location
from tests.unit.chunkserver_support import BLOCK, Desk, push_header, read_request, until

DATA = random.Random(2).randbytes(5 * BLOCK + 123)


async def with_chunk(desk: Desk, data: bytes = DATA, *names: str) -> None:
    names = names or ("cs1",)
    await desk.start(*names)
    await desk.grant(7, *names)
    for begin in range(0, len(data), BLOCK):
        await desk.write("cs1", 7, begin, data[begin : begin + BLOCK])


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 6 * BLOCK), (0, 10), (BLOCK, BLOCK), (100, 2 * BLOCK), (5 * BLOCK + 100, 23)]
)
async def test_a_read_gives_the_bytes_and_their_checksums(tmp_path, offset, length):
    async with Desk(tmp_path) as desk:
        await with_chunk(desk)
        reply, payload = await desk.read("cs1", 7, offset, length)
        assert payload == DATA[offset : offset + length]
        assert list(reply.crc32c) == checksums_of(payload)
        assert reply.chunk_length == len(DATA)


async def test_a_read_at_and_beyond_the_end_is_short_and_no_error(tmp_path):
    async with Desk(tmp_path) as desk:
        await with_chunk(desk)
        reply, payload = await desk.read("cs1", 7, len(DATA) - 5, 100)
        assert payload == DATA[-5:]
        reply, payload = await desk.read("cs1", 7, len(DATA) + BLOCK, 100)
        assert (reply.error_kind, payload, reply.chunk_length) == ("", b"", len(DATA))


async def test_pipelined_reads_are_answered_in_order_and_errors_leave_the_connection_usable(tmp_path):
    async with Desk(tmp_path) as desk:
        await with_chunk(desk)
        stream = await desk.bulk("cs1")
        requests = [
            read_request(7, 0, 10),
            read_request(8, 0, 10),
            read_request(7, 0, 10, version=2),
            read_request(7, 0, 5 * 1024 * 1024),
            read_request(7, 20, 10),
        ]
        await stream.write(b"".join(requests))
        answers = []
        for _ in requests:
            reply = await read_header(stream, ReadReply)
            answers.append(reply.error_kind or await stream.read_exactly(reply.length))
        assert answers == [DATA[:10], "NotFound", "StaleVersion", "InvalidRequest", DATA[20:30]]
        stream.abort()


@pytest.mark.parametrize("kind", ["read", "push"])
@pytest.mark.parametrize("greeting", ["token", "protocol"])
async def test_a_wrong_hello_is_answered_once_and_the_connection_ends(tmp_path, kind, greeting):
    async with Desk(tmp_path) as desk:
        await with_chunk(desk)
        message = Hello(protocol=PROTOCOL, token="another")
        if greeting == "protocol":
            message = Hello(protocol=PROTOCOL + 1, token="secret")
        stream = await desk.bulk("cs1", encode_header(message))
        if kind == "read":
            await stream.write(read_request(7, 0, 10))
            reply = await read_header(stream, ReadReply)
            assert reply.length == 0
        else:
            await stream.write(push_header(DataId(client=1, number=1), b"0123456789", []) + b"0123456789")
            reply = await read_header(stream, PushReply)
            assert reply.failed == "cs1" and not reply.stored
        assert reply.error_kind == ("Unauthenticated" if greeting == "token" else "InvalidRequest")
        with pytest.raises((EOFError, Unavailable)):
            await stream.read_exactly(1)
        stream.abort()


async def test_a_push_of_nonsense_ends_that_connection_and_no_other(tmp_path):
    async with Desk(tmp_path) as desk:
        await with_chunk(desk)
        stream = await desk.bulk("cs1")
        await stream.write(b"\xff\xff\xff\x7f" + b"nonsense" * 10)
        with pytest.raises((EOFError, Unavailable)):
            await stream.read_exactly(1)
        stream.abort()
        assert (await desk.read("cs1", 7, 0, 10))[1] == DATA[:10]


async def test_a_push_reaches_every_server_of_the_chain_and_the_answer_names_them(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2", "cs3")
        pushed, reply = await desk.push(DATA, "cs2", "cs1", "cs3")
        assert (list(reply.stored), reply.failed) == (["cs2", "cs1", "cs3"], "")
        await desk.grant(7, "cs1", "cs2", "cs3")
        await desk.write_pushed("cs1", 7, 0, DATA, pushed)
        assert {desk.stored(name, 7) for name in ("cs1", "cs2", "cs3")} == {DATA}


async def test_a_broken_chain_keeps_the_part_before_the_break_and_names_the_first_server_behind_it(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2", "cs3")
        gone = desk.location("cs2")
        await desk.stop("cs2")
        pushed = DataId(client=1, number=1)
        stream = await desk.bulk("cs1")
        await stream.write(push_header(pushed, DATA, [gone, desk.location("cs3")]) + DATA)
        reply = await read_header(stream, PushReply)
        assert (list(reply.stored), reply.failed, reply.error_kind) == (["cs1"], "cs2", "Unavailable")
        # The connection is good for the next request.
        await stream.write(push_header(DataId(client=1, number=2), b"0123456789", []) + b"0123456789")
        assert list((await read_header(stream, PushReply)).stored) == ["cs1"]
        stream.abort()


async def test_a_push_damaged_on_the_way_is_refused_by_the_server_that_got_it(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        pushed, reply = await desk.push(DATA, "cs1", "cs2", damaged=True)
        assert (reply.failed, reply.error_kind, list(reply.stored)) == ("cs1", "Corrupted", [])
        await desk.grant(7, "cs1", "cs2")
        with pytest.raises(DataNotBuffered):
            await desk.write_pushed("cs1", 7, 0, DATA, pushed)


async def test_a_push_without_a_checksum_for_each_block_is_refused_and_the_connection_stays_usable(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        stream = await desk.bulk("cs1")
        bare = PushRequest(data=DataId(client=1, number=1), length=len(DATA), crc32c=[1, 2])
        await stream.write(encode_header(BulkRequest(push=bare)) + DATA)
        reply = await read_header(stream, PushReply)
        assert (reply.failed, reply.error_kind) == ("cs1", "InvalidRequest")
        assert "2 checksums" in reply.message
        await stream.write(push_header(DataId(client=1, number=2), b"0123456789", []) + b"0123456789")
        assert list((await read_header(stream, PushReply)).stored) == ["cs1"]
        stream.abort()


async def test_a_push_larger_than_the_buffer_is_refused_and_the_connection_stays_usable(tmp_path):
    async with Desk(tmp_path, push_buffer_bytes=1024 * 1024) as desk:
        await desk.start("cs1")
        large = bytes(1024 * 1024 + 1)
        stream = await desk.bulk("cs1")
        await stream.write(push_header(DataId(client=1, number=1), large, []) + large)
        reply = await read_header(stream, PushReply)
        assert (reply.failed, reply.error_kind) == ("cs1", "InvalidRequest")
        await stream.write(push_header(DataId(client=1, number=2), b"0123456789", []) + b"0123456789")
        assert list((await read_header(stream, PushReply)).stored) == ["cs1"]
        stream.abort()


async def test_a_push_to_a_server_without_space_is_refused_before_anything_is_written(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", reserve_bytes=1 << 60)
        _, reply = await desk.push(DATA, "cs1")
        assert (reply.failed, reply.error_kind) == ("cs1", "NoSpace")


async def test_a_next_server_that_accepts_and_then_stands_still_does_not_hold_the_push_for_ever(tmp_path):
    """As one that is paused: the kernel accepts and buffers for it, and nobody reads."""
    async with Desk(tmp_path, stall_seconds=0.3) as desk:
        await desk.start("cs1")
        stopped = asyncio.Event()

        async def stand_still(stream):
            await stopped.wait()

        listener = await desk.client.network.listen("127.0.0.1:0", stand_still)
        paused = Location(server="cs9", control_address="127.0.0.1:1", bulk_address=listener.address)
        data = bytes(24 * 1024 * 1024)  # More than the sockets hold.
        stream = await desk.bulk("cs1")
        await stream.write(push_header(DataId(client=1, number=1), data, [paused]))
        async with asyncio.timeout(10):
            await stream.write(data)
            reply = await read_header(stream, PushReply)
        assert (list(reply.stored), reply.failed, reply.error_kind) == (["cs1"], "cs9", "TimedOut")
        stopped.set()
        stream.abort()
        await listener.close()


async def test_a_sender_that_stands_still_does_not_hold_room_in_the_buffer_for_ever(tmp_path):
    async with Desk(tmp_path, stall_seconds=0.2) as desk:
        await desk.start("cs1")
        stream = await desk.bulk("cs1")
        await stream.write(push_header(DataId(client=1, number=1), DATA, []) + DATA[:1000])
        counters = desk.servers["cs1"].counters
        await until(lambda: counters()["push_buffer_bytes"] > 0)
        await until(lambda: counters()["push_buffer_bytes"] == 0)
        stream.abort()
