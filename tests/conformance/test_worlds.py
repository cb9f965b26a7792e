"""Clocks, background tasks and heavy work are alike in both worlds."""

import asyncio

import pytest

from runtime.events import TaskFailed
from tests.conformance.both_worlds import in_both_worlds, settled


def failures(place, world):
    """The background tasks whose failure was recorded."""
    return [record.event for record in place.records(world) if isinstance(record.event, TaskFailed)]


@in_both_worlds
async def test_clocks_advance_while_one_sleeps(place, desk):
    before, wall = desk.clock.now(), desk.clock.wall_microseconds()
    await desk.clock.sleep(0.05)
    assert desk.clock.now() - before >= 0.049
    assert desk.clock.wall_microseconds() - wall >= 40_000
    await desk.clock.sleep(0)
    await desk.clock.sleep(-1)


@in_both_worlds
async def test_the_loops_time_and_the_clock_go_together(place, desk):
    loop = asyncio.get_running_loop()
    began, shown = loop.time(), desk.clock.now()
    await asyncio.sleep(0.05)
    assert abs((loop.time() - began) - (desk.clock.now() - shown)) < 0.04


@in_both_worlds
async def test_a_background_task_that_fails_is_recorded(place, desk):
    async def fail():
        raise ValueError("a bug")

    task = desk.spawn(fail(), "the failing one")
    await asyncio.wait([task])
    await settled(lambda: failures(place, desk))
    (failure,) = failures(place, desk)
    assert failure.task == "the failing one" and "ValueError: a bug" in failure.trace


@in_both_worlds
async def test_a_cancelled_or_finished_task_is_no_failure(place, desk):
    async def answer():
        return 42

    forever = desk.spawn(asyncio.Event().wait(), "forever")
    await asyncio.sleep(0)
    forever.cancel()
    assert await desk.spawn(answer(), "answer") == 42
    await asyncio.wait([forever])
    assert failures(place, desk) == []


@in_both_worlds
async def test_heavy_work_gives_its_result_or_its_error(place, desk):
    def divide(by):
        return 10 // by

    await desk.breathe()
    assert await desk.in_background(lambda: divide(5)) == 2
    with pytest.raises(ZeroDivisionError):
        await desk.in_background(lambda: divide(0))


@in_both_worlds
async def test_random_numbers_have_their_ranges(place, desk):
    assert 0 <= desk.random.random() < 1
    assert 0 <= desk.random.getrandbits(10) < 1024
    assert 3 <= desk.random.randrange(3, 7) < 7
    assert 1.0 <= desk.random.uniform(1.0, 2.0) <= 2.0
    items = list(range(10))
    desk.random.shuffle(items)
    assert sorted(items) == list(range(10))


@in_both_worlds
async def test_a_timeout_of_asyncio_fires(place, desk):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.Event().wait()


@in_both_worlds
async def test_the_id_of_the_boot_stays_the_same_while_the_machine_runs(place, desk):
    assert desk.boot_id() and desk.boot_id() == desk.boot_id()
