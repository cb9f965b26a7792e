"""AdvanceChunks: creation, versions and leases, many chunks a call, all of it twice, and requests that come late."""

import asyncio
from typing import Any

import pytest

from runtime.errors import DiskFailure, MutationFailed, NotPrimary, Unavailable
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import Desk, until


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


@pytest.mark.parametrize("refused", ["sync", "rename"])
async def test_a_creation_that_fails_leaves_nothing_though_the_disk_refuses_to_remove_it_at_first(tmp_path, refused):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 6, 0, 1)
        disk = desk.worlds["cs1"].disk
        real = disk.rename, disk.sync_directory, disk.remove

        async def refuse(*_: str) -> None:
            raise DiskFailure("Input/output error")

        if refused == "sync":
            disk.sync_directory = refuse
        else:
            disk.rename = refuse
        disk.remove = refuse
        result = await desk.advance("cs1", 7, 0, 1)
        assert (result.done, result.error_kind) == (False, "DiskFailure")
        disk.rename, disk.sync_directory, disk.remove = real
        await until(lambda: not desk.servers["cs1"]._store.unfinished())
        assert [path for path in (tmp_path / "cs1").rglob("*00007.*") if path.is_file()] == []
        assert (await desk.advance("cs1", 7, 0, 1)).done


async def test_a_version_is_raised_from_any_that_the_order_allows_and_from_no_other(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 3)
        assert (await desk.advance("cs1", 7, 4, 6)).error_kind == "StaleVersion"
        assert (await desk.advance("cs1", 7, 2, 6)).state.version == 6


async def test_an_outdated_order_ends_no_newer_lease(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.grant(7, "cs1", "cs2", before=1, after=5)
        for before, after, kind in ((1, 3, "StaleVersion"), (1, 5, ""), (5, 5, ""), (0, 1, "AlreadyExists")):
            assert (await desk.advance("cs1", 7, before, after)).error_kind == kind
        await desk.revoke("cs1", (7, 4))
        assert (await desk.write("cs1", 7, 0, b"abc", version=5)).serial == 1
        await desk.revoke("cs1", (7, 5))
        with pytest.raises(NotPrimary):
            await desk.write("cs1", 7, 0, b"abc", version=5)


async def test_a_grant_that_comes_twice_begins_no_second_lease_after_a_restart(tmp_path):
    """Serial numbers would begin again under the same version."""
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        await desk.stop("cs1")
        await desk.start("cs1")
        result = await desk.advance("cs1", 7, 0, 1, lease_milliseconds=60_000)
        assert not result.done
        with pytest.raises(NotPrimary):
            await desk.write("cs1", 7, 0, b"abc")


async def test_a_version_that_was_raised_may_be_granted_in_a_second_order(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        await desk.advance("cs1", 7, 1, 2)
        assert (await desk.advance("cs1", 7, 2, 2, lease_milliseconds=60_000)).done
        assert (await desk.write("cs1", 7, 0, b"abc", version=2)).serial == 1


async def test_equal_replicas_answer_with_equal_digests_and_others_do_not(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"a" * 100_000)
        digests = [(await desk.advance(name, 7, 1, 2)).digest for name in ("cs1", "cs2")]
        assert digests[0] == digests[1] != 0
        assert (await desk.advance("cs1", 7, 2, 2)).digest == digests[0], "whatever the version"
        await desk.grant(7, "cs1", before=2, after=3)
        await desk.write("cs1", 7, 5, b"x", version=3)
        assert (await desk.advance("cs1", 7, 3, 4)).digest != digests[0]


async def test_an_order_whose_caller_goes_away_runs_to_its_end(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        store = desk.servers["cs1"]._store
        began, go_on = asyncio.Event(), asyncio.Event()
        create = store.create

        async def slow(*arguments: Any, **options: Any) -> None:
            began.set()
            await go_on.wait()
            await create(*arguments, **options)

        store.create = slow
        order = asyncio.create_task(desk.advance("cs1", 7, 0, 1))
        await began.wait()
        order.cancel()
        await asyncio.gather(order, return_exceptions=True)
        go_on.set()
        await until(lambda: store.state(7) is not None)
        assert (await desk.advance("cs1", 7, 0, 1)).done


async def test_a_replica_that_lost_power_says_so_is_compared_and_admitted(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"abc")
        await desk.stop("cs2")
        desk.master.registrations.clear()
        desk.boot_ids["cs2"] = "after a loss of power"
        await desk.start("cs2")
        assert [(state.handle, state.unsure) for state in desk.master.registrations[0].chunks] == [(7, True)]
        states = await desk.stub("cs2").GetChunkStates(wire.ChunkStatesRequest(handles=[7]), timeout=5)
        assert states.states[0].unsure
        assert (await desk.read("cs2", 7, 0, 3))[0].error_kind == "Unavailable"
        ours, theirs = [await desk.advance(name, 7, 1, 2) for name in ("cs1", "cs2")]
        assert ours.digest == theirs.digest and theirs.state.unsure and not theirs.doubtful_blocks
        await desk.start("cs3")
        with pytest.raises(Unavailable):
            await desk.clone("cs3", 7, 2, desk.location("cs2"))
        with pytest.raises(MutationFailed) as failed:
            await desk.grant(7, "cs1", "cs2", before=2, after=3)
            await desk.write("cs1", 7, 3, b"def", version=3)
        assert failed.value.servers == ("cs2",)
        assert (await desk.advance("cs2", 7, 1, 1, admit=True)).error_kind == "StaleVersion"
        for _ in range(2):
            result = await desk.advance("cs2", 7, 3, 3, admit=True)
            assert result.done and not result.state.unsure and result.digest == ours.digest
        assert (await desk.read("cs2", 7, 0, 3))[1] == b"abc"
