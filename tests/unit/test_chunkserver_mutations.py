"""Writing through a primary: order, refusals, duplicates, and replicas that fail."""

import asyncio
import random

import pytest

from runtime.bulk import checksums_of, digest_of
from runtime.errors import (
    Conflict,
    Corrupted,
    DataNotBuffered,
    DiskFailure,
    InvalidRequest,
    MutationFailed,
    NoSpace,
    NotFound,
    NotPrimary,
    StaleVersion,
)
from runtime.wire import chunkserver_pb2 as wire
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, Desk, until

NAMES = ("cs1", "cs2", "cs3")
DATA = random.Random(3).randbytes(3 * BLOCK)


def apply_request(serial: int, data: bytes, *, offset: int = 0, version: int = 1, settled: int = 0, reach: int = 0):
    mutation = wire.Mutation(offset=offset, length=len(data), inline=data, crc32c=digest_of(checksums_of(data)))
    return wire.ApplyRequest(
        handle=7, version=version, serial=serial, mutation=mutation, settled_through=settled, reach=reach
    )


async def test_concurrent_writes_to_one_place_leave_equal_replicas_and_consecutive_serials(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        writes = [desk.write("cs1", 7, 10 * (number % 4), bytes([number]) * 500) for number in range(1, 41)]
        replies = await asyncio.gather(*writes)
        assert sorted(reply.serial for reply in replies) == list(range(1, 41))
        assert len({desk.stored(name, 7) for name in NAMES}) == 1


async def test_the_reply_names_the_length_and_a_gap_reads_as_zeros(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        assert (await desk.write("cs1", 7, 2 * BLOCK + 5, b"abc")).length == 2 * BLOCK + 8
        _, payload = await desk.read("cs1", 7, 0, 3 * BLOCK)
        assert payload == bytes(2 * BLOCK + 5) + b"abc"


@pytest.mark.parametrize(
    ("mutation", "error"),
    [
        (
            wire.Mutation(offset=CHUNK_BYTES - 2, length=3, inline=b"abc", crc32c=digest_of(checksums_of(b"abc"))),
            InvalidRequest,
        ),
        (wire.Mutation(offset=0, length=0, inline=b""), InvalidRequest),
        (wire.Mutation(offset=0, length=4, inline=b"abc", crc32c=digest_of(checksums_of(b"abc"))), InvalidRequest),
        (wire.Mutation(offset=0, length=3, inline=b"abc", crc32c=1), Corrupted),
        (wire.Mutation(offset=0, length=3, pushed=wire.DataId(client=1, number=1)), DataNotBuffered),
    ],
    ids=["beyond the chunk", "empty", "another length", "another checksum", "never pushed"],
)
async def test_a_bad_write_is_refused_definitely_and_changes_nothing_anywhere(tmp_path, mutation, error):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"before")
        with pytest.raises(error) as raised:
            await desk.stub("cs1").Write(wire.WriteRequest(handle=7, version=1, mutation=mutation), timeout=5)
        assert raised.value.definite
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7) == b"before"
        # It used no serial number up: the next one is applied at once.
        assert (await desk.write("cs1", 7, 6, b"!")).serial == 2


