"""AdvanceChunks: creation, versions and leases, many chunks a call, and every request again."""

import pytest

from runtime.errors import NotPrimary
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import Desk


async def test_many_chunks_are_created_in_one_call_and_each_is_answered(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        items = [wire.Advance(handle=handle, to_version=1) for handle in range(1, 301)]
        results = await desk.advance_all("cs1", items)
        assert [result.handle for result in results] == list(range(1, 301))
        assert all(result.done and result.state.version == 1 for result in results)


async def test_a_failing_item_does_not_touch_the_others(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 1, 0, 4)
        items = [
            wire.Advance(handle=1, from_version=2, to_version=3),
            wire.Advance(handle=2, from_version=1, to_version=2),
            wire.Advance(handle=3, to_version=1),
            wire.Advance(handle=1, to_version=1),
        ]
        results = await desk.advance_all("cs1", items)
        found = [(result.done, result.error_kind, result.state.version) for result in results]
        assert found == [
            (False, "StaleVersion", 4),
            (False, "NotFound", 0),
            (True, "", 1),
            (False, "AlreadyExists", 4),
        ]


async def test_every_item_may_be_sent_again(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        for _ in range(2):
            assert (await desk.advance("cs1", 7, 0, 1)).done
        for _ in range(2):
            result = await desk.advance("cs1", 7, 1, 5)
            assert result.done and result.state.version == 5


async def test_versions_and_lengths_are_there_after_a_restart_and_leases_are_not(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1", before=0, after=3)
        await desk.write("cs1", 7, 0, b"abc", version=3)
        await desk.stop("cs1")
        desk.master.registrations.clear()
        await desk.start("cs1")
        told = [(state.handle, state.version, state.length) for state in desk.master.registrations[0].chunks]
        assert told == [(7, 3, 3)]
        with pytest.raises(NotPrimary):
            await desk.write("cs1", 7, 0, b"abc", version=3)


async def test_the_current_version_again_with_other_secondaries_renews_the_lease(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2", "cs3")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"one")
        await desk.advance("cs3", 7, 0, 1)
        result = await desk.advance(
            "cs1", 7, 1, 1, lease_milliseconds=60_000, secondaries=[desk.location("cs2"), desk.location("cs3")]
        )
        assert result.done
        assert (await desk.write("cs1", 7, 0, b"two")).serial == 2
        assert {desk.stored(name, 7) for name in ("cs1", "cs2", "cs3")} == {b"two"}


async def test_an_item_without_a_lease_ends_the_one_that_was_held(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        assert (await desk.advance("cs1", 7, 1, 2)).done
        for version in (1, 2):
            with pytest.raises(NotPrimary):
                await desk.write("cs1", 7, 0, b"abc", version=version)


async def test_no_replica_is_created_on_a_disk_without_space(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", reserve_bytes=1 << 60)
        result = await desk.advance("cs1", 7, 0, 1)
        assert (result.done, result.error_kind) == (False, "NoSpace")
        states = await desk.stub("cs1").GetChunkStates(wire.ChunkStatesRequest(handles=[7]), timeout=5)
        assert not states.states
