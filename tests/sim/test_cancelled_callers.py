"""A call that its caller gives up (a timeout, Ctrl-C) costs the file nothing: what was taken is written, what is read
is right, and nobody but the cancelled caller sees a CancelledError (GFS 2.3, 3.1)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gfs.file import File, FileMode
from gfs.settings import ClientSettings
from runtime.errors import MutationFailed
from tests.sim.small_clusters import BLOCK, CHUNK_BYTES, SmallCluster, outcome, play, wait

FIRST, SECOND = b"A" * 30_000, b"B" * 300_000
BODY = b"".join(bytes([number]) * 16 * 1024 for number in range(64))
WRITING: list[FileMode] = ["wb", "xb", "ab", "r+b"]


@asynccontextmanager
async def out_of_reach(cluster: SmallCluster, client: int, nodes: list[str]) -> AsyncIterator[None]:
    heal = cluster.simulation.partition([f"client{client}"], nodes)
    try:
        yield
    finally:
        heal()


async def give_up(work: Awaitable[Any], seconds: float = 1.0) -> None:
    """Wait for it no longer than this."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


async def opened(cluster: SmallCluster, mode: FileMode) -> File:
    if mode == "r+b":
        await cluster.client(1).create("/a")
    return await cluster.client(1).open("/a", mode)


@pytest.mark.parametrize("mode", WRITING)
def test_what_a_cancelled_flush_was_about_to_send_is_sent_by_the_next_one(mode: FileMode):
    async def story(cluster: SmallCluster) -> None:
        file = await opened(cluster, mode)
        await file.write(FIRST)
        async with out_of_reach(cluster, 1, ["master"]):
            await give_up(file.flush())
        await file.write(b"C" * 1000)
        await file.flush()
        await file.close()
        assert await cluster.found("/a") == FIRST + b"C" * 1000

    play(1, story)


@pytest.mark.parametrize("mode", WRITING)
def test_a_cancelled_write_that_is_repeated_loses_nothing_of_the_one_before(mode: FileMode):
    async def story(cluster: SmallCluster) -> None:
        file = await opened(cluster, mode)
        await file.write(FIRST)
        async with out_of_reach(cluster, 1, ["master"]):
            await give_up(file.write(SECOND))
        assert file.tell() == len(FIRST)
        await file.write(SECOND)
        await file.close()
        assert await cluster.found("/a") == FIRST + SECOND

    play(1, story)


@pytest.mark.parametrize("moments", range(1, 40, 3))
def test_a_write_that_is_cancelled_at_any_moment_and_repeated_gives_the_same_file(moments: int):
    """Pieces that wait for room in the window, for a chunk, for the piece before them."""

    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "xb")
        await file.write(FIRST)
        for times in range(1, 4):
            await outcome_or_time(file.write(SECOND), 0.0007 * moments * times)
            await outcome_or_time(file.flush(), 0.0005 * moments)
            await file.seek(len(FIRST))
        await file.write(SECOND)
        await file.close()
        assert await cluster.found("/a") == FIRST + SECOND

    play(moments, story, client_settings=ClientSettings(write_piece_bytes=BLOCK, inline_bytes=0))


async def outcome_or_time(work: Awaitable[Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass


@pytest.mark.parametrize("mode", WRITING)
def test_a_piece_that_is_under_way_outlives_the_caller_that_waited_for_it(mode: FileMode):
    async def story(cluster: SmallCluster) -> None:
        file = await opened(cluster, mode)
        await file.pwrite(0, b"A" * 1000)
        async with out_of_reach(cluster, 1, cluster.chunkservers()):
            await give_up(file.pwrite(1000, b"B" * 1000))
        await file.flush()
        assert await file.length() == 2000
        await file.pwrite(1500, b"C" * 1000)
        await file.close()
        assert await cluster.found("/a") == b"A" * 1000 + b"B" * 500 + b"C" * 1000

    play(1, story)


def test_a_cancelled_source_keeps_the_buffer_that_it_may_still_be_filling():
    handed_out: list[memoryview] = []

    async def endless(buffer: memoryview) -> int:
        handed_out.append(buffer)
        await wait(10)
        return 0

    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "wb")
        await file.write(FIRST)
        await give_up(file.write_from(endless))
        await file.write(FIRST)
        handed_out[0][:1000] = b"!" * 1000
        await file.close()
        assert await cluster.found("/a") == FIRST + FIRST

    play(1, story)


def test_a_source_is_asked_for_more_after_a_flush_of_a_full_buffer_was_cancelled():
    left = [FIRST, b""]

    async def source(buffer: memoryview) -> int:
        data = left.pop(0)
        buffer[: len(data)] = data
        return len(data)

    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "wb")
        async with out_of_reach(cluster, 1, ["master"]):
            await give_up(file.write(bytearray(b"D" * CHUNK_BYTES)))
        await file.seek(CHUNK_BYTES)
        assert await file.write_from(source) == len(FIRST)
        await file.close()
        assert await cluster.found("/a") == b"D" * CHUNK_BYTES + FIRST

    play(1, story)


