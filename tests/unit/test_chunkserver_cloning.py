"""Copies from another server (GFS 4.3), and idle verification (GFS 5.2)."""

import random

import pytest

from runtime.errors import Corrupted, NotFound, StaleVersion, Unavailable
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import BLOCK, Desk, until

DATA = random.Random(4).randbytes(3 * BLOCK + 77)


async def source_and_destination(desk: Desk, version: int = 3) -> None:
    await desk.start("cs1", "cs2")
    await desk.grant(7, "cs1", after=version)
    for begin in range(0, len(DATA), BLOCK):
        await desk.write("cs1", 7, begin, DATA[begin : begin + BLOCK], version=version)


async def clone(desk: Desk, version: int = 3, bytes_per_second: int = 0):
    told = await desk.clone("cs2", 7, version, desk.location("cs1"), bytes_per_second=bytes_per_second)
    return told[-1].done


async def test_a_copy_has_the_bytes_and_the_version_of_its_source_and_survives_a_restart(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        state = await clone(desk)
        assert (state.handle, state.version, state.length) == (7, 3, len(DATA))
        assert (await desk.read("cs2", 7, 0, 4 * BLOCK, version=3))[1] == DATA
        await desk.stop("cs2")
        await desk.start("cs2")
        assert (await desk.read("cs2", 7, 0, 4 * BLOCK, version=3))[1] == DATA


async def test_a_copy_can_be_written_like_any_replica(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        await clone(desk)
        await desk.grant(7, "cs2", "cs1", before=3, after=4)
        await desk.write("cs2", 7, len(DATA), b"more", version=4)
        await desk.write("cs2", 7, 10, b"within", version=4)
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7)
        assert (await desk.read("cs2", 7, 0, 4 * BLOCK, version=4))[1] == desk.stored("cs1", 7)


async def test_an_empty_chunk_can_be_copied_and_a_copy_asked_for_again_is_there(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", after=3)
        for _ in range(2):
            assert (await clone(desk)).length == 0


async def test_a_source_with_another_version_or_without_the_chunk_leaves_nothing_behind(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        with pytest.raises(StaleVersion):
            await clone(desk, version=4)
        with pytest.raises(NotFound):
            await desk.clone("cs2", 9, 1, desk.location("cs1"))
        reply = await desk.stub("cs2").GetChunkStates(wire.ChunkStatesRequest(handles=[7, 9]), timeout=5)
        assert not reply.states
        assert list((tmp_path / "cs2" / "incoming").iterdir()) == []


async def test_damage_at_the_source_is_not_copied_and_is_reported_by_the_source(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        desk.flip("cs1", 7, 2 * BLOCK + 5)
        with pytest.raises(Corrupted):
            await clone(desk)
        assert list((tmp_path / "cs2" / "incoming").iterdir()) == []
        await until(lambda: bool(desk.master.reports))
        assert (desk.master.reports[0].server, desk.master.reports[0].block) == ("cs1", 2)


async def test_a_source_that_is_gone_is_an_error_and_leaves_nothing_behind(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        source = desk.location("cs1")
        await desk.stop("cs1")
        with pytest.raises(Unavailable):
            await desk.clone("cs2", 7, 3, source)
        assert list((tmp_path / "cs2" / "incoming").iterdir()) == []


async def test_a_copy_takes_at_least_the_time_that_its_limit_demands(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        clock = desk.client.clock
        began = clock.now()
        await clone(desk, bytes_per_second=4 * len(DATA))
        assert clock.now() - began >= 0.25  # The only direction that no slow machine can break.


async def test_the_scrubber_finds_rot_that_nobody_reads(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        await desk.stop("cs1")
        desk.flip("cs1", 7, BLOCK + 1)
        await desk.start("cs1", scrub_bytes_per_second=1 << 30)
        await until(lambda: bool(desk.master.reports))
        report = desk.master.reports[0]
        assert (report.server, report.handle, report.version, report.block) == ("cs1", 7, 3, 1)
