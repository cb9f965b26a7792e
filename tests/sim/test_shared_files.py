"""Several tasks, or threads of the synchronous face, use one open file: its calls come one after the other."""

import asyncio

import pytest

from gfs.settings import ClientSettings
from runtime.errors import InvalidRequest
from tests.sim.small_clusters import BLOCK, SmallCluster, play

PARTS = [bytes([number]) * 10_000 for number in range(1, 61)]
PIECES = ClientSettings(write_piece_bytes=BLOCK, inline_bytes=0)


def test_each_write_has_a_place_of_its_own():
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "xb")
        await asyncio.gather(*(file.write(part) for part in PARTS))
        assert file.tell() == 600_000
        await file.close()
        assert await cluster.found("/a") == b"".join(PARTS)

    play(1, story, client_settings=PIECES)


def test_a_write_to_a_place_that_is_acknowledged_is_there():
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "xb")
        places = [(number * 7 % 60) * 10_000 for number in range(60)]
        await asyncio.gather(*(file.pwrite(place, PARTS[place // 10_000]) for place in places))
        assert await cluster.found("/a") == b"".join(PARTS)
        await file.close()

    play(1, story, client_settings=PIECES)


def test_each_read_gives_other_bytes_of_the_file():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", b"".join(PARTS))
        file = await cluster.client(1).open("/a")
        assert await asyncio.gather(*(file.read(10_000) for _ in PARTS)) == PARTS
        assert await file.read() == b""

    play(1, story)


def test_reads_and_writes_and_looks_at_the_end_may_be_mixed():
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "xb")
        await file.write(b"".join(PARTS))
        await file.close()
        file = await cluster.client(1).open("/a", "r+b")
        reads = [file.read(10_000) for _ in PARTS]
        writes = [file.pwrite(place * 10_000, part) for place, part in enumerate(PARTS)]
        looks = [file.length() for _ in PARTS]
        mixed = [call for three in zip(reads, writes, looks, strict=True) for call in three]
        found = await asyncio.gather(*mixed)
        assert (found[0::3], set(found[2::3])) == (PARTS, {600_000})
        await file.close()

    play(1, story, client_settings=PIECES)


def test_a_file_that_is_closed_meanwhile_has_all_that_was_asked_for_before():
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "wb")
        writes = [asyncio.ensure_future(file.write(part)) for part in PARTS]
        await asyncio.sleep(0)
        await asyncio.gather(file.close(), file.close())
        assert [await write for write in writes] == [10_000] * 60
        assert await cluster.found("/a") == b"".join(PARTS)

    play(1, story, client_settings=PIECES)


def test_a_source_that_uses_the_file_it_fills_is_refused():
    async def story(cluster: SmallCluster) -> None:
        file = await cluster.client(1).open("/a", "xb")

        async def source(buffer: memoryview) -> int:
            return await file.length()

        with pytest.raises(InvalidRequest, match="from within another one"):
            await file.write_from(source)
        await file.write(b"whole")
        await file.close()
        assert await cluster.found("/a") == b"whole"

    play(1, story)
