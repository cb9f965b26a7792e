"""Slow system calls in threads, beside the event loop.

The problem. A sync takes milliseconds, so it is done in a thread; but to hand one over and to be told of its end costs
two switches of threads, each of which waits for the interpreter's lock and, on a busy machine, for a processor. A
server that creates fifty chunks at once wants a hundred syncs, and spent more time with switching than with all else.
The idea: what is asked for in the same turn of the loop is dealt out to a few threads, each of which does its share one
after the other and reports once. Syncs that run side by side share the writing of the file system's journal, so that
there should be several threads, but not one for each.

What we simplify. A quick call that is asked for in the same turn as many others waits for those that share its thread.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

THREADS = 6

_Work = Callable[[], None]
_Asked = tuple[_Work, "asyncio.Future[None]"]


class _Turn:
    """What one event loop was asked for in its present turn."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []

    def add(self, work: _Work) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._deal_out, loop)
        self._asked.append((work, future))
        return future

    def _deal_out(self, loop: asyncio.AbstractEventLoop) -> None:
        asked, self._asked = self._asked, []
        shares = min(len(asked), THREADS)
        for number in range(shares):
            share = asked[number::shares]
            done = loop.run_in_executor(None, _do_all, [work for work, _ in share])
            done.add_done_callback(partial(_tell, share))


_TURNS: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn]" = WeakKeyDictionary()


async def aside(work: _Work) -> None:
    """Do slow work in a thread if there is a loop to keep turning, else here. Raises what it raises."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = _Turn()
    await turn.add(work)


def _do_all(share: Sequence[_Work]) -> list[Exception | None]:
    return [_problem_of(work) for work in share]


def _problem_of(work: _Work) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None


def _tell(share: Sequence[_Asked], done: "asyncio.Future[list[Exception | None]]") -> None:
    problems: Sequence[Exception | None]
    if done.cancelled():
        for _, future in share:
            future.cancel()
        return
    failure = done.exception()
    problems = [failure if isinstance(failure, Exception) else None] * len(share) if failure else done.result()
    for (_, future), problem in zip(share, problems, strict=True):
        if future.done():
            continue
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(problem)
