"""Slow work beside the event loop."""

import asyncio
import threading

import pytest

from runtime.real.aside import THREADS, aside


async def test_work_is_done_in_threads_and_each_hears_of_its_own_problem():
    here, seen = threading.get_ident(), set[int]()

    def work(number: int) -> None:
        seen.add(threading.get_ident())
        if number % 10 == 3:
            raise OSError(number)

    found = await asyncio.gather(
        *(aside(lambda number=number: work(number)) for number in range(40)), return_exceptions=True
    )
    assert [place for place, one in enumerate(found) if isinstance(one, OSError)] == [3, 13, 23, 33]
    assert here not in seen and len(seen) <= THREADS


async def test_work_of_one_name_is_done_once_for_all_who_ask_in_one_turn():
    done: list[str] = []
    await asyncio.gather(*(aside(lambda name=name: done.append(name), name) for name in ("a", "b", "a", "a")))
    assert sorted(done) == ["a", "b"]
    await aside(lambda: done.append("a"), "a")
    assert sorted(done) == ["a", "a", "b"]


async def test_who_is_cancelled_takes_nothing_from_those_who_share_the_work():
    may_go = threading.Event()
    tasks = [asyncio.create_task(aside(may_go.wait, "a")) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    may_go.set()
    await tasks[1]
    assert tasks[0].cancelled()


async def test_a_failure_is_told_to_all_who_share_the_work():
    def fail() -> None:
        raise OSError("broken")

    found = await asyncio.gather(*(aside(fail, "a") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(one, OSError) for one in found)


def test_without_a_loop_it_is_done_here():
    seen: list[int] = []
    work = aside(lambda: seen.append(threading.get_ident()))
    with pytest.raises(StopIteration):
        work.send(None)
    assert seen == [threading.get_ident()]
