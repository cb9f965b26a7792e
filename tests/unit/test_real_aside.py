"""Slow calls beside the loop: each is done once, and each caller hears of its own."""

import asyncio
import threading

import pytest

from runtime.real.aside import THREADS, aside


async def test_what_is_asked_for_in_one_turn_shares_a_few_threads() -> None:
    done: list[tuple[int, str]] = []
    tasks = [
        aside(lambda number=number: done.append((number, threading.current_thread().name))) for number in range(50)
    ]
    await asyncio.gather(*tasks)
    assert sorted(number for number, _ in done) == list(range(50))
    assert threading.current_thread().name not in {name for _, name in done}
    assert len({name for _, name in done}) <= THREADS


async def test_each_caller_hears_of_its_own_failure() -> None:
    def work(number: int) -> None:
        if number % 3 == 0:
            raise ValueError(str(number))

    found = await asyncio.gather(
        *(aside(lambda number=number: work(number)) for number in range(9)), return_exceptions=True
    )
    assert [str(error) if error else None for error in found] == ["0", None, None, "3", None, None, "6", None, None]


async def test_a_caller_that_goes_away_takes_nobody_with_it() -> None:
    done: list[int] = []
    tasks = [asyncio.create_task(aside(lambda number=number: done.append(number))) for number in range(10)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await asyncio.gather(*tasks[1:])
    assert set(done) >= set(range(1, 10))


def test_without_a_loop_it_is_done_here() -> None:
    done: list[str] = []
    work = aside(lambda: done.append(threading.current_thread().name))
    with pytest.raises(StopIteration):
        work.send(None)
    assert done == [threading.current_thread().name]
