"""Slow system calls in threads, beside the event loop.

The problem. A sync takes milliseconds, so it is done in a thread; but to hand one over and to be told of its end costs
two switches of threads, each of which waits for the interpreter's lock and, on a busy machine, for a processor. A
server that creates fifty chunks at once wants a hundred syncs, and spent more time with switching than with all else.
The idea: what is asked for in the same turn of the loop is dealt out to a few threads, each of which does its share one
after the other and reports once. Syncs that run side by side share the writing of the file system's journal, so that
there should be several threads, but not one for each.

The threads are our own: those of `concurrent.futures` bring a lock, a condition and a second future for each piece of
work, which together cost as much as the switches.

What is asked for twice in one turn, by name, is done once: chunks of one folder share the sync of its names.

What we simplify. A quick call that is asked for in the same turn as many others waits for those that share its thread.
"""

import asyncio
import copy
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from weakref import WeakKeyDictionary

THREADS = 6

_Work = Callable[[], None]
_Asked = tuple[_Work, list["asyncio.Future[None]"]]


class _Threads:
    """Threads that do shares of work for one event loop, started when there is the first share for each."""

    def __init__(self) -> None:
        self._shares: SimpleQueue[_Share | None] = SimpleQueue()
        self._started = 0
        weakref.finalize(self, _end, self._shares, THREADS)

    def give(self, share: "_Share") -> None:
        """Have a thread do a share; `share.tell` is called in the loop when it is done."""
        if self._started < THREADS:
            self._started += 1
            Thread(target=_work, args=(self._shares,), name=f"aside {self._started}", daemon=True).start()
        self._shares.put(share)


class _Share:
    """What one thread does, one after the other, and reports once."""

    __slots__ = ("_asked", "_loop", "_problems")

    def __init__(self, loop: asyncio.AbstractEventLoop, asked: Sequence[_Asked]) -> None:
        self._loop = loop
        self._asked = asked
        self._problems: list[Exception | None] = []

    def do(self) -> None:
        """In the thread."""
        self._problems = [_problem_of(work) for work, _ in self._asked]
        with suppress(RuntimeError):  # The loop has ended meanwhile: nobody waits.
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        for (_, waiting), problem in zip(self._asked, self._problems, strict=True):
            for future in waiting:
                if future.done():
                    continue
                if problem is None:
                    future.set_result(None)
                else:
                    future.set_exception(copy.copy(problem))  # Each may say more in its own.


class _Turn:
    """What one event loop was asked for in its present turn."""

    def __init__(self) -> None:
        self._asked: list[_Asked] = []
        self._named: dict[str, list[asyncio.Future[None]]] = {}  # who waits for work that has a name
        self._threads = _Threads()

    def add(self, loop: asyncio.AbstractEventLoop, work: _Work, name: str) -> "asyncio.Future[None]":
        """Have it done beside the loop."""
        future: asyncio.Future[None] = loop.create_future()
        waiting = self._named.get(name)
        if waiting is not None:
            waiting.append(future)
            return future
        if not self._asked:
            loop.call_soon(self._deal_out, loop)
        waiting = [future]
        self._asked.append((work, waiting))
        if name:
            self._named[name] = waiting
        return future

    def _deal_out(self, loop: asyncio.AbstractEventLoop) -> None:
        asked, self._asked = self._asked, []
        self._named.clear()
        shares = min(len(asked), THREADS)
        for number in range(shares):  # Neighbours go together: what they ask for next may be the same.
            begin, end = number * len(asked) // shares, (number + 1) * len(asked) // shares
            self._threads.give(_Share(loop, asked[begin:end]))


_TURNS: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn]" = WeakKeyDictionary()


async def aside(work: _Work, name: str = "") -> None:
    """Do slow work in a thread if there is a loop to keep turning, else here. Raises what it raises. Work of the same
    name that is asked for in the same turn is done once for all who asked."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = _Turn()
    await turn.add(loop, work, name)


def _work(shares: "SimpleQueue[_Share | None]") -> None:
    while (share := shares.get()) is not None:
        share.do()
        del share  # It names its loop, which may end while this thread waits.


def _end(shares: "SimpleQueue[_Share | None]", threads: int) -> None:
    for _ in range(threads):
        shares.put(None)


def _problem_of(work: _Work) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None
