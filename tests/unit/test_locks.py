"""The read-write lock: sharing, order, cancellation."""

import asyncio
import random

import pytest

from runtime.locks import ReadWriteLock


def mode(lock: ReadWriteLock, exclusive: bool):
    return lock.exclusive() if exclusive else lock.shared()


async def test_writers_exclude_each_other_readers_share_and_nobody_overtakes() -> None:
    lock, said = ReadWriteLock(), list[str]()

    async def work(name: str, exclusive: bool, turns: int) -> None:
        async with mode(lock, exclusive):
            said.append(f"{name} in")
            for _ in range(turns):
                await asyncio.sleep(0)
            said.append(f"{name} out")

    await asyncio.gather(work("r1", False, 5), work("r2", False, 2), work("w", True, 3), work("r3", False, 1))
    assert lock.is_idle
    # r3 came after the writer and waits for it, though r1 and r2 only read.
    assert said == ["r1 in", "r2 in", "r2 out", "r1 out", "w in", "w out", "r3 in", "r3 out"]


async def test_a_cancelled_waiter_lets_the_next_one_in() -> None:
    lock, entered = ReadWriteLock(), list[str]()

    async def work(name: str, exclusive: bool) -> None:
        async with mode(lock, exclusive):
            entered.append(name)

    async with lock.shared():
        writer = asyncio.create_task(work("writer", True))
        reader = asyncio.create_task(work("reader", False))
        await asyncio.sleep(0)
        writer.cancel()
        await asyncio.wait([reader])
        assert entered == ["reader"] and writer.cancelled()
    assert lock.is_idle


@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_grant_that_crosses_a_cancellation_is_given_back(exclusive: bool) -> None:
    lock = ReadWriteLock()
    await lock.acquire(exclusive=True)
    waiter = asyncio.create_task(lock.acquire(exclusive=exclusive))
    await asyncio.sleep(0)
    lock.release(exclusive=True)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled() and lock.is_idle


async def test_an_error_in_the_block_gives_the_lock_back() -> None:
    lock = ReadWriteLock()
    for exclusive in (False, True):
        with pytest.raises(ZeroDivisionError):
            async with mode(lock, exclusive):
                raise ZeroDivisionError
        assert lock.is_idle


@pytest.mark.parametrize("seed", range(10))
async def test_random_work_with_cancellations_never_overlaps_and_leaves_the_lock_idle(seed: int) -> None:
    chance, lock = random.Random(seed), ReadWriteLock()
    inside: list[bool] = []

    async def work(exclusive: bool, turns: int) -> None:
        async with mode(lock, exclusive):
            inside.append(exclusive)
            try:
                assert len(inside) == 1 or not any(inside)
                for _ in range(turns):
                    await asyncio.sleep(0)
                    lock.check_invariants()
            finally:
                inside.remove(exclusive)

    tasks = []
    async with asyncio.timeout(10):
        for _ in range(100):
            tasks.append(asyncio.create_task(work(chance.random() < 0.4, chance.randrange(3))))
            if chance.random() < 0.4:
                chance.choice(tasks).cancel()
            if chance.random() < 0.5:
                await asyncio.sleep(0)
            lock.check_invariants()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    assert lock.is_idle and not inside