def test_a_writer_whose_file_is_abandoned_by_somebody_else_is_told_so():
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "r+b")
        await file.write(FIRST)
        async with out_of_reach(cluster, 1, cluster.chunkservers()):
            flushing = asyncio.create_task(outcome(file.flush()))
            await wait(1)
            await cluster.client(1).close()
            error = await flushing
        assert isinstance(error, MutationFailed) and not error.definite and "given up" in error.message

    async def begin(cluster: SmallCluster) -> None:
        await cluster.client(2).write_file("/a", b"there")
        await story(cluster)

    play(1, begin)


def test_a_read_that_is_cancelled_while_it_waits_is_followed_by_reads_of_the_right_bytes():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        async with await cluster.client(2).open("/a") as file:
            read = b"".join([await file.read(16 * 1024) for _ in range(3)])
            async with out_of_reach(cluster, 2, cluster.chunkservers()):
                await give_up(file.read(len(BODY)))
            assert file.tell() == len(read)
            while data := await file.read(16 * 1024):
                read += data
        assert read == BODY

    play(1, story)


@pytest.mark.parametrize("pieces", range(4))
def test_a_read_that_is_cancelled_when_a_piece_arrives_is_followed_by_reads_of_the_right_bytes(pieces: int):
    """The pieces before that one had been taken from the stream; nobody was given them."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        file = await cluster.client(2).open("/a")
        read = b"".join([await file.read(16 * 1024) for _ in range(3)])
        await cancel_when_it_waits_for(file, pieces, file.read(600 * 1024))
        assert file.tell() == len(read)
        while data := await file.read(16 * 1024):
            read += data
        assert read == BODY

    play(1, story, client_settings=ClientSettings(read_piece_bytes=BLOCK, read_window=2))


async def cancel_when_it_waits_for(file: File, pieces: int, work: Awaitable[Any]) -> None:
    """Cancel a reader in the turn of the loop in which this piece of its stream has arrived."""
    reading = asyncio.ensure_future(work)
    arrived, next_piece = 0, file._reader.read_piece

    async def read_piece(*arguments: Any) -> int:
        nonlocal arrived
        count = await next_piece(*arguments)
        arrived += 1
        if arrived == pieces + 1:
            asyncio.current_task().add_done_callback(lambda _: reading.cancel())  # type: ignore[union-attr]
        return count

    file._reader.read_piece = read_piece  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await reading
    file._reader.read_piece = next_piece  # type: ignore[method-assign]


@pytest.mark.parametrize("mode", ["wb", "xb"])
def test_a_cancelled_close_abandons_the_file_though_it_is_cancelled_again(mode: FileMode):
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", mode)
        await file.write(FIRST)
        async with out_of_reach(cluster, 1, cluster.chunkservers()):
            closing = asyncio.create_task(file.close())
            await wait(1)
            closing.cancel()
            for _ in range(100):
                if not file.closed:
                    await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
        assert file.closed
        await file.abandon()
        assert not [status.path for status in await cluster.client(2).list("/")]

    play(1, story)


@pytest.mark.parametrize("moment", [0.0002 * number for number in range(1, 30, 2)])
@pytest.mark.parametrize("mode", ["whole", "xb"])
def test_who_gives_up_the_creation_of_a_file_leaves_none(mode: str, moment: float):
    async def create_and_write(cluster: SmallCluster) -> None:
        if mode == "whole":
            await cluster.client(1).write_file("/a", FIRST)
            return
        async with await cluster.client(1).open("/a", "xb") as file:
            await file.write(FIRST)

    async def story(cluster: SmallCluster) -> None:
        try:
            async with asyncio.timeout(moment):
                await create_and_write(cluster)
        except TimeoutError:
            assert await cluster.client(2).list("/") == []
        else:
            assert await cluster.found("/a") == FIRST

    play(1, story)


def test_a_creation_that_was_given_up_while_the_master_was_out_of_reach_leaves_no_file():
    async def story(cluster: SmallCluster) -> None:
        heal = cluster.simulation.partition(["client1"], ["master"])
        creating = asyncio.ensure_future(cluster.client(1).write_file("/a", FIRST))
        await wait(1)
        creating.cancel()
        await wait(1)
        heal()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert await cluster.client(2).list("/") == []

    play(1, story)
