"""Whom a chunkserver obeys, and what it remembers of that: namespaces, epochs, lives."""

import pytest

from chunkserver.mutation.authority import Obedience
from chunkserver.storage.identity import IDENTITY, Identity, decode_identity, encode_identity, open_identity
from runtime.errors import Corrupted, ForeignNamespace, Superseded, Unavailable
from runtime.wire import chunkserver_pb2 as wire
from runtime.wire.common_pb2 import Authority
from tests.unit.chunkserver_support import AUTHORITY, NAMESPACE, Desk, new_world, until
from tests.unit.test_chunkserver_power_cuts import StrictDisk


def events(desk: Desk, name: str, kind: str) -> list:
    records = desk.worlds[name].events.sink.records
    return [record.event for record in records if type(record.event).__name__ == kind]


async def test_each_start_is_another_life_of_the_same_disk(tmp_path):
    lives = []
    for _ in range(3):
        identity = await open_identity(new_world(tmp_path))
        lives.append((identity.now.life, identity.now.disk))
    assert [life for life, _ in lives] == [1, 2, 3] and len({disk for _, disk in lives}) == 1
    assert lives[0][1] != (await open_identity(new_world(tmp_path / "other"))).now.disk


@pytest.mark.parametrize("cut", [0, 10, -2])
def test_a_damaged_identity_is_refused(cut):
    content = encode_identity(Identity(disk=1, namespace=2, life=3, epoch=4, boot=5, ended=True))
    assert decode_identity(content) == Identity(disk=1, namespace=2, life=3, epoch=4, boot=5, ended=True)
    with pytest.raises(Corrupted):
        decode_identity(content[:cut])
    with pytest.raises(Corrupted):
        decode_identity(content.replace(b"epoch     4", b"epoch     5"))


async def test_a_folder_that_has_lost_its_identity_is_refused(tmp_path):
    await open_identity(new_world(tmp_path))
    (tmp_path / IDENTITY).unlink()
    with pytest.raises(Corrupted):
        await open_identity(new_world(tmp_path))


async def test_whom_a_server_obeys_is_durable_before_it_obeys(tmp_path):
    disk = StrictDisk()

    async def obedience() -> Obedience:
        world = new_world(tmp_path)
        world.disk = disk
        return Obedience(await open_identity(world), "cs1")

    await (await obedience()).check(Authority(namespace=7, epoch=3))
    disk = disk.after_power_cut()
    after = await obedience()
    for authority, error in (
        (Authority(namespace=8, epoch=9), ForeignNamespace),
        (Authority(epoch=9), ForeignNamespace),
        (Authority(namespace=7, epoch=2), Superseded),
        (Authority(namespace=7, epoch=3, server="cs2"), Unavailable),
    ):
        with pytest.raises(error) as refused:
            await after.check(authority)
        assert refused.value.definite
    await after.check(Authority(namespace=7, epoch=3))
    await after.check(Authority(namespace=7, epoch=3, server="cs1"))


async def test_an_order_of_a_stranger_or_of_an_older_master_changes_nothing(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        newer = Authority(namespace=NAMESPACE, epoch=5)
        assert (await desk.advance_all("cs1", [wire.Advance(handle=9, to_version=1)], newer))[0].done
        stub = desk.stub("cs1")
        for authority, error in ((AUTHORITY, Superseded), (Authority(namespace=1, epoch=9), ForeignNamespace)):
            orders = [
                stub.AdvanceChunks(
                    wire.AdvanceChunksRequest(items=[wire.Advance(handle=8, to_version=1)], authority=authority)
                ),
                stub.RevokeLeases(
                    wire.RevokeLeasesRequest(leases=[wire.LeaseName(handle=7, version=9)], authority=authority)
                ),
            ]
            for order in orders:
                with pytest.raises(error):
                    await order
            with pytest.raises(error):
                async for _ in stub.VerifyReplica(wire.VerifyRequest(handle=7, version=1, authority=authority)):
                    pass
            with pytest.raises(error):
                async for _ in stub.MendReplica(wire.MendRequest(handle=7, version=1, authority=authority)):
                    pass
            with pytest.raises(error):
                async for _ in stub.Clone(wire.CloneRequest(handle=8, version=1, authority=authority)):
                    pass
        states = (await stub.GetChunkStates(wire.ChunkStatesRequest(handles=[7, 8]), timeout=5)).states
        assert [state.handle for state in states] == [7]
        await desk.write("cs1", 7, 3, b"the lease goes on")


async def test_the_first_registration_gives_a_fresh_folder_its_namespace_and_a_foreign_master_is_not_obeyed(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.stop("cs1")
        first = desk.master.registrations[0]
        assert (first.namespace, first.life, first.sequence) == (0, 1, 1) and first.disk
        desk.master.registrations.clear()
        desk.master.authority = Authority(namespace=0xDEF, epoch=1)
        desk.master.removals = [(7, 99)]
        await desk.start("cs1")
        await until(lambda: len(desk.master.registrations) >= 3)
        again = desk.master.registrations[0]
        assert (again.namespace, again.life, again.disk) == (NAMESPACE, 2, first.disk)
        assert [(state.handle, state.version) for state in desk.master.registrations[-1].chunks] == [(7, 1)]
        assert len(events(desk, "cs1", "MasterRefused")) == 1 and not events(desk, "cs1", "Registered")
        assert [one.sequence for one in desk.master.registrations[:3]] == [1, 2, 3]
        desk.master.authority = AUTHORITY
        await until(lambda: bool(desk.master.heartbeats) and desk.master.heartbeats[-1].sequence > 3)


async def test_an_answer_of_a_superseded_master_extends_no_lease_and_removes_nothing(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        desk.master.authority = Authority(namespace=NAMESPACE, epoch=4)
        await until(lambda: b"epoch     4" in (tmp_path / "cs1" / IDENTITY).read_bytes())
        await desk.advance_all("cs1", [wire.Advance(handle=7, to_version=1)], desk.master.authority)
        desk.master.authority = AUTHORITY
        desk.master.removals = [(7, 1)]
        await until(lambda: bool(events(desk, "cs1", "MasterRefused")))
        states = await desk.stub("cs1").GetChunkStates(wire.ChunkStatesRequest(handles=[7]), timeout=5)
        assert len(states.states) == 1


async def test_a_master_that_refuses_is_registered_with_again(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        desk.master.mishaps = [Superseded("another server obeys a newer master")]
        await until(lambda: bool(events(desk, "cs1", "MasterRefused")))
        registrations = len(desk.master.registrations)
        await until(lambda: len(desk.master.registrations) > registrations)
        assert len(events(desk, "cs1", "MasterRefused")) == 1


async def test_a_server_that_stopped_in_good_order_says_so_and_one_that_was_killed_does_not(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        assert not decode_identity((tmp_path / "cs1" / IDENTITY).read_bytes()).ended
        await desk.stop("cs1")
        assert decode_identity((tmp_path / "cs1" / IDENTITY).read_bytes()).ended
        identity = await open_identity(new_world(tmp_path / "cs1"))
        assert not identity.may_have_unsynced_files
        assert (await open_identity(new_world(tmp_path / "cs1"))).may_have_unsynced_files