async def test_only_the_primary_orders_and_only_at_the_version_of_its_lease(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        with pytest.raises(NotPrimary):
            await desk.write("cs2", 7, 0, b"abc")
        with pytest.raises(StaleVersion):
            await desk.write("cs1", 7, 0, b"abc", version=2)
        with pytest.raises((NotPrimary, NotFound)):
            await desk.write("cs1", 8, 0, b"abc")


async def test_a_lease_that_ran_out_is_not_used(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1", seconds=0.2)
        await desk.write("cs1", 7, 0, b"abc")
        clock = desk.worlds["cs1"].clock
        end = clock.now() + 0.2
        await until(lambda: clock.now() > end)
        with pytest.raises(NotPrimary):
            await desk.write("cs1", 7, 0, b"abc")


async def test_a_revoked_lease_is_not_used_and_the_answer_has_the_final_length(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        writes = [asyncio.create_task(desk.write("cs1", 7, 100 * n, bytes(100))) for n in range(20)]
        await until(lambda: desk.servers["cs1"].counters()["mutations_applied"] > 3)
        reply = await desk.revoke("cs1", (7, 1), (8, 1))
        lengths = {name: len(desk.stored(name, 7)) for name in NAMES}
        assert [(state.handle, state.length) for state in reply.states] == [(7, lengths["cs1"])]
        assert len(set(lengths.values())) == 1
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(not isinstance(one, Exception) or isinstance(one, NotPrimary) for one in results)
        assert {name: len(desk.stored(name, 7)) for name in NAMES} == lengths


async def test_a_dead_secondary_makes_the_write_fail_indefinitely_and_is_named(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        await desk.write("cs1", 7, 0, b"abc")
        await desk.stop("cs3")
        with pytest.raises(MutationFailed) as raised:
            await desk.write("cs1", 7, 3, b"def")
        assert not raised.value.definite and raised.value.servers == ("cs3",)
        assert "cs3" in raised.value.message and "cs2" not in raised.value.message
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7) == b"abcdef"
        # Without it, under a new version, the same write succeeds.
        await desk.grant(7, "cs1", "cs2", before=1, after=2)
        assert (await desk.write("cs1", 7, 3, b"def", version=2)).serial == 1


async def test_a_secondary_that_was_restarted_goes_on_at_once_where_the_primary_is(tmp_path):
    async with Desk(tmp_path, turn_seconds=300.0) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        for number in range(5):
            await desk.write("cs1", 7, number, b"x")
        address = desk.servers["cs2"].control_address
        await desk.stop("cs2")
        await desk.start("cs2", control_address=address)
        # The primary's channel may need a moment to notice that somebody listens again.
        async with asyncio.timeout(10):
            while True:
                try:
                    await desk.write("cs1", 7, 5, b"y")
                    break
                except MutationFailed:
                    await asyncio.sleep(0.02)
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7) == b"xxxxxy"


async def test_a_secondary_applies_in_serial_order_whatever_order_the_messages_come_in(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        stub = desk.stub("cs1")
        late = [asyncio.create_task(stub.Apply(apply_request(n, b"%d" % n), timeout=5)) for n in (4, 3, 2)]
        await until(lambda: desk.worlds["cs1"].events.lamport > 10)
        assert not any(task.done() for task in late)
        await stub.Apply(apply_request(1, b"1"), timeout=5)
        await asyncio.gather(*late)
        assert desk.stored("cs1", 7) == b"4"


async def test_a_mutation_that_never_comes_is_gone_past_and_refused_if_it_comes_after_all(tmp_path):
    async with Desk(tmp_path, turn_seconds=0.1) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        await desk.stub("cs1").Apply(apply_request(2, b"second"), timeout=5)
        with pytest.raises(Conflict):
            await desk.stub("cs1").Apply(apply_request(1, b"first!"), timeout=5)
        assert desk.stored("cs1", 7) == b"second"


async def test_a_mutation_that_the_primary_has_given_up_is_not_waited_for(tmp_path):
    async with Desk(tmp_path, turn_seconds=300.0) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        await desk.stub("cs1").Apply(apply_request(9, b"nine", settled=8), timeout=5)
        assert desk.stored("cs1", 7) == b"nine"


async def test_a_repeated_mutation_is_answered_alike_and_applied_once(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        stub = desk.stub("cs1")
        first = await stub.Apply(apply_request(1, b"one"), timeout=5)
        await stub.Apply(apply_request(2, b"two"), timeout=5)
        assert await stub.Apply(apply_request(1, b"one"), timeout=5) == first
        assert desk.stored("cs1", 7) == b"two"
        with pytest.raises(Conflict):
            await stub.Apply(apply_request(1, b"uno"), timeout=5)


async def test_a_repeated_write_gets_the_first_answer_and_does_not_undo_a_later_one(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        pushed, _ = await desk.push(b"old", "cs1", "cs2")
        first = await desk.write_pushed("cs1", 7, 0, b"old", pushed)
        await desk.write("cs1", 7, 0, b"new")
        assert await desk.write_pushed("cs1", 7, 0, b"old", pushed) == first
        assert desk.stored("cs1", 7) == desk.stored("cs2", 7) == b"new"


def numbered(number: int, data: bytes, *, oldest: int):
    mutation = wire.Mutation(offset=0, length=len(data), inline=data, crc32c=digest_of(checksums_of(data)))
    return wire.WriteRequest(handle=7, version=1, mutation=mutation, client=9, number=number, oldest=oldest)


async def test_a_repeated_write_that_was_refused_is_refused_again_though_it_could_be_done_now(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        stub = desk.stub("cs1")
        refused = numbered(5, b"first", oldest=5)
        store = desk.servers["cs1"]._store
        store._reserve_bytes = 1 << 60
        with pytest.raises(NoSpace) as first:
            await stub.Write(refused, timeout=5)
        store._reserve_bytes = 0
        await desk.write("cs1", 7, 0, b"other")
        with pytest.raises(NoSpace) as again:
            await stub.Write(refused, timeout=5)
        assert again.value.definite and again.value.message == first.value.message
        # Under a number of its own the same write is done.
        await stub.Write(numbered(6, b"first", oldest=6), timeout=5)
        assert desk.stored("cs1", 7) == b"first"


async def test_a_write_that_its_client_has_given_up_is_refused_and_one_of_another_client_is_not(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        stub = desk.stub("cs1")
        await stub.Write(numbered(8, b"new", oldest=8), timeout=5)
        for number in (7, 3):
            with pytest.raises(Conflict, match=f"try {number} to write was under way for too long"):
                await stub.Write(numbered(number, b"old", oldest=3), timeout=5)
        assert desk.stored("cs1", 7) == b"new"
        other = numbered(3, b"theirs", oldest=3)
        other.client = 10
        await stub.Write(other, timeout=5)
        assert desk.stored("cs1", 7) == b"theirs"


async def test_two_copies_of_a_write_at_once_are_one_write(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        request = numbered(1, b"once", oldest=1)
        replies = await asyncio.gather(*(desk.stub("cs1").Write(request, timeout=5) for _ in range(2)))
        assert [reply.serial for reply in replies] == [1, 1]
        assert (await desk.write("cs1", 7, 4, b"!")).serial == 2


async def test_pushed_data_leaves_the_buffer_once_it_is_written(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        for number in range(6):
            pushed, _ = await desk.push(DATA, *NAMES)
            await desk.write_pushed("cs1", 7, number, DATA, pushed)
        for name in NAMES:
            await until(lambda name=name: desk.servers[name].counters()["push_buffer_bytes"] == 0)


async def test_a_new_version_refuses_what_waits_under_the_old_one_and_counts_from_one_again(tmp_path):
    async with Desk(tmp_path, turn_seconds=300.0) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        stub = desk.stub("cs1")
        waiting = asyncio.create_task(stub.Apply(apply_request(2, b"late"), timeout=10))
        before = desk.worlds["cs1"].events.lamport
        await until(lambda: desk.worlds["cs1"].events.lamport > before)
        assert (await desk.advance("cs1", 7, 1, 2)).done
        with pytest.raises(StaleVersion):
            await waiting
        with pytest.raises(StaleVersion):
            await stub.Apply(apply_request(1, b"old!"), timeout=5)
        await stub.Apply(apply_request(1, b"new!", version=2), timeout=5)
        assert desk.stored("cs1", 7) == b"new!"


async def test_a_rotten_block_that_would_be_overwritten_in_part_fails_the_write_and_is_reported(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, DATA[:BLOCK])
        desk.flip("cs2", 7, 50_000)
        with pytest.raises(MutationFailed) as raised:
            await desk.write("cs1", 7, 100, b"abc")
        assert "cs2" in raised.value.message
        await until(lambda: bool(desk.master.reports))
        report = desk.master.reports[0]
        assert (report.server, report.handle, report.version, report.block) == ("cs2", 7, 1, 0)


async def test_a_replica_that_missed_a_mutation_does_not_fill_the_gap_with_zeros(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.advance("cs1", 7, 0, 1)
        stub = desk.stub("cs1")
        await stub.Apply(apply_request(1, b"abc"), timeout=5)
        with pytest.raises(Conflict) as refused:
            await stub.Apply(apply_request(2, b"ghi", offset=6, reach=6), timeout=5)
        assert "missed" in refused.value.message and refused.value.definite
        # A hole that the client intends begins where the chunk ends at the primary too.
        await stub.Apply(apply_request(3, b"ghi", offset=6, reach=3), timeout=5)
        assert desk.stored("cs1", 7) == b"abc" + bytes(3) + b"ghi"
        await stub.Apply(apply_request(4, b"x", offset=0, reach=100), timeout=5)


async def test_a_secondary_that_missed_one_write_refuses_the_next_ones_behind_it(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"abc")
        pushed, _ = await desk.push(b"def", "cs1")  # cs2 never gets it.
        with pytest.raises(MutationFailed) as failed:
            await desk.write_pushed("cs1", 7, 3, b"def", pushed)
        assert failed.value.servers == ("cs2",)
        with pytest.raises(MutationFailed) as failed:
            await desk.write("cs1", 7, 6, b"ghi")
        assert failed.value.servers == ("cs2",) and "missed" in failed.value.message
        assert desk.stored("cs2", 7) == b"abc"
        ours, theirs = [await desk.advance(name, 7, 1, 2) for name in ("cs1", "cs2")]
        assert ours.digest != theirs.digest


async def test_a_revocation_ends_only_the_version_that_it_names_and_waits_for_what_is_in_flight(tmp_path):
    async with Desk(tmp_path, turn_seconds=300.0) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2", after=2)
        assert not (await desk.revoke("cs1", (7, 1))).states, "this server never had that lease"
        await desk.write("cs1", 7, 0, b"abc", version=2)
        assert (await desk.revoke("cs1", (7, 3))).states[0].length == 3
        with pytest.raises(NotPrimary):
            await desk.write("cs1", 7, 3, b"def", version=2)
        assert (await desk.revoke("cs1", (7, 2))).states[0].length == 3, "the first answer may have been lost"


async def test_a_server_that_was_restarted_has_no_last_word_on_a_lease_of_its_former_life(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"abc")
        address = desk.servers["cs1"].control_address
        await desk.stop("cs1")
        await desk.start("cs1", control_address=address)
        assert not (await desk.revoke("cs1", (7, 1))).states
        assert not (await desk.revoke("cs2", (7, 1))).states, "and a secondary has none at all"


async def test_a_data_sync_that_fails_makes_the_replica_damaged_and_is_told(tmp_path):
    async with Desk(tmp_path, durability="fsync") as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", "cs2")
        await desk.write("cs1", 7, 0, b"abc")
        chunk = desk.servers["cs2"]._store._chunks[7]
        sync = chunk.files.data.sync

        async def refuse() -> None:
            raise DiskFailure("cannot sync: Input/output error")

        chunk.files.data.sync = refuse
        with pytest.raises(MutationFailed) as failed:
            await desk.write("cs1", 7, 3, b"def")
        assert failed.value.servers == ("cs2",)
        chunk.files.data.sync = sync
        await until(lambda: bool(desk.master.reports))
        assert (desk.master.reports[0].server, desk.master.reports[0].handle) == ("cs2", 7)
        assert (await desk.advance("cs2", 7, 1, 2)).state.damaged
        # After a restart it does not pretend to have everything: the pages that could not be written may be gone.
        await desk.stop("cs2")
        await desk.start("cs2")
        assert desk.servers["cs2"]._store.state(7).is_unsure


async def test_what_was_mutated_is_synced_in_the_background(tmp_path):
    async with Desk(tmp_path, writeback_seconds=0.05) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, DATA)
        store = desk.servers["cs1"]._store
        await until(lambda: not store.dirty())
        chunk = store._chunks[7]
        assert chunk.anchor is not None and chunk.anchor.sequence == chunk.header.sequence
        assert chunk.durable_progress == chunk.header.progress == (1, 1) and chunk.header.length == len(DATA)
        desk.servers["cs1"].check_invariants()
