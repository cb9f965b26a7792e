"""What the master hears, and what its answers do."""

import pytest

from chunkserver.storage.chunk_files import data_path
from runtime.errors import DiskFailure, NotPrimary, Unavailable
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import BLOCK, Desk, FakeMaster, new_world, until


def told_removed(desk: Desk) -> list:
    return [removal for beat in desk.master.answered for removal in beat.removed]


async def test_a_registration_says_everything_about_the_server(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", rack="left", data_centre="dc1")
        said = desk.master.registrations[0]
        assert (said.location.rack, said.location.data_centre) == ("left", "dc1")
        said.location.ClearField("rack")
        said.location.ClearField("data_centre")
        assert said.location == desk.location("cs1")
        assert said.incarnation and said.disk_total_bytes >= said.disk_free_bytes > 0


async def test_a_heartbeat_tells_what_was_read_since_the_last_one(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"hot" * 100)
        await desk.read("cs1", 7, 0, 300)
        await desk.read("cs1", 7, 0, 100)
        await until(lambda: sum(read.bytes for beat in desk.master.answered for read in beat.reads) >= 400)
        told = [(read.handle, read.bytes) for beat in desk.master.answered for read in beat.reads]
        assert sum(count for _, count in told) == 400 and {handle for handle, _ in told} == {7}


async def test_each_life_of_a_server_is_another_incarnation(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.stop("cs1")
        desk.master.registrations, first = [], desk.master.registrations[0].incarnation
        await desk.start("cs1")
        assert desk.master.registrations[0].incarnation != first


async def test_a_master_that_does_not_know_the_server_is_told_all_again(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        desk.master.known = False
        await until(lambda: len(desk.master.registrations) == 2)
        first, second = desk.master.registrations
        assert first.incarnation == second.incarnation
        assert [(state.handle, state.version, state.length) for state in second.chunks] == [(7, 1, 3)]


async def test_changes_are_told_until_a_heartbeat_with_them_was_answered(tmp_path):
    async with Desk(tmp_path, sample_chunks=0) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await until(lambda: any(beat.changed for beat in desk.master.answered))
        desk.master.mishaps = [Unavailable("lost") for _ in range(1000)]
        await desk.write("cs1", 7, 0, b"abc")
        beats = desk.master.heartbeats
        await until(lambda: sum(state.length == 3 for beat in beats for state in beat.changed) >= 2)
        desk.master.mishaps.clear()
        await until(lambda: any(state.length == 3 for beat in desk.master.answered for state in beat.changed))
        count = len(desk.master.answered)
        await until(lambda: len(desk.master.answered) > count + 3)
        told = [state.length for beat in desk.master.answered for state in beat.changed]
        assert told.count(3) == 1


async def test_the_sample_goes_round_all_chunks(tmp_path):
    async with Desk(tmp_path, sample_chunks=3) as desk:
        await desk.start("cs1")
        items = [wire.Advance(handle=handle, to_version=1) for handle in range(1, 9)]
        await desk.advance_all("cs1", items)
        desk.master.heartbeats.clear()
        await until(lambda: len(desk.master.heartbeats) >= 8)
        seen = [state.handle for beat in desk.master.heartbeats for state in beat.sample]
        assert set(seen) == set(range(1, 9))
        assert all(len(beat.sample) <= 3 for beat in desk.master.heartbeats)


async def test_garbage_is_deleted_files_and_all_and_the_deletion_is_told(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        for handle in (7, 8):
            await desk.grant(handle, "cs1")
            await desk.write("cs1", handle, 0, b"abc")
        await until(lambda: any(beat.changed for beat in desk.master.heartbeats))
        desk.master.removals = [(7, 1)]
        await until(lambda: any(beat.removed for beat in desk.master.heartbeats))
        assert [(one.handle, one.version) for one in told_removed(desk)] == [(7, 1)]
        reply = await desk.stub("cs1").GetChunkStates(wire.ChunkStatesRequest(handles=[7, 8]), timeout=5)
        assert [state.handle for state in reply.states] == [8]
        names = [path.name for path in (tmp_path / "cs1" / "chunks").rglob("*.*")]
        assert sorted(names) == [f"{8:016x}.data", f"{8:016x}.meta"]
        with pytest.raises(NotPrimary):
            await desk.write("cs1", 7, 0, b"abc")


async def test_a_lease_is_extended_while_the_chunk_is_mutated_and_ends_when_it_is_not(tmp_path):
    async with Desk(tmp_path) as desk:
        desk.master.extension_milliseconds = 400
        await desk.start("cs1")
        await desk.grant(7, "cs1", seconds=0.4)
        clock = desk.worlds["cs1"].clock
        end = clock.now() + 1.2
        count = 0
        while clock.now() < end:
            await desk.write("cs1", 7, 0, b"%d" % count)
            count += 1
        with pytest.raises(NotPrimary):
            begin = clock.now()
            await until(lambda: clock.now() > begin + 0.9)
            await desk.write("cs1", 7, 0, b"abc")


async def test_without_a_master_the_server_starts_serves_and_registers_when_it_comes(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        address = desk.master.rpc.address
        await desk.master.rpc.stop(0)
        events = desk.worlds["cs1"].events.sink.records
        await until(lambda: any(type(record.event).__name__ == "MasterLost" for record in events))
        assert (await desk.read("cs1", 7, 0, 3))[1] == b"abc"
        await desk.write("cs1", 7, 3, b"def")
        await desk.master.world.close()
        desk.master = FakeMaster(new_world(tmp_path / "master2", "master"))
        desk.master.known = False
        await desk.master.start(address)
        await until(lambda: bool(desk.master.registrations))
        assert desk.master.registrations[0].chunks[0].length == 6


async def test_damage_found_by_a_read_is_reported_once_and_good_blocks_are_served(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        for number in range(3):
            await desk.write("cs1", 7, number * BLOCK, bytes([number]) * BLOCK)
        desk.flip("cs1", 7, BLOCK + 3)
        for _ in range(3):
            reply, payload = await desk.read("cs1", 7, BLOCK - 10, 20)
            assert (reply.error_kind, payload) == ("Corrupted", b"")
        assert (await desk.read("cs1", 7, 0, BLOCK))[1] == bytes(BLOCK)
        assert (await desk.read("cs1", 7, 2 * BLOCK, BLOCK))[1] == bytes([2]) * BLOCK
        await until(lambda: bool(desk.master.reports))
        beats = len(desk.master.heartbeats)
        await until(lambda: len(desk.master.heartbeats) > beats + 3)
        assert [(one.handle, one.version, one.block) for one in desk.master.reports] == [(7, 1, 1)]


async def test_reports_are_numbered_and_a_registration_names_the_leases_that_are_held(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.grant(8, "cs1")
        await desk.revoke("cs1", (8, 1))
        desk.master.known = False
        await until(lambda: sum(one.location.server == "cs1" for one in desk.master.registrations) >= 2)
        again = [one for one in desk.master.registrations if one.location.server == "cs1"][1]
        assert [(lease.handle, lease.version, list(lease.secondaries)) for lease in again.leases] == [(7, 1, ["cs2"])]
        assert 0 < again.leases[0].milliseconds <= 60_000
        beats = [beat.sequence for beat in desk.master.heartbeats if beat.server == "cs1"]
        assert beats == sorted(set(beats)) and again.sequence not in beats


async def test_a_removal_spares_a_newer_replica_and_tells_that_it_is_there(tmp_path):
    async with Desk(tmp_path, sample_chunks=0) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1", after=3)
        await until(lambda: any(beat.changed for beat in desk.master.answered))
        desk.master.answered.clear()
        desk.master.removals = [(7, 2), (9, 4)]
        await until(lambda: any(state.handle == 7 for beat in desk.master.answered for state in beat.changed))
        await until(lambda: [(one.handle, one.version) for one in told_removed(desk)] == [(9, 4)])
        assert desk.servers["cs1"]._store.state(7).version == 3


async def test_a_removal_that_the_disk_refuses_is_tried_again_and_hinders_no_other(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        for handle in (7, 8):
            await desk.grant(handle, "cs1")
            await desk.write("cs1", handle, 0, b"abc")
        disk = desk.worlds["cs1"].disk
        remove = disk.remove

        async def refuse(path: str) -> None:
            if path == data_path(7):
                raise DiskFailure("cannot remove: Input/output error")
            await remove(path)

        disk.remove = refuse
        desk.master.removals = [(7, 1), (8, 1)]
        await until(lambda: [one.handle for one in told_removed(desk)] == [8])
        beats = len(desk.master.answered)
        await until(lambda: len(desk.master.answered) > beats + 3)
        assert [one.handle for one in told_removed(desk)] == [8]
        events = [type(record.event).__name__ for record in desk.worlds["cs1"].events.sink.records]
        assert events.count("RemovalFailed") == 1 and "TaskFailed" not in events
        disk.remove = remove
        await until(lambda: [one.handle for one in told_removed(desk)] == [8, 7])
        assert [path.name for path in (tmp_path / "cs1").rglob("*.*")] == []
