"""Copies from another server (GFS 4.3), and idle verification (GFS 5.2)."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

import pytest

from chunkserver.storage.chunk_files import metadata_path
from runtime.errors import Corrupted, DiskFailure, NotFound, StaleVersion, Unavailable
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import AUTHORITY, BLOCK, Desk, until

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


async def test_a_copy_takes_each_piece_from_the_first_source_that_gives_it(tmp_path):
    big = random.Random(5).randbytes(6 * BLOCK)
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2", "cs3")
        await desk.grant(7, "cs1", "cs3", after=3)
        for begin in range(0, len(big), BLOCK):
            await desk.write("cs1", 7, begin, big[begin : begin + BLOCK], version=3)
        desk.flip("cs1", 7, 2 * BLOCK + 5)
        gone = desk.location("cs3")
        gone.server, gone.bulk_address = "cs9", "127.0.0.1:1"
        told = await desk.clone("cs2", 7, 3, gone, desk.location("cs1"), desk.location("cs3"))
        assert told[-1].done.length == len(big) and desk.stored("cs2", 7) == big
        events = [record.event for record in desk.worlds["cs2"].events.sink.records]
        assert [event.source for event in events if type(event).__name__ == "ChunkCloned"] == ["cs3"]


async def test_a_copy_tells_that_it_comes_on_and_at_last_what_is_there(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        told = await desk.clone("cs2", 7, 3, desk.location("cs1"), bytes_per_second=2 * len(DATA))
        assert [step.HasField("done") for step in told] == [False] * (len(told) - 1) + [True] and len(told) >= 2
        assert all(step.total_bytes == len(DATA) for step in told)
        assert told[-2].copied_bytes == len(DATA)


async def test_a_caller_that_goes_away_ends_the_copy_and_nothing_of_it_is_left(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)

        async def first_step() -> None:
            request = wire.CloneRequest(
                handle=7, version=3, sources=[desk.location("cs1")], bytes_per_second=1, authority=AUTHORITY
            )
            async for _ in desk.stub("cs2").Clone(request, timeout=20):
                return

        await first_step()
        incoming = tmp_path / "cs2" / "incoming"
        await until(lambda: list(incoming.iterdir()) == [])
        assert desk.servers["cs2"]._store.state(7) is None
        assert (await clone(desk)).length == len(DATA)


@pytest.mark.parametrize("how", ["older", "damaged", "unsure"])
async def test_a_copy_replaces_a_replica_that_is_not_what_was_asked_for_in_one_step(tmp_path, how):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2", after=2)
        await desk.write("cs1", 7, 0, DATA[:BLOCK], version=2)
        if how == "older":
            await desk.grant(7, "cs1", before=2, after=3)
            await desk.write("cs1", 7, BLOCK, DATA[BLOCK:], version=3)
        elif how == "damaged":
            desk.flip("cs2", 7, 9)
            assert (await desk.read("cs2", 7, 0, 10, version=2))[0].error_kind == "Corrupted"
        else:
            await desk.stop("cs2")
            desk.boot_ids["cs2"] = "after a loss of power"
            await desk.start("cs2")
        version = 3 if how == "older" else 2
        reader = asyncio.create_task(desk.read("cs2", 7, 0, 1, version=2))
        assert (await clone(desk, version=version)).version == version
        await reader
        state = desk.servers["cs2"]._store.state(7)
        assert not state.is_unsure and not state.is_damaged
        assert (await desk.read("cs2", 7, 0, 4 * BLOCK, version=version))[1] == desk.stored("cs1", 7)
        desk.servers["cs2"].check_invariants()
        # Now it is what was asked for: the same order again copies nothing.
        before = desk.servers["cs2"].counters()["bytes_cloned"]
        assert (await clone(desk, version=version)).version == version
        assert desk.servers["cs2"].counters()["bytes_cloned"] == before


@contextlib.contextmanager
def moves_refused(disk: Any, pattern: str) -> Iterator[None]:
    """A disk that moves nothing to names of this pattern."""
    rename = disk.rename

    async def refuse(source: str, target: str) -> None:
        if fnmatchcase(target, pattern):
            raise DiskFailure("cannot rename: Input/output error")
        await rename(source, target)

    with patch.object(disk, "rename", refuse):
        yield


@contextlib.contextmanager
def syncs_refused(disk: Any) -> Iterator[None]:
    """A disk that syncs no directory of chunks."""
    sync_directory = disk.sync_directory

    async def refuse(path: str = "") -> None:
        if path.startswith("chunks/"):
            raise DiskFailure("cannot sync: Input/output error")
        await sync_directory(path)

    with patch.object(disk, "sync_directory", refuse):
        yield


async def test_a_copy_that_cannot_be_installed_is_not_lost_and_is_in_its_place_after_a_restart(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        with moves_refused(desk.worlds["cs2"].disk, "chunks/*meta"), pytest.raises(DiskFailure):
            await clone(desk)
        assert desk.servers["cs2"]._store.state(7) is None
        await desk.stop("cs2")
        await desk.start("cs2")
        assert (await desk.read("cs2", 7, 0, 4 * BLOCK, version=3))[1] == DATA


@pytest.mark.parametrize("has_older", [False, True])
@pytest.mark.parametrize("refused", ["data", "meta", "sync"])
async def test_a_copy_that_is_half_in_its_place_is_moved_there_by_the_next_heartbeat(tmp_path, refused, has_older):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        if has_older:
            await desk.grant(7, "cs2", after=1)
        store, disk = desk.servers["cs2"]._store, desk.worlds["cs2"].disk
        refusing = syncs_refused(disk) if refused == "sync" else moves_refused(disk, f"chunks/*{refused}")
        with refusing:
            with pytest.raises(DiskFailure):
                await clone(desk)
            assert store.state(7) is None, "what was there before is not served beside half a copy"
            await asyncio.sleep(0)
        await until(lambda: store.state(7) is not None)
        assert (await desk.read("cs2", 7, 0, 4 * BLOCK, version=3))[1] == DATA
        assert list((tmp_path / "cs2" / "incoming").iterdir()) == [] and not store.unfinished()
        desk.servers["cs2"].check_invariants()


async def test_a_removal_finds_a_copy_that_is_half_in_its_place_and_leaves_nothing_of_it(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        store = desk.servers["cs2"]._store
        with moves_refused(desk.worlds["cs2"].disk, "chunks/*meta"):
            with pytest.raises(DiskFailure):
                await clone(desk)
            with pytest.raises(DiskFailure):
                await store.remove(7, version=3)
        assert await store.remove(7, version=3) == 3
        left = [path for path in (tmp_path / "cs2").rglob("*") if path.is_file() and "00007." in path.name]
        assert left == [] and store.state(7) is None


async def test_what_was_verified_is_durable(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", writeback_seconds=600.0)
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"acknowledged")
        store = desk.servers["cs1"]._store
        assert store.dirty() == [7]
        await desk.verify("cs1", 7, 1)
        assert store.dirty() == []


async def test_verification_reads_every_block_and_counts_the_damaged_ones(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        whole = await desk.verify("cs1", 7, 3)
        assert (whole.damaged_blocks, whole.state.damaged) == (0, False)
        assert whole.digest == (await desk.advance("cs1", 7, 3, 3)).digest
        for block in (0, 3):
            desk.flip("cs1", 7, block * BLOCK + 1)
        found = await desk.verify("cs1", 7, 3)
        assert (found.damaged_blocks, found.state.damaged, found.digest) == (2, True, whole.digest)
        await until(lambda: len(desk.master.reports) == 2)
        await until(lambda: any(state.damaged for beat in desk.master.heartbeats for state in beat.changed))
        with pytest.raises(StaleVersion):
            await desk.verify("cs1", 7, 4)
        # What heals is whole again.
        for block in (0, 3):
            desk.flip("cs1", 7, block * BLOCK + 1)
        assert not (await desk.verify("cs1", 7, 3)).state.damaged


async def test_the_scrubber_mends_a_header_that_has_rotted_while_the_files_were_open(tmp_path):
    async with Desk(tmp_path, scrub_bytes_per_second=1 << 30) as desk:
        await source_and_destination(desk)
        path = tmp_path / "cs1" / metadata_path(7)
        raw = bytearray(path.read_bytes())
        raw[20] ^= 1
        path.write_bytes(raw)
        await until(lambda: desk.servers["cs1"].counters()["metadata_repaired"] > 0)
        events = [record.event for record in desk.worlds["cs1"].events.sink.records]
        repaired = [event for event in events if type(event).__name__ == "MetadataRepaired"]
        assert (repaired[0].handle, repaired[0].found) == (7, "slot 0 cannot be read")
        await desk.stop("cs1")
        await desk.start("cs1")
        assert not desk.servers["cs1"]._store.state(7).is_unsure


async def copied_here(desk: Desk, handle: int = 9, *, version: int = 3):
    request = wire.CloneRequest(handle=handle, version=1, copy_of=7, copy_version=version, authority=AUTHORITY)
    return [progress async for progress in desk.stub("cs1").Clone(request, timeout=20)][-1]


async def test_a_replica_is_copied_under_another_handle_without_any_other_server(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        await desk.stop("cs2")
        for _ in range(2):  # Asked again, the copy is there.
            told = await copied_here(desk)
            assert (told.done.handle, told.done.version, told.done.length) == (9, 1, len(DATA))
        assert told.digest == (await desk.verify("cs1", 7, 3)).digest
        await desk.grant(9, "cs1", before=1, after=2)
        await desk.write("cs1", 9, 5, b"within", version=2)
        assert desk.stored("cs1", 7) == DATA
        assert desk.stored("cs1", 9) == DATA[:5] + b"within" + DATA[11:]
        await desk.stop("cs1")
        await desk.start("cs1")
        assert (await desk.read("cs1", 9, 0, 4 * BLOCK, version=2))[1] == DATA[:5] + b"within" + DATA[11:]


async def test_damage_is_not_copied_under_another_handle_and_nothing_is_left_of_the_copy(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        desk.flip("cs1", 7, 2 * BLOCK + 5)
        with pytest.raises(Corrupted):
            await copied_here(desk)
        assert not (await desk.stub("cs1").GetChunkStates(wire.ChunkStatesRequest(handles=[9]), timeout=5)).states
        assert not any((tmp_path / "cs1" / "incoming").glob("*"))


async def test_what_is_older_than_the_named_version_or_not_there_is_not_copied(tmp_path):
    async with Desk(tmp_path) as desk:
        await source_and_destination(desk)
        with pytest.raises(StaleVersion):
            await copied_here(desk, version=4)
        request = wire.CloneRequest(handle=9, version=1, copy_of=8, copy_version=1, authority=AUTHORITY)
        with pytest.raises(NotFound):
            [progress async for progress in desk.stub("cs1").Clone(request, timeout=20)]
        assert not (await desk.stub("cs1").GetChunkStates(wire.ChunkStatesRequest(handles=[9]), timeout=5)).states
        assert not any((tmp_path / "cs1" / "incoming").glob("*"))
