"""Record append at the chunkservers: where records go, when a chunk is padded, what failed tries leave (GFS 3.3)."""

import asyncio

import pytest

from chunkserver.mutation.appending import Place, plan_append
from chunkserver.mutation.leases import Lease, LeaseTable
from runtime.bulk import checksums_of, digest_of
from runtime.errors import Conflict, InvalidRequest, MutationFailed, NotPrimary, StaleVersion
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import CHUNK_BYTES, Desk

NAMES = ("cs1", "cs2", "cs3")
MOST = CHUNK_BYTES // 4


def lease_with(
    sound_end: int, in_flight: tuple[int, ...] = (), tried_end: int = 0, *, file_goes_on: bool = False
) -> Lease:
    lease = Lease(7, 1, (), until=60.0, duration=60.0, sound_end=sound_end, tried_end=tried_end)
    lease.file_goes_on = file_goes_on
    lease.undecided.update(enumerate(in_flight, 1))
    return lease


@pytest.mark.parametrize(
    ("lease", "length", "place", "offset"),
    [
        (lease_with(0), 25, Place.HERE, 0),
        (lease_with(80), 20, Place.HERE, 80),
        (lease_with(50, (60, 70)), 10, Place.HERE, 70),
        (lease_with(50, (), 75), 10, Place.HERE, 75),
        (lease_with(80), 21, Place.PADDING, 80),
        (lease_with(50, (60, 70), 95), 20, Place.PADDING, 70),
        (lease_with(50, (), 100), 20, Place.PADDING, 50),
        (lease_with(100), 1, Place.FULL, 0),
        (lease_with(90, (100,)), 1, Place.LATER, 0),
        (lease_with(50, (60,), 75, file_goes_on=True), 10, Place.PADDING, 60),
        (lease_with(100, file_goes_on=True), 1, Place.FULL, 0),
    ],
)
def test_a_record_goes_after_all_that_is_or_may_be_there_and_padding_after_all_that_must_stay(
    lease, length, place, offset
):
    placed = plan_append(lease, length, 100)
    assert (placed.place, placed.offset) == (place, offset)


def test_what_becomes_of_a_mutation_decides_how_far_every_replica_has_come():
    leases = LeaseTable()
    leases.begin_version(7, 1)
    lease = leases.grant(7, version=1, secondaries=(), seconds=60.0, now=0.0)
    leases.begin_mutation(lease, 40)
    serials = [leases.next_serial(lease, 0.0, end=end) for end in (50, 60, 70)]
    leases.decided(lease, serials[1], is_nowhere=True)
    assert (lease.sound_end, lease.tried_end) == (40, 0)
    leases.decided(lease, serials[2])
    assert (lease.sound_end, lease.tried_end) == (40, 70)
    leases.decided(lease, serials[0], is_everywhere=True)
    leases.begin_mutation(lease, 999)  # Only the first mutation under a lease finds all replicas alike.
    assert (lease.sound_end, lease.tried_end) == (50, 70)


async def test_concurrent_appends_lie_one_after_the_other_and_all_replicas_have_them_at_the_same_offsets(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        records = [bytes([number]) * (10 + number) for number in range(1, 41)]
        replies = await asyncio.gather(*(desk.append("cs1", 7, record) for record in records))
        [stored] = {desk.stored(name, 7) for name in NAMES}
        assert sorted(reply.serial for reply in replies) == list(range(1, 41))
        for record, reply in zip(records, replies, strict=True):
            assert stored[reply.offset : reply.offset + len(record)] == record
        assert len(stored) == sum(map(len, records))


async def test_appends_and_writes_at_offsets_share_one_order(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"written")
        reply = await desk.append("cs1", 7, b"appended")
        assert (reply.offset, reply.serial, reply.length) == (7, 2, 15)
        assert (await desk.write("cs1", 7, 15, b"!")).serial == 3
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7) == b"writtenappended!"


