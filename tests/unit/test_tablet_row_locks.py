"""Locks of rows: one mutation of a row at a time, and several rows together."""

import asyncio

import pytest

from tablet.engine.serving.row_locks import RowLocks


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_locks_that_are_free_are_taken_together():
    locks = RowLocks()
    held = await locks.acquire_all([b"b", b"a", b"b"])
    assert not locks.try_acquire(b"a")
    locks.release_all(held)
    assert locks.try_acquire(b"a") and locks.try_acquire(b"b")


async def test_who_wants_several_rows_waits_for_each_and_all_get_their_turn():
    locks, order = RowLocks(), []

    async def batch(name: str, rows: list[bytes]) -> None:
        held = await locks.acquire_all(rows)
        order.append(name)
        await turns()
        locks.release_all(held)

    await locks.acquire(b"b")
    tasks = [asyncio.create_task(batch(name, rows)) for name, rows in (("1", [b"a", b"b", b"c"]), ("2", [b"c", b"b"]))]
    await turns()
    assert order == []
    locks.release(b"b")
    await asyncio.gather(*tasks)
    assert sorted(order) == ["1", "2"]
    locks.release_all(await locks.acquire_all([b"a", b"b", b"c"]))


async def test_who_gives_up_waiting_keeps_no_lock():
    locks = RowLocks()
    await locks.acquire(b"b")
    waiting = asyncio.create_task(locks.acquire_all([b"c", b"b", b"a"]))
    await turns()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert locks.try_acquire(b"a") and locks.try_acquire(b"c")


async def test_a_lock_that_was_lent_outlives_the_release_of_its_batch():
    locks = RowLocks()
    held = await locks.acquire_all([b"a", b"b"])
    locks.lend(b"a")
    locks.release_all(held)
    assert not locks.try_acquire(b"a") and locks.try_acquire(b"b")
    locks.release(b"a")
    assert locks.try_acquire(b"a")
