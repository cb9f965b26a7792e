"""Read and write locks on paths."""

import asyncio
import random

from master.namespace.namespace_locks import NamespaceLocks, PathLock, plan_locks


def test_writers_exclude_each_other_and_readers_share() -> None:
    async def scene() -> list[str]:
        locks, said = NamespaceLocks(), list[str]()

        async def work(name: str, write: bool, turns: int) -> None:
            async with locks.hold(plan_locks(write=["/a"]) if write else plan_locks(read=["/a"])):
                said.append(f"{name} in")
                for _ in range(turns):
                    await asyncio.sleep(0)
                said.append(f"{name} out")

        await asyncio.gather(work("r1", False, 5), work("r2", False, 2), work("w", True, 3), work("r3", False, 1))
        assert locks.busy_paths == 0
        return said

    # r3 came after the writer and waits behind it, though r1 and r2 only read.
    assert asyncio.run(scene()) == ["r1 in", "r2 in", "r2 out", "r1 out", "w in", "w out", "r3 in", "r3 out"]


def test_a_cancelled_waiter_leaves_nothing_behind_and_lets_the_next_one_in() -> None:
    async def scene() -> None:
        locks = NamespaceLocks()
        entered: list[str] = []

        async def work(name: str, write: bool) -> None:
            async with locks.hold((PathLock("/a", write),)):
                entered.append(name)

        async with locks.hold((PathLock("/a", False),)):
            writer = asyncio.create_task(work("writer", True))
            reader = asyncio.create_task(work("reader", False))
            await asyncio.sleep(0)
            writer.cancel()
            await asyncio.wait([reader])
            assert entered == ["reader"]
        locks.check_invariants()
        assert locks.busy_paths == 0

    asyncio.run(scene())


def test_a_grant_that_crosses_a_cancellation_is_given_back() -> None:
    async def scene() -> None:
        locks = NamespaceLocks()
        holder = locks.hold((PathLock("/a", True),))
        await holder.__aenter__()

        async def work() -> None:
            async with locks.hold((PathLock("/a", True),)):
                raise AssertionError("a cancelled task must not enter")

        waiter = asyncio.create_task(work())
        await asyncio.sleep(0)
        await holder.__aexit__(None, None, None)
        waiter.cancel()
        await asyncio.wait([waiter])
        assert waiter.cancelled() and locks.busy_paths == 0

    asyncio.run(scene())


def test_a_waiter_that_was_cancelled_does_not_hinder_who_comes_after_the_record_is_gone() -> None:
    async def scene() -> None:
        locks = NamespaceLocks()
        holder = locks.hold((PathLock("/a", True),))
        await holder.__aenter__()

        async def work() -> None:
            async with locks.hold((PathLock("/a", True),)):
                raise AssertionError("a cancelled task must not enter")

        waiter = asyncio.create_task(work())
        await asyncio.sleep(0)
        waiter.cancel()
        await holder.__aexit__(None, None, None)  # Before the waiter has noticed.
        assert locks.busy_paths == 0
        async with locks.hold((PathLock("/a", True),)):
            await asyncio.wait([waiter])
            locks.check_invariants()
            assert waiter.cancelled() and locks.busy_paths == 1
        assert locks.busy_paths == 0

    asyncio.run(scene())


def test_random_lock_sets_never_deadlock_and_never_overlap() -> None:
    async def scene(seed: int) -> None:
        chance, locks = random.Random(seed), NamespaceLocks()
        inside: list[tuple[PathLock, ...]] = []
        names = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1"]

        async def work() -> None:
            read, write = chance.sample(names, 2), chance.sample(names, chance.randrange(3))
            mine = plan_locks(read=read, write=write)
            async with locks.hold(mine):
                for other in inside:
                    clash = {lock.path for lock in mine} & {lock.path for lock in other}
                    assert not any(lock.write and lock.path in clash for lock in mine + other)
                inside.append(mine)
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                    locks.check_invariants()
                inside.remove(mine)

        async with asyncio.timeout(10):
            await asyncio.gather(*(work() for _ in range(60)))
        assert locks.busy_paths == 0

    for seed in range(10):
        asyncio.run(scene(seed))


def test_what_is_free_is_held_at_once_and_nobody_is_waited_for() -> None:
    async def scene() -> None:
        locks = NamespaceLocks()
        async with locks.hold(plan_locks(write=["/d", "/e/2"])):
            with locks.hold_free(["/a", "/d/1", "/e/1", "/e/2"]) as free:
                assert free == ["/a", "/e/1"]
                with locks.hold_free(["/a", "/e"]) as none:
                    assert none == []
                with locks.hold_free(["/e/3"]) as shared:
                    assert shared == ["/e/3"]
                locks.check_invariants()
        assert locks.busy_paths == 0

    asyncio.run(scene())


def test_who_holds_what_is_free_overtakes_nobody_who_waits() -> None:
    async def scene() -> None:
        locks = NamespaceLocks()
        async with locks.hold(plan_locks(read=["/d"])):
            waiter = asyncio.create_task(enter(locks))
            await asyncio.sleep(0)
            with locks.hold_free(["/d/1"]) as free:
                assert free == []
        await waiter
        assert locks.busy_paths == 0

    async def enter(locks: NamespaceLocks) -> None:
        async with locks.hold(plan_locks(write=["/d"])):
            pass

    asyncio.run(scene())
