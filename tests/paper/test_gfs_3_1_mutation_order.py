"""GFS 3.1, Figure 2: data is pushed first, the primary gives the order, every replica applies it in that order."""

import asyncio
import random

import pytest

from runtime.errors import DataNotBuffered, MutationFailed, StaleVersion
from tests.unit.chunkserver_support import BLOCK, Desk

NAMES = ("cs1", "cs2", "cs3")


async def test_steps_3_to_7_pushed_data_is_written_everywhere_before_the_answer(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        data = random.Random(5).randbytes(2 * BLOCK + 9)
        pushed, reply = await desk.push(data, "cs3", "cs1", "cs2")
        assert sorted(reply.stored) == list(NAMES)
        # Pushing alone writes nothing.
        assert not list(tmp_path.rglob("*.data"))
        answer = await desk.write_pushed("cs1", 7, 0, data, pushed)
        assert (answer.serial, answer.length) == (1, len(data))
        assert {desk.stored(name, 7) for name in NAMES} == {data}


async def test_mutations_from_many_clients_are_applied_in_one_order_on_all_replicas(tmp_path):
    """Concurrent writes to one region leave it consistent, and undefined: some mixture, but the same everywhere."""
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        source = random.Random(6)
        pieces = [(source.randrange(2 * BLOCK), bytes([n]) * source.randrange(1, BLOCK)) for n in range(1, 31)]

        async def one(number, offset, data):
            if number % 2:
                return await desk.write("cs1", 7, offset, data)
            pushed, _ = await desk.push(data, *source.sample(NAMES, 3))
            return await desk.write_pushed("cs1", 7, offset, data, pushed)

        replies = await asyncio.gather(*(one(number, *piece) for number, piece in enumerate(pieces)))
        in_order = sorted(zip((reply.serial for reply in replies), pieces, strict=True))
        assert [serial for serial, _ in in_order] == list(range(1, 31))
        expected = bytearray()
        for _, (offset, data) in in_order:
            expected.extend(bytes(max(0, offset + len(data) - len(expected))))
            expected[offset : offset + len(data)] = data
        assert {desk.stored(name, 7) for name in NAMES} == {bytes(expected)}


async def test_a_mutation_that_failed_at_a_secondary_is_reported_to_the_client_and_can_be_retried(tmp_path):
    """Step 7: the request has failed, the region is inconsistent; the client retries steps 3 to 7."""
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        pushed, _ = await desk.push(b"data", "cs1", "cs2")  # cs3 never gets it.
        with pytest.raises(MutationFailed) as failed:
            await desk.write_pushed("cs1", 7, 0, b"data", pushed)
        assert not failed.value.definite and "cs3" in failed.value.message
        pushed, _ = await desk.push(b"data", *NAMES)
        assert (await desk.write_pushed("cs1", 7, 0, b"data", pushed)).serial == 2
        assert {desk.stored(name, 7) for name in NAMES} == {b"data"}


async def test_without_its_data_the_primary_refuses_before_anybody_has_changed_anything(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        pushed, _ = await desk.push(b"data", "cs2", "cs3")
        with pytest.raises(DataNotBuffered) as refused:
            await desk.write_pushed("cs1", 7, 0, b"data", pushed)
        assert refused.value.definite
        assert not list(tmp_path.rglob("*.data"))


async def test_a_replica_at_a_newer_version_takes_no_mutation_of_an_older_lease(tmp_path):
    """GFS 4.5 makes this safe: the old primary may still believe in its lease, the others do not follow it."""
    async with Desk(tmp_path) as desk:
        await desk.start(*NAMES)
        await desk.grant(7, *NAMES)
        await desk.write("cs1", 7, 0, b"before")
        await desk.grant(7, "cs2", "cs3", before=1, after=2)
        with pytest.raises((MutationFailed, StaleVersion)):
            await desk.write("cs1", 7, 0, b"behind")
        assert desk.stored("cs2", 7) == desk.stored("cs3", 7) == b"before"