async def test_a_record_that_does_not_fit_pads_every_replica_and_the_chunk_stays_full(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        await desk.write("cs1", 7, 0, b"x" * (CHUNK_BYTES - 100))
        reply = await desk.append("cs1", 7, bytes([7]) * 101)
        assert reply.chunk_is_full and reply.serial == 2
        assert {desk.stored(name, 7)[-101:] for name in NAMES} == {b"x" + bytes(100)}
        assert {len(desk.stored(name, 7)) for name in NAMES} == {CHUNK_BYTES}
        again = await desk.append("cs1", 7, b"y")
        assert again.chunk_is_full and again.serial == 0  # Nothing was ordered for it.
        assert desk.servers["cs1"].counters()["chunks_padded"] == 1


async def test_many_records_that_do_not_fit_at_once_leave_whole_records_and_padding_only(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        records = [bytes([number]) * (MOST - number) for number in range(1, 12)]
        replies = await asyncio.gather(*(desk.append("cs1", 7, record) for record in records))
        stored = desk.stored("cs1", 7)
        assert stored == desk.stored("cs2", 7) and len(stored) == CHUNK_BYTES
        placed = [(record, reply) for record, reply in zip(records, replies, strict=True) if not reply.chunk_is_full]
        assert len(placed) == 4
        for record, reply in placed:
            assert stored[reply.offset : reply.offset + len(record)] == record
        assert stored.count(0) == CHUNK_BYTES - sum(len(record) for record, _ in placed)


@pytest.mark.parametrize("length", [0, MOST + 1])
async def test_a_record_has_at_most_a_quarter_of_a_chunk(tmp_path, length):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        with pytest.raises(InvalidRequest, match=f"{MOST} bytes") as refused:
            await desk.append("cs1", 7, b"x" * length)
        assert refused.value.definite
        assert (await desk.append("cs1", 7, b"x" * MOST)).serial == 1


async def test_only_the_primary_appends_and_only_at_the_version_of_its_lease(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        with pytest.raises(NotPrimary):
            await desk.append("cs2", 7, b"abc")
        with pytest.raises(StaleVersion):
            await desk.append("cs1", 7, b"abc", version=2)


async def test_no_client_may_ask_for_padding(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        padding = wire.Mutation(offset=0, length=5, padding=True)
        with pytest.raises(InvalidRequest):
            await desk.stub("cs1").AppendRecord(wire.AppendRecordRequest(handle=7, version=1, record=padding))
        with pytest.raises(InvalidRequest):
            await desk.stub("cs1").Write(wire.WriteRequest(handle=7, version=1, mutation=padding))


async def test_a_message_that_comes_twice_appends_once_and_one_that_was_given_up_never(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        both = await asyncio.gather(*(desk.append("cs1", 7, b"once", number=5) for _ in range(2)))
        assert both[0] == both[1] and desk.stored("cs2", 7) == b"once"
        await desk.append("cs1", 7, b"next", number=6)
        with pytest.raises(Conflict):
            await desk.append("cs1", 7, b"late", number=4)
        assert desk.stored("cs1", 7) == b"oncenext"


async def test_a_try_that_failed_leaves_a_region_that_differs_and_the_next_one_goes_after_it_on_every_replica(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        await desk.append("cs1", 7, b"first")
        pushed, _ = await desk.push(b"record", "cs1", "cs2")  # cs3 never gets it.
        record = wire.Mutation(length=6, pushed=pushed, crc32c=_digest(b"record"))
        with pytest.raises(MutationFailed, match="cs3") as failed:
            await desk.stub("cs1").AppendRecord(wire.AppendRecordRequest(handle=7, version=1, record=record))
        assert not failed.value.definite
        reply = await desk.append("cs1", 7, b"record")
        assert reply.offset == 11
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7) == b"firstrecordrecord"
        assert desk.stored("cs3", 7) == b"first" + bytes(6) + b"record"


async def test_a_replica_that_lacks_what_was_acknowledged_refuses_to_fill_the_gap(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        mutation = wire.Mutation(offset=20, length=3, inline=b"abc", crc32c=_digest(b"abc"))
        request = wire.ApplyRequest(handle=7, version=1, serial=1, mutation=mutation, reach=10)
        with pytest.raises(Conflict, match="missed a mutation"):
            await desk.stub("cs1").Apply(request, timeout=5)


def _digest(data: bytes) -> int:
    return digest_of(checksums_of(data))
