"""Bulk streams are alike in both worlds: bytes, ends, aborts, files, and nobody at home."""

import asyncio

import pytest

from runtime.errors import Conflict, InvalidRequest, Unavailable
from tests.conformance.both_worlds import in_both_worlds, settled


async def listening(place, world, serve):
    """A listener at the node."""
    return await place.on(world, world.network.listen(place.address(world), serve))


async def mirror(stream):
    """Send back what comes, ten bytes at a time."""
    while True:
        await stream.write(await stream.read_exactly(10))


@in_both_worlds
async def test_bytes_come_back(place, desk):
    listener = await listening(place, place.node("server"), mirror)
    stream = await desk.network.connect(listener.address)
    await stream.write(b"0123456789")
    await stream.write(memoryview(b"abcde"))
    await stream.write(bytearray(b"fghij"))
    assert await stream.read_exactly(4) == b"0123"
    target = bytearray(16)
    await stream.read_into(memoryview(target))
    assert bytes(target) == b"456789abcdefghij"
    assert listener.address in stream.peer
    await stream.close()
    await stream.close()


@in_both_worlds
async def test_a_buffer_may_be_reused_after_a_write(place, desk):
    listener = await listening(place, place.node("server"), mirror)
    stream = await desk.network.connect(listener.address)
    buffer = bytearray(b"0123456789")
    await stream.write(buffer)
    buffer[:] = b"----------"
    assert await stream.read_exactly(10) == b"0123456789"


@in_both_worlds
async def test_a_clean_end_is_eof_before_the_first_byte_and_unavailable_after_it(place, desk):
    async def five(stream):
        await stream.write(b"12345")

    listener = await listening(place, place.node("server"), five)
    stream = await desk.network.connect(listener.address)
    assert await stream.read_exactly(5) == b"12345"
    with pytest.raises(EOFError):
        await stream.read_exactly(1)
    again = await desk.network.connect(listener.address)
    with pytest.raises(Unavailable, match="in the middle"):
        await again.read_exactly(6)
    third = await desk.network.connect(listener.address)
    with pytest.raises(Unavailable, match="in the middle"):
        await third.read_into(memoryview(bytearray(6)))


@in_both_worlds
async def test_what_was_written_before_a_close_arrives(place, desk):
    received = []

    async def collect(stream):
        try:
            while True:
                received.append(await stream.read_exactly(1000))
        finally:
            received.append(b"end")

    listener = await listening(place, place.node("server"), collect)
    stream = await desk.network.connect(listener.address)
    for number in range(20):
        await stream.write(bytes([number]) * 1000)
    await stream.close()
    await settled(lambda: received[-1:] == [b"end"])
    assert received[:-1] == [bytes([number]) * 1000 for number in range(20)]


@in_both_worlds
async def test_an_abort_is_unavailable_on_the_other_side(place, desk):
    async def hang_up(stream):
        await stream.read_exactly(1)
        stream.abort()

    listener = await listening(place, place.node("server"), hang_up)
    stream = await desk.network.connect(listener.address)
    await stream.write(b"x")
    with pytest.raises(Unavailable):
        await stream.read_exactly(1)


@in_both_worlds
async def test_writing_to_someone_who_is_gone_is_unavailable(place, desk):
    async def hang_up(stream):
        stream.abort()

    listener = await listening(place, place.node("server"), hang_up)
    stream = await desk.network.connect(listener.address)
    with pytest.raises(Unavailable):
        for _ in range(1000):
            await stream.write(b"x" * 1000)
            await asyncio.sleep(0.005)


@in_both_worlds
async def test_nobody_listening_is_unavailable_and_definite(place, desk):
    world = place.node("server")
    listener = await listening(place, world, mirror)
    await place.on(world, listener.close())
    with pytest.raises(Unavailable) as caught:
        await desk.network.connect(listener.address)
    assert caught.value.definite


@in_both_worlds
async def test_streams_outlive_their_listener(place, desk):
    world = place.node("server")
    listener = await listening(place, world, mirror)
    stream = await desk.network.connect(listener.address)
    await stream.write(b"0123456789")
    assert await stream.read_exactly(10) == b"0123456789"
    await place.on(world, listener.close())
    await stream.write(b"9876543210")
    assert await stream.read_exactly(10) == b"9876543210"


@in_both_worlds
async def test_a_part_of_a_file_is_sent(place, desk):
    content = bytes(range(256)) * 4000
    world = place.node("server")

    async def prepare():
        file = await world.disk.open("data", "create")
        await file.write_at(0, content)
        return file

    file = await place.on(world, prepare())

    async def send(stream):
        await stream.send_file(file, 1000, 1_000_000)

    listener = await listening(place, world, send)
    stream = await desk.network.connect(listener.address)
    target = bytearray(1_000_000)
    await stream.read_into(memoryview(target))
    assert bytes(target) == content[1000:1_001_000]
    with pytest.raises(EOFError):
        await stream.read_exactly(1)


@in_both_worlds
async def test_a_file_shorter_than_announced_ends_the_stream(place, desk):
    world = place.node("server")
    errors = []

    async def prepare():
        file = await world.disk.open("data", "create")
        await file.write_at(0, b"12345")
        return file

    file = await place.on(world, prepare())

    async def send(stream):
        try:
            await stream.send_file(file, 0, 10)
        except Unavailable as error:
            errors.append(str(error))
            raise

    listener = await listening(place, world, send)
    stream = await desk.network.connect(listener.address)
    with pytest.raises(Unavailable, match="in the middle"):
        await stream.read_exactly(10)
    assert "5 bytes before what was announced" in errors[0]


@in_both_worlds
async def test_a_reader_that_does_not_read_stops_the_writer(place, desk):
    written = []
    go_on = asyncio.Event()

    async def lazy(stream):
        await go_on.wait()
        while True:
            await stream.read_exactly(1_000_000)

    listener = await listening(place, place.node("server"), lazy)
    stream = await desk.network.connect(listener.address)

    async def write():
        for number in range(64):
            await stream.write(b"x" * 1_000_000)
            written.append(number)

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.5)
    assert len(written) < 64
    go_on.set()
    await writing
    await stream.close()


@in_both_worlds
async def test_many_streams_at_once(place, desk):
    listener = await listening(place, place.node("server"), mirror)

    async def one(number):
        stream = await desk.network.connect(listener.address)
        message = f"{number:010}".encode()
        await stream.write(message)
        assert await stream.read_exactly(10) == message
        await stream.close()

    await asyncio.gather(*(one(number) for number in range(20)))


@in_both_worlds
async def test_a_taken_port_is_a_conflict_and_a_bad_address_invalid(place, desk):
    world = place.node("server")
    listener = await listening(place, world, mirror)
    with pytest.raises(Conflict):
        await place.on(world, world.network.listen(listener.address, mirror))
    with pytest.raises(InvalidRequest):
        await place.on(world, world.network.listen("nowhere", mirror))
    with pytest.raises(InvalidRequest):
        await desk.network.connect("nowhere")
