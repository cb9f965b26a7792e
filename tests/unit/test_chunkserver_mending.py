"""Blocks that are damaged here are taken from other servers, if a checksum says that they are the right ones."""

import asyncio
import random

import pytest

from chunkserver.storage.block_mender import BlockMender
from chunkserver.storage.chunk_files import data_path
from chunkserver.storage.opening import open_store
from runtime.errors import NotFound, StaleVersion
from tests.unit.chunkserver_support import (
    BLOCK,
    CHUNK_BYTES,
    Desk,
    DyingDisk,
    Killed,
    Moment,
    new_world,
    settings,
    until,
)

DATA = random.Random(7).randbytes(3 * BLOCK + 77)
HANDLE = 7


async def alike(desk: Desk, *names: str) -> None:
    """The same replica on all of them, and nobody writes it any more."""
    await desk.start(*names)
    await desk.grant(HANDLE, *names)
    for begin in range(0, len(DATA), BLOCK):
        await desk.write(names[0], HANDLE, begin, DATA[begin : begin + BLOCK])
    assert len((await desk.revoke(names[0], (HANDLE, 1))).states) == 1


async def lose_power(desk: Desk, *names: str) -> None:
    for name in names:
        await desk.stop(name)
        desk.boot_ids[name] = "after a loss of power"
        desk.master.registrations.clear()
        await desk.start(name)


def others(desk: Desk, *names: str):
    return [desk.location(name) for name in names]


