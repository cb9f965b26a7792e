"""GFS 5.2: each chunkserver verifies its own copy, with 32-bit checksums of 64 KB blocks."""

import random

import pytest

from runtime.errors import MutationFailed, TabletopError
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import BLOCK, Desk, until

DATA = random.Random(8).randbytes(4 * BLOCK)


async def one_chunk(desk: Desk, *names: str) -> None:
    await desk.start(*names)
    await desk.grant(7, *names)
    for begin in range(0, len(DATA), BLOCK):
        await desk.write("cs1", 7, begin, DATA[begin : begin + BLOCK])


@pytest.mark.parametrize(
    ("offset", "length"),
    [(BLOCK, BLOCK), (2 * BLOCK - 1, 1), (0, 4 * BLOCK), (BLOCK - 1, 2), (2 * BLOCK - 1, 2)],
)
async def test_a_read_verifies_every_block_that_overlaps_its_range_before_a_byte_leaves(tmp_path, offset, length):
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        desk.flip("cs1", 7, BLOCK + 17)
        reply, payload = await desk.read("cs1", 7, offset, length)
        assert (reply.error_kind, payload) == ("Corrupted", b"")


async def test_blocks_beside_a_damaged_one_are_served(tmp_path):
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        desk.flip("cs1", 7, BLOCK + 17)
        assert (await desk.read("cs1", 7, 0, BLOCK))[1] == DATA[:BLOCK]
        assert (await desk.read("cs1", 7, 2 * BLOCK, 2 * BLOCK))[1] == DATA[2 * BLOCK :]


async def test_corruption_does_not_propagate_to_another_machine(tmp_path):
    """ "Chunkservers will not propagate corruptions to other machines": not by a read, and not by a copy."""
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        await desk.start("cs2")
        desk.flip("cs1", 7, BLOCK + 17)
        with pytest.raises(TabletopError):
            await desk.clone("cs2", 7, 1, desk.location("cs1"))
        reply = await desk.stub("cs2").GetChunkStates(wire.ChunkStatesRequest(handles=[7]), timeout=5)
        assert not reply.states


async def test_a_mismatch_is_an_error_for_the_reader_and_a_report_to_the_master(tmp_path):
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        desk.flip("cs1", 7, 3 * BLOCK)
        assert (await desk.read("cs1", 7, 3 * BLOCK, 10))[0].error_kind == "Corrupted"
        await until(lambda: bool(desk.master.reports))
        report = desk.master.reports[0]
        assert (report.server, report.handle, report.version, report.block) == ("cs1", 7, 1, 3)
        assert report.incarnation == desk.master.registrations[0].incarnation


async def test_an_append_continues_the_checksum_so_that_old_damage_is_found_by_the_next_read(tmp_path):
    """ "Even if the last partial checksum block is already corrupted and we fail to detect it now, the new checksum
    value will not match the stored data"."""
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"a" * 100)
        desk.flip("cs1", 7, 50)
        await desk.write("cs1", 7, 100, b"b" * 100)  # Not noticed here.
        assert (await desk.read("cs1", 7, 0, 200))[0].error_kind == "Corrupted"
        assert (await desk.read("cs1", 7, 150, 10))[0].error_kind == "Corrupted"


@pytest.mark.parametrize("offset", [BLOCK + 100, 2 * BLOCK - 50], ids=["first block", "last block"])
async def test_an_overwrite_verifies_the_blocks_that_it_changes_in_part(tmp_path, offset):
    """ "If we do not verify the first and last blocks before overwriting them partially, the new checksums may hide
    corruption that exists in the regions not being overwritten"."""
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        rotten = (BLOCK if offset < 2 * BLOCK - 50 else 2 * BLOCK) + (17 if offset < 2 * BLOCK - 50 else 60_000)
        desk.flip("cs1", 7, rotten)
        with pytest.raises(TabletopError):
            await desk.write("cs1", 7, offset, b"x" * 100)
        assert (await desk.read("cs1", 7, rotten, 1))[0].error_kind == "Corrupted"


async def test_an_overwrite_of_a_whole_block_needs_nothing_of_the_old_one_and_heals_it(tmp_path):
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        desk.flip("cs1", 7, BLOCK + 17)
        await desk.write("cs1", 7, BLOCK, b"n" * BLOCK)
        assert (await desk.read("cs1", 7, 0, 4 * BLOCK))[1] == DATA[:BLOCK] + b"n" * BLOCK + DATA[2 * BLOCK :]


async def test_replicas_are_verified_independently(tmp_path):
    """Rot on one replica does not stop readers of another, nor writers who do not touch the block."""
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1", "cs2")
        desk.flip("cs2", 7, BLOCK + 17)
        assert (await desk.read("cs1", 7, 0, 4 * BLOCK))[1] == DATA
        await desk.write("cs1", 7, 3 * BLOCK + 5, b"fine")
        with pytest.raises(MutationFailed):
            await desk.write("cs1", 7, BLOCK + 5, b"no")


async def test_inactive_chunks_are_verified_in_idle_time(tmp_path):
    async with Desk(tmp_path) as desk:
        await one_chunk(desk, "cs1")
        await desk.stop("cs1")
        desk.flip("cs1", 7, 2 * BLOCK + 1)
        await desk.start("cs1", scrub_bytes_per_second=1 << 30)
        await until(lambda: bool(desk.master.reports))
        assert desk.master.reports[0].block == 2
