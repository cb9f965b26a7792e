"""Work that is done to its end, and what becomes of it where nothing can run any more."""

import asyncio
import inspect

import pytest

from runtime.tasks import to_the_end, uninterrupted


class Counter:
    is_inline = False

    def __init__(self) -> None:
        self.count = 0

    @to_the_end
    async def step(self) -> None:
        await asyncio.sleep(0)
        self.count += 1


async def test_work_is_done_though_its_caller_is_cancelled():
    counter = Counter()
    task = asyncio.ensure_future(counter.step())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counter.count == 1


def test_work_that_a_task_asks_for_while_it_is_put_away_is_closed_and_not_forgotten():
    """A loop is gone, and the clean-up of a task that was left in it asks for more work."""
    counter = Counter()
    asked = []

    async def work() -> None:
        counter.count += 1

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            asked.append(work())
            await uninterrupted(asked[0])

    loop = asyncio.new_event_loop()
    task = loop.create_task(cleans_up())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    assert inspect.iscoroutine(coroutine)
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.close()
    assert inspect.getcoroutinestate(asked[0]) == inspect.CORO_CLOSED
    assert counter.count == 0