async def test_a_block_is_salvaged_from_a_replica_of_any_version_sure_or_unsure(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1")
        for _ in range(2):
            reply, data = await desk.salvage("cs1", HANDLE, 3 * BLOCK)
            assert (data, reply.version, reply.chunk_length) == (DATA[3 * BLOCK :], 1, len(DATA))
            assert (await desk.salvage("cs1", HANDLE, BLOCK))[1] == DATA[BLOCK : 2 * BLOCK]
            await lose_power(desk, "cs1")
        assert (await desk.salvage("cs1", HANDLE, 4 * BLOCK))[1] == b""


async def test_a_block_that_does_not_match_its_checksum_is_not_salvaged_nor_anything_but_one_block(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1")
        desk.flip("cs1", HANDLE, BLOCK + 5)
        assert (await desk.salvage("cs1", HANDLE, BLOCK))[0].error_kind == "Corrupted"
        assert (await desk.salvage("cs1", HANDLE, 0))[1] == DATA[:BLOCK]
        assert (await desk.salvage("cs1", HANDLE, 5))[0].error_kind == "InvalidRequest"
        assert (await desk.salvage("cs1", HANDLE, 0, 2 * BLOCK))[0].error_kind == "InvalidRequest"
        assert (await desk.salvage("cs1", 99, 0))[0].error_kind == "NotFound"


async def test_a_damaged_block_is_taken_from_a_replica_of_an_older_version(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2")
        await desk.grant(HANDLE, "cs1", before=1, after=2)
        await desk.write("cs1", HANDLE, len(DATA), b"newer", version=2)
        desk.flip("cs1", HANDLE, 5)
        desk.flip("cs1", HANDLE, 2 * BLOCK + 5)
        reply = await desk.mend("cs1", HANDLE, 2, *others(desk, "cs2"))
        assert (reply.mended_blocks, reply.left_blocks, reply.state.damaged) == (2, 0, False)
        assert desk.stored("cs1", HANDLE) == DATA + b"newer"
        assert (await desk.read("cs1", HANDLE, 0, 4 * BLOCK, version=2))[1] == DATA + b"newer"
        events = [record.event for record in desk.worlds["cs1"].events.sink.records]
        (told,) = [event for event in events if type(event).__name__ == "BlocksMended"]
        assert (told.mended, told.left, told.sources) == (2, 0, ("cs2",))
        await until(lambda: len(desk.master.reports) == 2)
        await desk.write("cs1", HANDLE, 2, b"it can be written", version=2)


async def test_a_tail_that_has_grown_elsewhere_is_cut_to_what_it_has_here(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2")
        await desk.grant(HANDLE, "cs2", before=1, after=2)
        await desk.write("cs2", HANDLE, len(DATA), b"more", version=2)
        desk.flip("cs1", HANDLE, 3 * BLOCK + 5)
        reply = await desk.mend("cs1", HANDLE, 1, *others(desk, "cs2"))
        assert reply.mended_blocks == 1 and desk.stored("cs1", HANDLE) == DATA


async def test_a_sure_replica_refuses_other_bytes_whatever_their_version(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2", "cs3")
        await desk.grant(HANDLE, "cs2", "cs3", before=1, after=2)
        await desk.write("cs2", HANDLE, 100, b"overwritten", version=2)
        desk.flip("cs3", HANDLE, 5)
        desk.flip("cs1", HANDLE, 5)
        rotten = desk.stored("cs1", HANDLE)
        reply = await desk.mend("cs1", HANDLE, 1, *others(desk, "cs2", "cs3"))
        assert (reply.mended_blocks, reply.left_blocks, reply.state.damaged) == (0, 1, True)
        assert desk.stored("cs1", HANDLE) == rotten
        assert (await desk.read("cs1", HANDLE, 0, 10))[0].error_kind == "Corrupted"


@pytest.mark.parametrize("is_open", (False, True))
async def test_a_data_file_that_is_gone_is_put_together_again(tmp_path, is_open):
    """The metadata is whole, and says what every block has to hold."""
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2")
        if not is_open:
            await desk.stop("cs1")
        (tmp_path / "cs1" / data_path(HANDLE)).unlink()
        if not is_open:
            await desk.start("cs1")
        reply = await desk.mend("cs1", HANDLE, 1, *others(desk, "cs2"))
        assert (reply.mended_blocks, reply.left_blocks, reply.state.damaged) == (4, 0, False)
        assert desk.stored("cs1", HANDLE) == DATA


async def test_an_unsure_replica_takes_what_matches_its_own_checksum_before_what_is_whole_elsewhere(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2", "cs3")
        await desk.grant(HANDLE, "cs2", before=1, after=2)
        await desk.write("cs2", HANDLE, 100, b"overwritten", version=2)
        await lose_power(desk, "cs1", "cs2")
        desk.flip("cs1", HANDLE, 5)
        reply = await desk.mend("cs1", HANDLE, 1, *others(desk, "cs2", "cs3"))
        assert (reply.mended_blocks, reply.left_blocks, reply.state.unsure) == (1, 0, True)
        assert desk.stored("cs1", HANDLE) == DATA
        assert not (await desk.advance("cs1", HANDLE, 1, 2)).doubtful_blocks


async def test_an_unsure_replica_takes_a_block_that_is_whole_at_a_source_of_its_version(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2")
        await desk.grant(HANDLE, "cs2", before=1, after=2)
        await desk.write("cs2", HANDLE, 100, b"overwritten", version=2)
        await lose_power(desk, "cs1", "cs2")
        desk.flip("cs1", HANDLE, 5)
        assert (await desk.advance("cs1", HANDLE, 1, 2)).doubtful_blocks == 1
        reply = await desk.mend("cs1", HANDLE, 2, *others(desk, "cs2"))
        assert (reply.mended_blocks, reply.left_blocks, reply.state.unsure) == (1, 0, True)
        assert desk.stored("cs1", HANDLE) == desk.stored("cs2", HANDLE)
        ours, theirs = [await desk.advance(name, HANDLE, 2, 3) for name in ("cs1", "cs2")]
        assert ours.digest == theirs.digest and not ours.doubtful_blocks
        await desk.stop("cs1")
        await desk.start("cs1")
        again = await desk.advance("cs1", HANDLE, 3, 3)
        assert again.state.unsure and again.digest == ours.digest and not again.doubtful_blocks


@pytest.mark.parametrize("order", [("cs2", "cs3"), ("cs3", "cs2")])
async def test_of_blocks_that_are_whole_elsewhere_an_unsure_replica_takes_that_of_the_furthest_source(tmp_path, order):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2", "cs3")
        await desk.grant(HANDLE, "cs2", before=1, after=2)
        await desk.write("cs2", HANDLE, 100, b"acknowledged", version=2)
        await desk.grant(HANDLE, "cs3", before=1, after=2)
        await desk.write("cs3", HANDLE, 100, b"acknowledged", version=2)
        await desk.write("cs3", HANDLE, 200, b"and this too", version=2)
        await lose_power(desk, "cs1", "cs2", "cs3")
        desk.flip("cs1", HANDLE, 5)
        await desk.advance("cs1", HANDLE, 1, 2)
        reply = await desk.mend("cs1", HANDLE, 2, *others(desk, *order))
        assert (reply.mended_blocks, reply.left_blocks) == (1, 0)
        assert desk.stored("cs1", HANDLE) == desk.stored("cs3", HANDLE)


async def test_an_unsure_replica_takes_no_block_of_an_older_version_but_by_its_own_checksum(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2")
        await desk.grant(HANDLE, "cs1", before=1, after=2)
        await desk.write("cs1", HANDLE, 100, b"overwritten", version=2)
        await lose_power(desk, "cs1")
        desk.flip("cs1", HANDLE, 5)
        desk.flip("cs1", HANDLE, BLOCK + 5)
        reply = await desk.mend("cs1", HANDLE, 2, *others(desk, "cs2"))
        assert (reply.mended_blocks, reply.left_blocks) == (1, 1)
        assert desk.stored("cs1", HANDLE)[BLOCK:] == DATA[BLOCK:]


async def test_a_source_that_is_gone_is_passed_over_and_two_orders_come_one_after_the_other(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1", "cs2")
        gone = desk.location("cs2")
        gone.server, gone.bulk_address = "cs9", "127.0.0.1:1"
        for block in range(3):
            desk.flip("cs1", HANDLE, block * BLOCK + 5)
        orders = [desk.mend("cs1", HANDLE, 1, gone, *others(desk, "cs1", "cs2")) for _ in range(2)]
        replies = await asyncio.gather(*orders)
        assert sorted(reply.mended_blocks for reply in replies) == [0, 3]
        assert desk.stored("cs1", HANDLE) == DATA


async def test_what_is_not_here_or_older_than_asked_for_is_not_mended(tmp_path):
    async with Desk(tmp_path) as desk:
        await alike(desk, "cs1")
        with pytest.raises(StaleVersion):
            await desk.mend("cs1", HANDLE, 2)
        with pytest.raises(NotFound):
            await desk.mend("cs1", 99, 1)
        reply = await desk.mend("cs1", HANDLE, 1)
        assert (reply.mended_blocks, reply.left_blocks, reply.state.length) == (0, 0, len(DATA))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["before", "within", "after"])
async def test_a_kill_while_an_unsure_replica_is_mended_leaves_it_unsure_and_costs_no_other_block(tmp_path, share):
    rest, deaths = DATA[: 2 * BLOCK], 0
    while True:
        folder = tmp_path / str(deaths)
        folder.mkdir()
        store = (await open_store(before := new_world(folder), settings())).store
        await store.create(HANDLE, version=1, capacity=CHUNK_BYTES)
        await store.write(HANDLE, version=1, offset=0, data=memoryview(DATA))
        await store.close()
        await before.disk.unlock("")
        world = new_world(folder)
        world.boot_id = lambda: "after a loss of power"
        moment = Moment(share=share)
        store = (await open_store(world, settings())).store
        locked = world.disk
        world.disk = store._disk = store._open._disk = store.writer._disk = DyingDisk(folder, moment)
        store.block_writer._disk = world.disk
        path = next(folder.glob("chunks/*/*.data"))
        path.write_bytes(rest + bytes(len(DATA) - len(rest)))
        mender = BlockMender(world.disk, store, world.breathe)
        bad = await mender.bad_blocks(HANDLE)
        assert [one.block for one in bad] == [2, 3]
        whole = {one: b"x" * one.extent for one in bad}
        moment.changes, moment.fatal = 0, deaths + 1
        try:
            assert await mender.put(HANDLE, whole) == 2
            is_done = True
        except Killed:
            is_done = False
        await locked.unlock("")
        after = new_world(folder)
        after.boot_id = world.boot_id
        store = (await open_store(after, settings())).store
        state = store.state(HANDLE)
        assert state is not None and state.is_unsure and state.length == len(DATA)
        left = [one.block for one in await BlockMender(after.disk, store, after.breathe).bad_blocks(HANDLE)]
        assert set(left) <= {2, 3} and not (is_done and left)
        assert path.read_bytes()[: len(rest)] == rest
        await store.close()
        await after.disk.unlock("")
        if is_done:
            break
        deaths += 1
    assert deaths >= 4
